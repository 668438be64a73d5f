//! The rule by which access is granted.
//!
//! Owns the question, the facts and [`decide`]. Must never read a clock, a database or a cache.

use uuid::Uuid;

use super::{Denial, Reason, Via};
use crate::domain::assignment::{PrincipalType, default_principal_type};
use crate::domain::{EntityType, JsonObject, Text, Timestamp};

/// A question: may this principal perform this action on this resource?
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Question {
    /// The id of the principal.
    pub principal_id: Uuid,
    /// The kind of principal. The same id with another type is another principal.
    pub principal_type: PrincipalType,
    /// The action. An action that no role has is denied, not rejected.
    pub action: AskedAction,
    /// The entity on which the action is carried out.
    pub resource_id: Uuid,
}

/// The action of a question: 1 to 255 characters. The bounds are wider than those of a role's action: an action that no
/// role can have is a question with an answer, not an error.
pub type AskedAction = Text<1, 255>;

impl Question {
    /// A question about a principal of the type `user`.
    #[must_use]
    pub fn new(principal_id: Uuid, action: AskedAction, resource_id: Uuid) -> Self {
        Self { principal_id, principal_type: default_principal_type(), action, resource_id }
    }
}

/// Everything that a decision depends on except the context and the time.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The principal.
    pub principal: PrincipalFacts,
    /// The resource.
    pub resource: ResourceFacts,
    /// The resource and those of its ancestors on which the principal has an assignment, in any order.
    pub assigned_entities: Vec<Uuid>,
    /// The assignments that can matter. More than these do no harm: [`decide`] compares each with the question.
    pub assignments: Vec<AssignmentFacts>,
}

/// The principal as it is registered; the default for one that is not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PrincipalFacts {
    /// Whether it is denied everything.
    pub is_suspended: bool,
    /// Its id in the system that it comes from. Read only when a condition is among the facts.
    pub external_id: Option<String>,
    /// Its attributes. Read only when a condition is among the facts.
    pub attributes: JsonObject,
}

/// The entity on which the action is carried out.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceFacts {
    /// Its type.
    pub entity_type: EntityType,
    /// Its id in the system that it comes from. Read only when a condition is among the facts.
    pub external_id: Option<String>,
    /// Its attributes. Read only when a condition is among the facts.
    pub attributes: JsonObject,
}

impl ResourceFacts {
    /// An entity of this type without an external id and attributes.
    #[must_use]
    pub fn of(entity_type: EntityType) -> Self {
        Self { entity_type, external_id: None, attributes: JsonObject::new() }
    }
}

/// One assignment with what its role permits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AssignmentFacts {
    /// The id of the assignment.
    pub assignment_id: Uuid,
    /// The id of the principal.
    pub principal_id: Uuid,
    /// The kind of principal.
    pub principal_type: String,
    /// The id of the role.
    pub role_id: Uuid,
    /// The entity on which the role is given; `None` for a global assignment.
    pub entity_id: Option<Uuid>,
    /// The start of the window, included.
    pub effective_at: Timestamp,
    /// The end of the window, excluded; `None` when it has no end.
    pub expires_at: Option<Timestamp>,
    /// The scope types of the role; every type when empty.
    pub scope_types: Vec<EntityType>,
    /// The action of the question, if the role has it. One text instead of the role's whole list keeps a check small.
    pub held_action: Option<String>,
}

/// Allow or deny, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the action is allowed.
    pub allowed: bool,
    /// The reason.
    pub reason: Reason,
}

/// Decides `question` at the time `now`.
///
/// The action is allowed exactly when some assignment belongs to the principal (id and type), reaches the resource,
/// has a role with the action and with the resource's type in its scope, and is in its window:
/// `effective_at <= now < expires_at`. The resource's status does not matter. A denial has the reason of the assignment
/// that got furthest.
#[must_use]
pub fn decide(question: &Question, facts: &Facts, now: Timestamp) -> Decision {
    let reason = facts
        .assignments
        .iter()
        .filter_map(|assignment| judge(question, facts, assignment, now))
        .max()
        .unwrap_or(Reason::Denied(Denial::NoAssignment));
    Decision { allowed: matches!(reason, Reason::Granted { .. }), reason }
}

/// The reason that one assignment gives; `None` if it is another principal's or does not reach the resource.
fn judge(question: &Question, facts: &Facts, assignment: &AssignmentFacts, now: Timestamp) -> Option<Reason> {
    if assignment.principal_id != question.principal_id || assignment.principal_type != question.principal_type.as_str()
    {
        return None;
    }
    let via = match assignment.entity_id {
        None => Via::Global,
        Some(entity) if entity == question.resource_id => Via::Direct,
        Some(entity) if facts.assigned_entities.contains(&entity) => Via::Inherited,
        Some(_) => return None,
    };
    Some(if assignment.held_action.as_deref() != Some(question.action.as_str()) {
        Reason::Denied(Denial::ActionNotHeld)
    } else if !assignment.scope_types.is_empty() && !assignment.scope_types.contains(&facts.resource.entity_type) {
        Reason::Denied(Denial::TypeOutOfScope)
    } else if assignment.expires_at.is_some_and(|end| end <= now) {
        Reason::Denied(Denial::Expired)
    } else if now < assignment.effective_at {
        Reason::Denied(Denial::NotYetInForce)
    } else {
        Reason::Granted { assignment_id: assignment.assignment_id, role_id: assignment.role_id, via }
    })
}
