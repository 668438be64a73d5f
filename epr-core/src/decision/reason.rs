//! A decision and its reason, with stable words.
//!
//! Owns the words: the ledger, the logs, the cache and the command line take them from here. Must never decide.

use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::domain::access::Via;
use crate::domain::fields::Choice as _;
use crate::domain::input::declare::words;

words! {
    /// The reason of a denial: the last condition that some assignment failed, in the order of the conditions.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
    pub enum Denial: "reason of a denial" {
        /// No assignment of the principal is global or on the resource or an ancestor of it.
        NoAssignment = "no_assignment",
        /// There is an assignment, but its role does not have the action.
        ActionNotHeld = "action_not_held",
        /// The role has the action, but its scope types exclude the type of the resource.
        TypeOutOfScope = "type_out_of_scope",
        /// The assignment would grant, but its window has ended.
        Expired = "expired",
        /// The assignment would grant, but its window has not started.
        NotYetInForce = "not_yet_in_force",
        /// Only a condition keeps the assignment from applying, and it cannot be compiled or evaluated.
        ConditionError = "condition_error",
        /// Only a condition keeps the assignment from applying, and it is false.
        ConditionNotMet = "condition_not_met",
        /// Only a condition keeps the assignment from applying, and it reads something that is missing.
        ContextMissing = "context_missing",
        /// The principal is suspended, whatever its assignments are.
        PrincipalSuspended = "principal_suspended",
    }
}

/// Allow or deny, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the action is allowed.
    pub allowed: bool,
    /// The reason.
    pub reason: Reason,
}

impl Decision {
    /// The decision with this reason.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        Self { allowed: matches!(reason, Reason::Granted { .. }), reason }
    }
}

/// The reason of a decision. A granting assignment outranks every reason of a denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// No assignment grants.
    Denied(Denial),
    /// An assignment grants.
    Granted {
        /// The assignment that grants.
        assignment_id: Uuid,
        /// The role of the assignment.
        role_id: Uuid,
        /// How the assignment reaches the resource.
        via: Via,
    },
}

impl Reason {
    /// The stable word of the reason.
    ///
    /// ```
    /// use epr_core::decision::{Denial, Reason};
    ///
    /// assert_eq!(Reason::Denied(Denial::Expired).code(), "expired");
    /// ```
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Denied(denial) => denial.word(),
            Self::Granted { .. } => "granted",
        }
    }
}

/// An object with `code`; of a granting assignment also `assignment_id`, `role_id` and `via`.
impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let mut members = out.serialize_map(None)?;
        members.serialize_entry("code", self.code())?;
        if let Self::Granted { assignment_id, role_id, via } = self {
            members.serialize_entry("assignment_id", assignment_id)?;
            members.serialize_entry("role_id", role_id)?;
            members.serialize_entry("via", via)?;
        }
        members.end()
    }
}
