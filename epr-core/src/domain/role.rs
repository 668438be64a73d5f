//! Roles: named sets of permitted actions, optionally meant for some entity types only.

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::entity::EntityType;
use super::fields::{self, Fields, Invalid};
use super::json::Json;
use super::text::Text;
use super::time::Timestamp;

/// A role's name: 3 to 120 characters.
pub type RoleName = Text<3, 120>;
/// A role's description: up to 512 characters.
pub type RoleDescription = Text<0, 512>;
/// A permission action such as `document:download`: 3 to 255 characters.
pub type Action = Text<3, 255>;

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Role {
    /// Its id.
    pub id: Uuid,
    /// Its name, unique.
    pub name: String,
    /// What it is for.
    #[schema(required)]
    pub description: Option<String>,
    /// The entity types it may be assigned on and counts for; empty means all.
    pub scope_types: Vec<EntityType>,
    /// Whether the platform itself depends on it.
    pub is_system: bool,
    /// The actions it holds, sorted by code point.
    pub permissions: Vec<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A request to create a role. Actions that are new to the registry are created with it.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRole {
    /// Its name.
    pub name: RoleName,
    /// What it is for.
    pub description: Option<RoleDescription>,
    /// The entity types it is meant for; empty means all.
    #[schema(required = false, max_items = 1000)]
    pub scope_types: Vec<EntityType>,
    /// The actions it holds.
    #[schema(value_type = Vec<Action>, required = false, max_items = 1000)]
    pub permissions: BTreeSet<Action>,
    /// Whether the platform itself depends on it. Ignored in requests: a role made by a caller is no system role.
    #[schema(value_type = Option<serde_json::Value>, required = false)]
    pub is_system: bool,
}

impl NewRole {
    /// Every member that a body may have.
    pub const MEMBERS: &[&str] = &["name", "description", "scope_types", "permissions", "is_system"];

    /// A role for every entity type.
    #[must_use]
    pub fn new(name: RoleName, permissions: impl IntoIterator<Item = Action>) -> Self {
        Self {
            name,
            description: None,
            scope_types: Vec::new(),
            permissions: permissions.into_iter().collect(),
            is_system: false,
        }
    }

    /// Reads the body of a request. Its `is_system` is ignored, whatever it is: callers make no system roles.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_request(body: &Json) -> Result<Self, Invalid> {
        Self::read(body, |_| false)
    }

    /// Reads a role of an operator's file. An unknown field is an error.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        Self::read(body, |fields| fields.given("is_system", fields::boolean).unwrap_or(false))
    }

    fn read(body: &Json, is_system: impl FnOnce(&mut Fields<'_>) -> bool) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        fields.only(Self::MEMBERS);
        let name = fields.required("name", fields::text);
        let description = fields.optional("description", fields::text);
        let scope_types = fields.given("scope_types", fields::list(fields::choice)).map(distinct).unwrap_or_default();
        let permissions = fields.given("permissions", fields::list(fields::text)).unwrap_or_default();
        let is_system = is_system(&mut fields);
        let build = name.map(|name| Self {
            name,
            description,
            scope_types,
            permissions: permissions.into_iter().collect(),
            is_system,
        });
        fields.finish(build)
    }
}

/// A change to a role; what is absent stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
pub struct RolePatch {
    /// A new description. `null` changes nothing.
    #[schema(value_type = Option<RoleDescription>)]
    pub description: Option<Option<RoleDescription>>,
    /// New scope types, replacing all.
    #[schema(max_items = 1000)]
    pub scope_types: Option<Vec<EntityType>>,
    /// New actions, replacing all.
    #[schema(value_type = Option<Vec<Action>>, required = false, max_items = 1000)]
    pub permissions: Option<BTreeSet<Action>>,
}

impl RolePatch {
    /// Reads the body of a change. Other fields are ignored: callers send back the whole role that they have read.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        // As the older implementation: `null` is no change.
        let permissions: Option<Vec<_>> = fields.optional("permissions", fields::list(fields::text));
        let patch = Self {
            description: fields.optional("description", fields::text).map(Some),
            scope_types: fields.optional("scope_types", fields::list(fields::choice)).map(distinct),
            permissions: permissions.map(|actions| actions.into_iter().collect()),
        };
        fields.finish(Some(patch))
    }
}

/// Each type once, in the order given.
fn distinct(types: Vec<EntityType>) -> Vec<EntityType> {
    let mut seen = BTreeSet::new();
    types.into_iter().filter(|entity_type| seen.insert(*entity_type)).collect()
}
