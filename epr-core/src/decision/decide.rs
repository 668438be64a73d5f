//! The rule itself.

use serde::Serialize;
use uuid::Uuid;

use crate::domain::assignment::{PrincipalType, default_principal_type};
use crate::domain::{EntityType, Text, Timestamp};

/// What is asked: may this principal do this to that resource?
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// Who asks.
    pub principal_id: Uuid,
    /// What kind of principal; part of who it is.
    pub principal_type: PrincipalType,
    /// What it wants to do. Any text of 1 to 255 characters may be asked for; an unknown action is denied.
    pub action: AskedAction,
    /// The entity it wants to do it to.
    pub resource_id: Uuid,
}

/// An action that is asked for: 1 to 255 characters. Wider than what a role may hold, because asking for an action
/// that no role can hold is a question with an answer, not a mistake.
pub type AskedAction = Text<1, 255>;

impl Question {
    /// Asks for a user.
    #[must_use]
    pub fn new(principal_id: Uuid, action: AskedAction, resource_id: Uuid) -> Self {
        Self { principal_id, principal_type: default_principal_type(), action, resource_id }
    }
}

/// All that a decision depends on, besides the moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The resource's type.
    pub resource_type: EntityType,
    /// The resource and those of its ancestors on which the principal holds anything, in any order.
    pub lineage: Vec<Uuid>,
    /// Assignments that may matter. More than necessary does no harm: each is held against the question here.
    pub grants: Vec<Grant>,
}

/// One assignment together with what its role says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// The assignment.
    pub assignment_id: Uuid,
    /// Who holds it.
    pub principal_id: Uuid,
    /// What kind of principal that is.
    pub principal_type: String,
    /// The role.
    pub role_id: Uuid,
    /// Where it sits; everywhere when `None`.
    pub entity_id: Option<Uuid>,
    /// In force from this moment on.
    pub effective_at: Timestamp,
    /// No longer in force from this moment on.
    pub expires_at: Option<Timestamp>,
    /// The resource types the role counts for; all when empty.
    pub scope_types: Vec<EntityType>,
    /// The action asked for, if the role holds it. One text, not the role's whole list: a check moves few bytes.
    pub held_action: Option<String>,
}

/// Allow or deny, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub allowed: bool,
    /// What it rests on.
    pub reason: Reason,
}

/// What a decision rests on. A denial names the nearest miss: the last condition that some assignment failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(tag = "code", rename_all = "snake_case")]
pub enum Reason {
    /// No assignment of this principal is global or sits on the resource or above it.
    NoAssignment,
    /// There is one, but its role does not hold the action.
    ActionNotHeld,
    /// Its role holds the action, but is not meant for the resource's type.
    TypeOutOfScope,
    /// It would grant, but has ended.
    Expired,
    /// It would grant, but has not begun.
    NotYetInForce,
    /// It grants.
    Granted {
        /// The assignment that grants.
        assignment_id: Uuid,
        /// Its role.
        role_id: Uuid,
        /// How it reaches the resource.
        via: Via,
    },
}

impl Reason {
    /// The stable word for it.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::NoAssignment => "no_assignment",
            Self::ActionNotHeld => "action_not_held",
            Self::TypeOutOfScope => "type_out_of_scope",
            Self::Expired => "expired",
            Self::NotYetInForce => "not_yet_in_force",
            Self::Granted { .. } => "granted",
        }
    }
}

/// How an assignment reaches the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// It sits on the resource itself.
    Direct,
    /// It sits on an ancestor.
    Inherited,
    /// It counts everywhere.
    Global,
}

/// Decides `question` at the moment `now`.
///
/// Allowed exactly when some grant belongs to the principal (id and type), reaches the resource, holds the action,
/// counts for the resource's type and is in force: `effective_at <= now < expires_at`. The resource's status does
/// not matter.
#[must_use]
pub fn decide(question: &Question, facts: &Facts, now: Timestamp) -> Decision {
    let reason = facts
        .grants
        .iter()
        .filter_map(|grant| judge(question, facts, grant, now))
        .max()
        .unwrap_or(Reason::NoAssignment);
    Decision { allowed: matches!(reason, Reason::Granted { .. }), reason }
}

/// How far one grant gets; `None` if it is not this principal's or does not reach the resource.
fn judge(question: &Question, facts: &Facts, grant: &Grant, now: Timestamp) -> Option<Reason> {
    if grant.principal_id != question.principal_id || grant.principal_type != question.principal_type.as_str() {
        return None;
    }
    let via = match grant.entity_id {
        None => Via::Global,
        Some(place) if place == question.resource_id => Via::Direct,
        Some(place) if facts.lineage.contains(&place) => Via::Inherited,
        Some(_) => return None,
    };
    Some(if grant.held_action.as_deref() != Some(question.action.as_str()) {
        Reason::ActionNotHeld
    } else if !grant.scope_types.is_empty() && !grant.scope_types.contains(&facts.resource_type) {
        Reason::TypeOutOfScope
    } else if grant.expires_at.is_some_and(|end| end <= now) {
        Reason::Expired
    } else if now < grant.effective_at {
        Reason::NotYetInForce
    } else {
        Reason::Granted { assignment_id: grant.assignment_id, role_id: grant.role_id, via }
    })
}
