//! Rows of reports and exports about the whole registry, with the names of roles and entities.
//!
//! Owns the shape of the rows and the steps of a bulk change. Must never read the registry.

use std::fmt;

use serde::Serialize;
use uuid::Uuid;

use super::{Assignment, AssignmentFilter, Entity, EntityType, Role, Timestamp};

/// An assignment with the names of its role and its entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedAssignment {
    /// The assignment.
    #[serde(flatten)]
    pub assignment: Assignment,
    /// The role's name.
    pub role_name: String,
    /// The type of the entity; `None` for a global assignment.
    pub entity_type: Option<EntityType>,
    /// The name of the entity; `None` for a global assignment.
    pub entity_name: Option<String>,
    /// Who granted it. `None` when the ledger has no entry of the grant, which an older service made, and in lists that
    /// do not read the ledger.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
}

/// The ledger's entry of a grant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Granted {
    /// The sequence of the entry.
    pub sequence: i64,
    /// The time of the grant.
    pub at: Timestamp,
    /// The actor, if one was named or is known by its credential.
    pub actor_id: Option<Uuid>,
    /// The kind of the actor.
    pub actor_type: String,
    /// The credential behind the grant, for example `api_token:vault`, unless the caller named another actor.
    pub caller: Option<String>,
    /// Why, in the words of the caller.
    pub stated_reason: Option<String>,
}

/// The assignments that a scan returns, and their order. All but `Listed` read the ledger for who granted them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AssignmentScan {
    /// Assignments that match a filter, newest first.
    Listed {
        /// The filter.
        filter: AssignmentFilter,
        /// The current time.
        now: Timestamp,
    },
    /// The assignment with this id.
    One(Uuid),
    /// Assignments that end after `now` and not after `until`, ordered by their end.
    Expiring {
        /// The current time.
        now: Timestamp,
        /// The last end that is included.
        until: Timestamp,
    },
    /// Assignments that have never been in force: they start after `now`, or had ended when they were created. Ordered
    /// by their start.
    NeverEffective {
        /// The current time.
        now: Timestamp,
    },
    /// Global assignments that have not ended at `now`, ordered by principal.
    Global {
        /// The current time.
        now: Timestamp,
    },
}

/// A role without an assignment that is or will be in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnheldRole {
    /// The role.
    #[serde(flatten)]
    pub role: Role,
    /// The number of its assignments that have ended and were not revoked.
    pub ended_assignments: i64,
    /// The latest of their ends.
    pub last_ended_at: Option<Timestamp>,
}

/// An entity that is not archived below a parent that is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Orphan {
    /// The entity.
    #[serde(flatten)]
    pub entity: Entity,
    /// The parent's name.
    pub parent_name: String,
    /// The parent's type.
    pub parent_type: EntityType,
}

/// An entity on a level of the tree.
#[derive(Debug, Clone, PartialEq)]
pub struct Branch {
    /// The entity, which is not archived.
    pub entity: Entity,
    /// Whether there are entities directly below it that are not archived.
    pub has_children: bool,
}

/// Where assignments are, seen from an entity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// On the entity itself.
    Here,
    /// On its ancestors, or global: they apply to the entity too.
    Inherited,
    /// On the entities below it, at any depth.
    Below,
}

/// The numbers of objects of the registry, each at most the limit of the count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistryCounts {
    /// Entities that are not archived.
    pub entities: i64,
    /// Registered principals, erased ones included.
    pub principals: i64,
    /// Roles.
    pub roles: i64,
    /// Assignments, in force or not.
    pub assignments: i64,
}

/// A condition as it is stored, which this program may be unable to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCondition {
    /// What has the condition.
    pub holder: ConditionHolder,
    /// The stored text: the JSON of a condition.
    pub text: String,
}

/// What has a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionHolder {
    /// The assignment with this id.
    Assignment(Uuid),
    /// An action of a role.
    Role {
        /// The role's id.
        id: Uuid,
        /// The role's name.
        name: String,
        /// The action.
        action: String,
    },
}

impl fmt::Display for ConditionHolder {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Assignment(id) => write!(out, "assignment {id}"),
            Self::Role { name, action, .. } => write!(out, "role {name}, action {action}"),
        }
    }
}

/// An entity type that rows use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct EntityTypeUse {
    /// The type.
    pub entity_type: EntityType,
    /// The number of entities of this type, archived or not.
    pub entities: i64,
    /// The number of roles with this scope type.
    pub roles: i64,
}

impl EntityTypeUse {
    /// A type without rows.
    #[must_use]
    pub fn of(entity_type: EntityType) -> Self {
        Self { entity_type, entities: 0, roles: 0 }
    }
}

/// The type and the numbers of its rows: `fund` (2 entities, 1 role).
impl std::fmt::Display for EntityTypeUse {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (entities, roles) = (self.entities, self.roles);
        let entity_word = if entities == 1 { "entity" } else { "entities" };
        let role_word = if roles == 1 { "role" } else { "roles" };
        write!(out, "`{}` ({entities} {entity_word}, {roles} {role_word})", self.entity_type)
    }
}

/// One step of a bulk change.
#[derive(Debug, Clone, PartialEq)]
pub enum BulkStep {
    /// Registers a principal.
    CreatePrincipal(super::NewPrincipal),
    /// Changes the principal with this type and id.
    UpdatePrincipal(super::assignment::PrincipalType, Uuid, super::PrincipalPatch),
    /// Creates a role.
    CreateRole(super::NewRole),
    /// Changes a role.
    UpdateRole(Uuid, super::RolePatch),
    /// Changes nothing. Fails unless the role was changed last at this time.
    ExpectRole(Uuid, super::Timestamp),
    /// Changes nothing. Fails unless the principal with this type and id was changed last at this time.
    ExpectPrincipal(super::assignment::PrincipalType, Uuid, super::Timestamp),
    /// Creates an assignment. An existing one with the same key stays unchanged.
    Assign(super::AssignmentRequest),
    /// Creates an assignment to the role that an earlier step creates under this name. The `role_id` of the request is
    /// ignored.
    AssignCreated(String, super::AssignmentRequest),
    /// Replaces an assignment: the one with this id is revoked and the new one created in the same transaction.
    Reassign(Uuid, super::NewAssignment),
}
