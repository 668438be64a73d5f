//! Business entities and their hierarchy: issuers, SPVs, offerings, investors, agents.
//!
//! Owns the fields of an entity. Must never know how an entity is stored or sent.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::entity_type::{EntityType, EntityTypes};
use super::external_id::ExternalId;
use super::fields::{Fields, Invalid, Problem};
use super::input::declare::{filter, record, words};
use super::json::{Json, JsonObject};
use super::text::Text;
use super::time::Timestamp;

/// An entity's name: 1 to 255 characters.
pub type EntityName = Text<1, 255>;

words! {
    /// The stage of an entity's life. It does not influence decisions.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
    pub enum EntityStatus: "entity status" {
        /// In use.
        Active = "active",
        /// Out of use for now.
        Inactive = "inactive",
        /// Out of use for good: left out of lists, kept with its history.
        Archived = "archived",
    }
}

record! {
    /// A registered entity. `(name, type)` is unique, and so is `(external_id, type)`.
    #[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
    pub struct Entity;
    /// A request to create an entity.
    #[derive(Debug, Clone, PartialEq, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct NewEntity(new, id, now);
    patch {
        /// A change of an entity. An absent member keeps its value.
        #[derive(Debug, Clone, Default, PartialEq, ToSchema)]
        #[serde(deny_unknown_fields)]
        EntityPatch
    }

    /// The id of the entity.
    id as "id": Uuid { set id; }

    /// The name, unique among entities of the same type.
    #[schema(example = "Berlin One")]
    name as "name": String {
        new
            /// The name, unique among entities of the same type; 1 to 255 characters.
            EntityName = required;
        patch
            /// The new name, unique among entities of the same type.
            #[schema(nullable = false)]
            EntityName = given;
    }

    /// The kind of entity; it never changes.
    entity_type as "type": EntityType {
        new
            /// The kind of entity; it cannot be changed later.
            EntityType = required;
    }

    /// The id of the entity in another system, unique among entities of the same type; absent when it has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, min_length = 1, max_length = 1024, example = "crm:4711")]
    external_id as "external_id": Option<String> {
        new
            /// The id of the entity in another system, unique among entities of the same type; 1 to 1024 bytes of
            /// UTF-8, compared byte for byte.
            Option<ExternalId> = if_some;
        patch
            /// The new external id; `null` removes it.
            #[schema(value_type = Option<ExternalId>)]
            Option<ExternalId> = given;
    }

    /// The stage of the entity's life.
    status as "status": EntityStatus {
        new
            /// The status at creation; `active` when absent.
            #[schema(required = false)]
            EntityStatus = default(EntityStatus::Active);
        patch
            /// The new status.
            #[schema(nullable = false)]
            EntityStatus = given;
    }

    /// The parent in the hierarchy; `null` for a root.
    #[schema(required)]
    parent_id as "parent_id": Option<Uuid> {
        new
            /// The parent in the hierarchy, which must exist; absent or `null` for a root.
            Option<Uuid> = optional;
        patch
            /// The new parent, which must exist; `null` makes the entity a root.
            #[schema(value_type = Option<Uuid>)]
            Option<Uuid> = given;
    }

    /// Free-form facts about the entity, up to 64 levels deep.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    attributes as "attributes": JsonObject {
        new
            /// Free-form facts about the entity, up to 64 levels deep; none when absent.
            #[schema(value_type = BTreeMap<String, serde_json::Value>, required = false)]
            JsonObject = default(JsonObject::new());
        patch
            /// The new attributes, which replace all present ones.
            #[schema(value_type = BTreeMap<String, serde_json::Value>, required = false)]
            JsonObject = given;
    }

    /// The time of creation.
    created_at as "created_at": Timestamp { set now; }

    /// The time of the last change.
    updated_at as "updated_at": Timestamp { set now; }
}

impl NewEntity {
    /// An active root entity without attributes.
    ///
    /// ```
    /// use epr_core::domain::{EntityType, NewEntity};
    ///
    /// let spv = NewEntity::new("Berlin One".parse()?, EntityType::Spv);
    /// let child = NewEntity::new("Berlin One A".parse()?, "offering".parse()?).under(uuid::Uuid::from_u128(1));
    /// assert_eq!((spv.parent_id, child.entity_type), (None, EntityType::Offering));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(name: EntityName, entity_type: EntityType) -> Self {
        Self {
            name,
            entity_type,
            external_id: None,
            status: EntityStatus::Active,
            parent_id: None,
            attributes: JsonObject::new(),
        }
    }

    /// The same entity with the id that another system knows it by.
    #[must_use]
    pub fn known_as(self, external_id: ExternalId) -> Self {
        Self { external_id: Some(external_id), ..self }
    }

    /// The same entity as a child of `parent_id`.
    #[must_use]
    pub fn under(self, parent_id: Uuid) -> Self {
        Self { parent_id: Some(parent_id), ..self }
    }

    /// Reads the body of a creation, whose type is one of `types`. An unknown member is an error.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json, types: &EntityTypes) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?.accepting(types);
        fields.only(Self::MEMBERS);
        let new = Self::read(&mut fields);
        fields.finish(new)
    }
}

impl EntityPatch {
    /// Reads the body of a change. A member that is unknown or cannot be changed is an error.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        fields.only(Self::MEMBERS);
        let patch = Self::read(&mut fields);
        fields.finish(Some(patch))
    }
}

filter! {
    /// The conditions of a list of entities; an entity has to match all of them.
    #[derive(Debug, Clone, Default, PartialEq, Eq, IntoParams)]
    #[into_params(parameter_in = Query)]
    pub struct EntityFilter;

    /// Entities of any of these types; of every type when absent. The parameter may be repeated.
    #[param(required = false, max_items = 1000)]
    types as "type": Vec<EntityType>;

    /// Entities of this status. When absent, all but the archived ones.
    #[param(nullable = false)]
    status as "status": Option<EntityStatus>;

    /// The entity with exactly this name, one of each given type. Requires `type`.
    #[param(nullable = false, example = "Berlin One")]
    name as "name": Option<EntityName>;

    /// Entities whose names begin with this text, compared byte for byte: `berlin` does not find `Berlin One`.
    #[param(nullable = false, example = "Berlin")]
    name_prefix as "name_prefix": Option<EntityName>;

    /// The children of this entity.
    #[param(nullable = false)]
    parent_id as "parent_id": Option<Uuid>;

    /// Entities below this entity, at any depth; not the entity itself. None when it does not exist.
    #[param(nullable = false)]
    ancestor_id as "ancestor_id": Option<Uuid>;

    /// The entities with this external id: at most one of each type.
    #[param(nullable = false, value_type = Option<String>, min_length = 1, max_length = 1024, example = "crm:4711")]
    external_id as "external_id": Option<ExternalId>;
}

impl EntityFilter {
    /// Reads the conditions from a query. Every failing parameter is reported to `fields`, and a name without a type:
    /// names are unique among entities of one type only.
    pub fn from_query(fields: &mut Fields<'_>) -> Self {
        let filter = Self::read(fields);
        if filter.name.is_some() && !fields.has("type") {
            let sentence = "The filter `name` requires `type`: a name is unique among the entities of one type only";
            fields.report("type", Problem::new("missing", sentence));
        }
        filter
    }

    /// Whether `entity` matches every condition but `ancestor_id`, which its row alone cannot tell.
    #[must_use]
    pub fn admits(&self, entity: &Entity) -> bool {
        let status = self.status.map_or(entity.status != EntityStatus::Archived, |status| entity.status == status);
        status
            && (self.types.is_empty() || self.types.contains(&entity.entity_type))
            && self.name.as_ref().is_none_or(|name| entity.name == name.as_str())
            && self.name_prefix.as_ref().is_none_or(|prefix| entity.name.starts_with(prefix.as_str()))
            && self.parent_id.is_none_or(|parent| entity.parent_id == Some(parent))
            && self.external_id.as_ref().is_none_or(|id| entity.external_id.as_deref() == Some(id.as_str()))
    }
}
