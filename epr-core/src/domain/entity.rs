//! Business entities: issuers, SPVs, offerings, investors, agents.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::fields::{self, Choice, Fields, Invalid};
use super::json::{Json, JsonObject};
use super::text::Text;
use super::time::Timestamp;

/// An entity's name: 1 to 255 characters.
pub type EntityName = Text<1, 255>;

/// What kind of business entity it is. Never changes after creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntityType {
    /// Issues tokens.
    Issuer,
    /// A special-purpose vehicle that holds an asset.
    Spv,
    /// An offering to investors.
    Offering,
    /// An investor.
    Investor,
    /// Acts for others.
    Agent,
    /// Anything else.
    Other,
}

impl Choice for EntityType {
    const ALL: &'static [Self] = &[Self::Issuer, Self::Spv, Self::Offering, Self::Investor, Self::Agent, Self::Other];

    fn word(self) -> &'static str {
        match self {
            Self::Issuer => "issuer",
            Self::Spv => "spv",
            Self::Offering => "offering",
            Self::Investor => "investor",
            Self::Agent => "agent",
            Self::Other => "other",
        }
    }
}

/// Where an entity is in its life. Does not influence decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum EntityStatus {
    /// In use.
    Active,
    /// Not in use, may come back.
    Inactive,
    /// Put away: left out of lists, kept with its history.
    Archived,
}

impl Choice for EntityStatus {
    const ALL: &'static [Self] = &[Self::Active, Self::Inactive, Self::Archived];

    fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Inactive => "inactive",
            Self::Archived => "archived",
        }
    }
}

/// A registered entity. `(name, type)` is unique.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Entity {
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
    /// Its kind.
    #[serde(rename = "type")]
    pub entity_type: EntityType,
    /// Where it is in its life.
    pub status: EntityStatus,
    /// The entity above it in the hierarchy.
    #[schema(required)]
    pub parent_id: Option<Uuid>,
    /// What the platform knows of it besides.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub attributes: JsonObject,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A request to create an entity.
#[derive(Debug, Clone, PartialEq, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewEntity {
    /// Its name.
    pub name: EntityName,
    /// Its kind.
    #[schema(rename = "type")]
    pub entity_type: EntityType,
    /// The status that it begins with; `active` when absent.
    #[schema(required = false)]
    pub status: EntityStatus,
    /// The entity above it, which must exist.
    pub parent_id: Option<Uuid>,
    /// Free-form facts.
    #[schema(value_type = BTreeMap<String, serde_json::Value>, required = false)]
    pub attributes: JsonObject,
}

impl NewEntity {
    /// Every member that a body may have.
    pub const MEMBERS: &[&str] = &["name", "type", "status", "parent_id", "attributes"];

    /// An active entity without parent or attributes.
    #[must_use]
    pub fn new(name: EntityName, entity_type: EntityType) -> Self {
        Self { name, entity_type, status: EntityStatus::Active, parent_id: None, attributes: JsonObject::new() }
    }

    /// Reads the body of a creation. An unknown field is an error.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        fields.only(Self::MEMBERS);
        let name = fields.required("name", fields::text);
        let entity_type = fields.required("type", fields::choice);
        let status = fields.given("status", fields::choice).unwrap_or(EntityStatus::Active);
        let parent_id = fields.optional("parent_id", fields::uuid);
        let attributes = read_attributes(&mut fields).unwrap_or_default();
        let build =
            name.zip(entity_type).map(|(name, entity_type)| Self { name, entity_type, status, parent_id, attributes });
        fields.finish(build)
    }
}

fn read_attributes(fields: &mut Fields<'_>) -> Option<JsonObject> {
    let attributes = fields.given("attributes", fields::object)?;
    if let Some(problem) = fields::object_problem(&attributes) {
        fields.report("attributes", problem);
    }
    Some(attributes)
}

/// A change to an entity; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EntityPatch {
    /// A new name.
    #[schema(nullable = false)]
    pub name: Option<EntityName>,
    /// A new status.
    #[schema(nullable = false)]
    pub status: Option<EntityStatus>,
    /// A new parent; `null` detaches.
    #[schema(value_type = Option<Uuid>)]
    pub parent_id: Option<Option<Uuid>>,
    /// New attributes, replacing all.
    #[schema(value_type = BTreeMap<String, serde_json::Value>, required = false)]
    pub attributes: Option<JsonObject>,
}

impl EntityPatch {
    /// Reads the body of a change. An unknown or immutable field is an error.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        fields.only(&["name", "status", "parent_id", "attributes"]);
        let patch = Self {
            name: fields.given("name", fields::text),
            status: fields.given("status", fields::choice),
            parent_id: fields.given("parent_id", fields::nullable(fields::uuid)),
            attributes: read_attributes(&mut fields),
        };
        fields.finish(Some(patch))
    }
}

/// Which entities a list holds. Archived ones are always left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EntityFilter {
    /// Any of these types; all when empty.
    #[param(rename = "type", required = false, max_items = 1000)]
    pub types: Vec<EntityType>,
    /// Children of this entity.
    #[param(nullable = false)]
    pub parent_id: Option<Uuid>,
}
