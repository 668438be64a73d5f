//! What operators ask about the registry as a whole: rows of reports and exports, with the names that people know.

use serde::Serialize;
use uuid::Uuid;

use super::{Assignment, AssignmentFilter, Entity, EntityType, Role, Timestamp};

/// An assignment with the names of its role and its place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NamedAssignment {
    /// The assignment.
    #[serde(flatten)]
    pub assignment: Assignment,
    /// The role's name.
    pub role_name: String,
    /// The type of the entity it sits on; none when it counts everywhere.
    pub entity_type: Option<EntityType>,
    /// The name of that entity.
    pub entity_name: Option<String>,
}

/// Which assignments a scan shows, and in which order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AssignmentScan {
    /// Those of a filter, newest first.
    Listed(AssignmentFilter),
    /// The one with this id.
    One(Uuid),
    /// Those that end after `now` and not after `until`; the next to end first.
    Expiring {
        /// The current time.
        now: Timestamp,
        /// The end of the window.
        until: Timestamp,
    },
    /// Those that have granted nothing yet: they begin after `now`, or had ended when they were made. The next to begin
    /// first.
    NeverEffective {
        /// The current time.
        now: Timestamp,
    },
    /// Those that count everywhere and have not ended at `now`, principal by principal.
    Global {
        /// The current time.
        now: Timestamp,
    },
}

/// A role that nobody holds or will hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnheldRole {
    /// The role.
    #[serde(flatten)]
    pub role: Role,
    /// How many assignments of it have ended and were not revoked.
    pub ended_assignments: i64,
    /// When the last of them ended.
    pub last_ended_at: Option<Timestamp>,
}

/// An entity in use whose parent has been archived.
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

/// What a registry is changed by when many changes are brought at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BulkStep {
    /// A new role.
    CreateRole(super::NewRole),
    /// A change of a role.
    UpdateRole(Uuid, super::RolePatch),
    /// A new assignment. One that stands already under the same key is left as it is.
    Assign(super::NewAssignment),
    /// Another window for an assignment: the one with this id is revoked and the new one made, with no moment between.
    Reassign(Uuid, super::NewAssignment),
}
