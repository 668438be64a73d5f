//! Lists of access: the requests, and the pages that callers read.
//!
//! Owns the members of both and their descriptions. Must never decide, and must never read a token.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::assignment::PrincipalType;
use super::fields::{self, Fields, Problem, Reading};
use super::input::declare::words;
use super::input::declare_answer::answer;
use super::input::value::Value;
use super::{EntityType, Invalid, Json, JsonObject, Revision, Text, Timestamp};

words! {
    /// How an assignment reaches the resource.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
    pub enum Via: "reach of an assignment" {
        /// The assignment is on the resource itself.
        Direct = "direct",
        /// The assignment is on an ancestor of the resource.
        Inherited = "inherited",
        /// The assignment is global.
        Global = "global",
    }
}

words! {
    /// Items that a list leaves out unless they are asked for.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
    pub enum Include: "word of `include`" {
        /// Items that only a missing value keeps from being allowed: of the context, or an attribute or an external id.
        Conditional = "conditional",
        /// Archived entities, which checks answer about as about others.
        Archived = "archived",
    }
}

words! {
    /// The form of a list of resources.
    #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
    pub enum ListForm: "form of a list" {
        /// One item for each resource.
        #[default]
        Items = "items",
        /// One item for each subtree.
        Subtrees = "subtrees",
    }
}

/// The largest number of items in a page.
pub const MAX_LIMIT: u32 = 1000;
/// The number of items in a page when the caller names none.
pub const DEFAULT_LIMIT: u32 = 100;
/// The most characters of a page token.
pub const MAX_TOKEN_CHARS: usize = 4096;

/// The action of a list, with the bounds of a check's.
pub type ListedAction = Text<1, 255>;

/// What every list of access takes beside its question.
#[derive(Debug, Clone, PartialEq)]
pub struct ListRequest {
    /// What conditions can read under `context`; empty if absent.
    pub context: JsonObject,
    /// The largest number of items in the page.
    pub limit: u32,
    /// The token of the page; `None` for the first one.
    pub next: Option<String>,
    /// The time with which windows and `now` are compared, and of the registry; the present time if absent.
    pub at: Option<Timestamp>,
    /// The revision of the registry; the present one if absent.
    pub revision: Option<Revision>,
    /// `true` if items name the assignment by which they are allowed.
    pub explain: bool,
    /// Items that are left out otherwise, in the order of their words and each once.
    pub include: Vec<Include>,
}

impl Default for ListRequest {
    fn default() -> Self {
        Self {
            context: JsonObject::new(),
            limit: DEFAULT_LIMIT,
            next: None,
            at: None,
            revision: None,
            explain: true,
            include: Vec::new(),
        }
    }
}

/// A request for the principals that may perform an action on a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalsRequest {
    /// The action.
    pub action: ListedAction,
    /// The resource.
    pub resource_id: Uuid,
    /// Only principals of this type; of every type if absent.
    pub principal_type: Option<PrincipalType>,
    /// What every list takes.
    pub list: ListRequest,
}

/// A request for the resources on which a principal may perform an action.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourcesRequest {
    /// The id of the principal.
    pub principal_id: Uuid,
    /// The type of the principal.
    pub principal_type: PrincipalType,
    /// The action.
    pub action: ListedAction,
    /// Only entities of this type; of every type if absent.
    pub resource_type: Option<EntityType>,
    /// Only entities below this one; everywhere if absent.
    pub within: Option<Uuid>,
    /// The form of the answer.
    pub form: ListForm,
    /// What every list takes.
    pub list: ListRequest,
}

/// A request for the actions that a principal may perform on a resource.
#[derive(Debug, Clone, PartialEq)]
pub struct ActionsRequest {
    /// The id of the principal.
    pub principal_id: Uuid,
    /// The type of the principal.
    pub principal_type: PrincipalType,
    /// The resource.
    pub resource_id: Uuid,
    /// What every list takes.
    pub list: ListRequest,
}

/// A page of a list of access.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct AccessPage<T> {
    /// The items: principals and entities in the order of their ids, actions in that of their bytes, subtrees in the
    /// order in which their assignments were created.
    pub items: Vec<T>,
    /// `true` if the list ends with this page. A page that is not the last one can have fewer items than `limit`, also
    /// none.
    pub complete: bool,
    /// The token of the next page; `null` exactly when the list is complete.
    #[schema(required)]
    pub next: Option<String>,
    /// The registry state that every page of the list rests on.
    #[schema(example = "0198c5b2-8a54-7c1e-9d3f-6f2f0d6f1c11.0000000000000004711")]
    pub revision: String,
    /// The time that windows and `now` were compared with, for every page of the list.
    pub as_of: Timestamp,
}

/// A principal, a resource or an action that a check says yes to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub struct AccessItem {
    /// The id of the principal or of the entity; of an action, its text.
    #[schema(example = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11")]
    pub id: String,
    /// The type of the principal or of the entity; absent for an action.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    #[schema(example = "user")]
    pub kind: Option<String>,
    /// The id in another system; absent when none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
    /// The name of the entity, or the name for people of a registered principal; absent when none is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The assignment that a check of this item names; absent with `explain: false`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<AccessVia>,
    /// `true` for an item that is allowed only with the values that are `missing`; absent otherwise.
    #[serde(skip_serializing_if = "is_false")]
    #[schema(required = false)]
    pub conditional: bool,
    /// The names that conditions read and that are absent, of a conditional item; absent otherwise.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false, example = json!(["context.amount"]))]
    pub missing: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
pub(super) fn is_false(value: &bool) -> bool {
    !*value
}

answer! {
    /// The assignment by which an item is allowed: the one that a check of the item names.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct AccessVia;

    /// The id of the assignment.
    assignment_id as "assignment_id": Uuid;

    /// The role.
    role as "role": AccessRole;

    /// The entity on which the role is given; `null` for a global assignment.
    #[schema(required)]
    entity as "entity": Option<AccessEntity>;

    /// How the assignment reaches the resource.
    via as "via": Via;

    /// The next moment at which the decision about the item can change although nothing is changed; `null` when there
    /// is none.
    #[schema(required)]
    until as "until": Option<Timestamp>;
}

answer! {
    /// A role by name.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct AccessRole;

    /// The id of the role.
    id as "id": Uuid;

    /// The name of the role.
    #[schema(example = "Document reader")]
    name as "name": String;
}

answer! {
    /// An entity by name.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct AccessEntity;

    /// The id of the entity.
    id as "id": Uuid;

    /// The type of the entity.
    entity_type as "type": EntityType;

    /// The name of the entity.
    name as "name": String;
}

impl Value for AccessItem {
    fn read(value: &Json) -> Reading<Self> {
        let Json::Object(members) = value else {
            return Err(vec![Problem::new("dict_type", "Input should be a valid object")]);
        };
        let mut fields = Fields::new("body", members);
        let id = fields.required("id", String::read);
        let item = Self {
            id: id.clone().unwrap_or_default(),
            kind: fields.optional("type", String::read),
            external_id: fields.optional("external_id", String::read),
            name: fields.optional("name", String::read),
            via: fields.optional("via", AccessVia::read),
            conditional: fields.optional("conditional", bool::read).unwrap_or_default(),
            missing: fields.optional("missing", Vec::read).unwrap_or_default(),
        };
        fields.finish_nested(id.map(|_| item))
    }

    fn write(&self) -> Json {
        let text = |text: &Option<String>| text.as_deref().map(Json::from);
        let members = [
            ("id", Some(self.id.as_str().into())),
            ("type", text(&self.kind)),
            ("external_id", text(&self.external_id)),
            ("name", text(&self.name)),
            ("via", self.via.as_ref().map(Value::write)),
            ("conditional", self.conditional.then(|| true.into())),
            ("missing", (!self.missing.is_empty()).then(|| self.missing.write())),
        ];
        let given = members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        Json::Object(given.collect())
    }
}

impl<T: Value> AccessPage<T> {
    /// Reads a page, as an API returns it.
    ///
    /// # Errors
    /// Every failing member.
    pub fn from_json(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let items = fields.required("items", Vec::read);
        let complete = fields.required("complete", bool::read);
        let next = fields.optional("next", String::read);
        let revision = fields.required("revision", String::read);
        let as_of = fields.required("as_of", fields::timestamp);
        let page = || Some(Self { items: items?, complete: complete?, next, revision: revision?, as_of: as_of? });
        let page = page();
        fields.finish(page)
    }
}

/// A list of access, as the ledger and the logs name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// The principals that may perform an action on a resource.
    Principals,
    /// The resources on which a principal may perform an action.
    Resources,
    /// The actions that a principal may perform on a resource.
    Actions,
}

impl ListKind {
    /// The word of the list.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Principals => "principals",
            Self::Resources => "resources",
            Self::Actions => "actions",
        }
    }
}

impl fmt::Display for ListKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}
