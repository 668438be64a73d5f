//! A row of the registry, its key, and its version after a ledger entry.

use uuid::Uuid;

use crate::domain::{Assignment, Entity, Principal, Role};

/// A row of the registry as its reader returns it; a role with its permissions and their conditions.
#[derive(Debug, Clone, PartialEq)]
pub enum RegistryRow {
    /// A row of `entities`.
    Entity(Entity),
    /// A row of `roles`, with its rows of `role_permissions`.
    Role(Role),
    /// A row of `role_assignments`.
    Assignment(Assignment),
    /// A row of `principals`.
    Principal(Principal),
}

/// The key of a row of the registry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RowKey {
    /// The id of an entity.
    Entity(Uuid),
    /// The id of a role.
    Role(Uuid),
    /// The id of an assignment.
    Assignment(Uuid),
    /// The type and the id of a principal.
    Principal(String, Uuid),
}

/// What can be done to a row, by the last part of an action.
const VERBS: [&str; 6] = ["create", "update", "archive", "delete", "erase", "baseline"];

/// Whether entries of EPR with this action are about a row of the registry.
#[must_use]
pub fn is_row_action(action: &str) -> bool {
    action.split_once('.').is_some_and(|(subject, verb)| {
        matches!(subject, "entity" | "role" | "role_assignment" | "principal") && VERBS.contains(&verb)
    })
}

/// What an entry makes of a row: its new version, or its end.
#[derive(Debug, Clone, PartialEq)]
pub struct RowVersion {
    /// The key of the row.
    pub key: RowKey,
    /// The row after the entry; `None` when the entry ended it.
    pub row: Option<RegistryRow>,
    /// Whether the row did not exist before the entry: no version has to be ended.
    pub is_new: bool,
}

impl RowVersion {
    /// The end of the row with this key.
    #[must_use]
    pub fn ended(key: RowKey) -> Self {
        Self { key, row: None, is_new: false }
    }

    /// The first version of a row that the entry creates.
    #[must_use]
    pub fn created(row: impl Into<RegistryRow>) -> Self {
        Self { is_new: true, ..row.into().into() }
    }
}

impl From<RegistryRow> for RowVersion {
    fn from(row: RegistryRow) -> Self {
        Self { key: row.key(), row: Some(row), is_new: false }
    }
}

impl RegistryRow {
    /// The key of the row.
    #[must_use]
    pub fn key(&self) -> RowKey {
        match self {
            Self::Entity(entity) => RowKey::Entity(entity.id),
            Self::Role(role) => RowKey::Role(role.id),
            Self::Assignment(assignment) => RowKey::Assignment(assignment.id),
            Self::Principal(principal) => RowKey::Principal(principal.principal_type.clone(), principal.id),
        }
    }
}

impl From<Entity> for RegistryRow {
    fn from(entity: Entity) -> Self {
        Self::Entity(entity)
    }
}

impl From<Role> for RegistryRow {
    fn from(role: Role) -> Self {
        Self::Role(role)
    }
}

impl From<Assignment> for RegistryRow {
    fn from(assignment: Assignment) -> Self {
        Self::Assignment(assignment)
    }
}

impl From<Principal> for RegistryRow {
    fn from(principal: Principal) -> Self {
        Self::Principal(principal)
    }
}

impl std::fmt::Display for RowKey {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Entity(id) => write!(out, "entity {id}"),
            Self::Role(id) => write!(out, "role {id}"),
            Self::Assignment(id) => write!(out, "assignment {id}"),
            Self::Principal(kind, id) => write!(out, "principal {id} of type '{kind}'"),
        }
    }
}
