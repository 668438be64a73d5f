//! The subtrees form of a list of resources.
//!
//! Owns the members of an item and their descriptions. Must never decide.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::access::{AccessVia, is_false};
use super::fields::{self, Fields, Problem, Reading};
use super::input::value::Value;
use super::{EntityType, Json};

/// The resources of one assignment: the root and everything below it, of the types, without the exclusions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct SubtreeItem {
    /// The id of the root; absent if the item covers every entity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<Uuid>,
    /// The type of the root.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<EntityType>,
    /// The id of the root in another system; absent when none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The name of the root.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `true` for a global assignment: the item covers every entity. Absent otherwise.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub everything: bool,
    /// The types of the entities that the item covers; every type when empty.
    pub types: Vec<EntityType>,
    /// Single entities that the item does not cover, ordered by id. What is below them is not excluded with them.
    pub exclusions: Vec<Uuid>,
    /// `true` if the item has more exclusions: the first item of the next page repeats the root with the next ones.
    /// Absent otherwise. Use the item only with all of its exclusions.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub more_exclusions: bool,
    /// The assignment; absent with `explain: false`. `until` is the next moment at which the item can change although
    /// nothing is changed, as far as the entities show that this page looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<AccessVia>,
    /// `true` if the entities are allowed only with the values that are `missing`; absent otherwise.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub conditional: bool,
    /// The names that conditions read and that are absent, of a conditional item; absent otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["context.amount"]))]
    pub missing: Vec<String>,
}

impl Value for SubtreeItem {
    fn read(value: &Json) -> Reading<Self> {
        let Json::Object(members) = value else {
            return Err(vec![Problem::new("dict_type", "Input should be a valid object")]);
        };
        let mut fields = Fields::new("body", members);
        let item = Self {
            id: fields.optional("id", fields::uuid),
            kind: fields.optional("type", EntityType::read),
            external_id: fields.optional("external_id", String::read),
            name: fields.optional("name", String::read),
            everything: fields.optional("everything", bool::read).unwrap_or_default(),
            types: fields.required("types", Vec::read).unwrap_or_default(),
            exclusions: fields.required("exclusions", Vec::read).unwrap_or_default(),
            more_exclusions: fields.optional("more_exclusions", bool::read).unwrap_or_default(),
            via: fields.optional("via", AccessVia::read),
            conditional: fields.optional("conditional", bool::read).unwrap_or_default(),
            missing: fields.optional("missing", Vec::read).unwrap_or_default(),
        };
        fields.finish_nested(Some(item))
    }

    fn write(&self) -> Json {
        let text = |text: &Option<String>| text.as_deref().map(Json::from);
        let flag = |flag: bool| flag.then(|| true.into());
        let members = [
            ("id", self.id.map(Into::into)),
            ("type", self.kind.as_ref().map(Value::write)),
            ("external_id", text(&self.external_id)),
            ("name", text(&self.name)),
            ("everything", flag(self.everything)),
            ("types", Some(self.types.write())),
            ("exclusions", Some(self.exclusions.write())),
            ("more_exclusions", flag(self.more_exclusions)),
            ("via", self.via.as_ref().map(Value::write)),
            ("conditional", flag(self.conditional)),
            ("missing", (!self.missing.is_empty()).then(|| self.missing.write())),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Json::Object(given.collect())
    }
}

impl SubtreeItem {
    /// Returns `true` if the item covers an entity of this type, if the entity is the root, is below it, or the item
    /// for everything.
    #[must_use]
    pub fn includes(&self, id: Uuid, entity_type: &EntityType) -> bool {
        (self.types.is_empty() || self.types.contains(entity_type)) && !self.exclusions.contains(&id)
    }
}
