//! The form of an explanation: what callers read.
//!
//! Owns the members of an explanation and their descriptions. Must never decide.

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::judge::WindowState;
use super::{ConditionOwner, Denial, Via};
use crate::domain::input::declare::words;
use crate::domain::input::declare_answer::answer;
use crate::domain::principal::PrincipalStatus;
use crate::domain::{EntityStatus, EntityType, Timestamp};

answer! {
    /// A decision, with everything that it rests on.
    #[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
    pub struct Explanation;

    /// Whether the action is allowed.
    decision as "decision": bool;

    /// The reason: `granted`, or why the action is denied.
    #[schema(example = "expired")]
    reason as "reason": String;

    /// The reason for people. The wording is not part of the interface.
    #[schema(example = "Denied: the role Document reader is held on Acme Estates, an ancestor, but its window ended on \
        2026-11-01 12:00 UTC.")]
    sentence as "sentence": String;

    /// The time that windows and `now` were compared with.
    at as "at": Timestamp;

    /// The registry state that the explanation rests on.
    #[schema(example = "0198c5b2-8a54-7c1e-9d3f-6f2f0d6f1c11.0000000000000004711")]
    revision as "revision": String;

    /// The entity that the question is about.
    resource as "resource": ExplainedResource;

    /// The principal of the question.
    principal as "principal": ExplainedPrincipal;

    /// Every assignment of the principal that is global or on the resource or an ancestor, also those that do not
    /// apply: those on the resource first, then those on its ancestors, the nearest first, then the global ones.
    assignments as "assignments": Vec<ExplainedAssignment>;

    /// The next moment at which the decision or its reason can change although nothing is changed: a window begins or
    /// ends, or the outcome of a condition depends on the time. It is never later than the first such change; `null`
    /// when there is none.
    #[schema(required)]
    until as "until": Option<Timestamp>;
}

answer! {
    /// The entity that the question is about.
    #[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
    pub struct ExplainedResource;

    /// The id of the entity.
    id as "id": Uuid;

    /// The type of the entity.
    entity_type as "type": EntityType;

    /// The name of the entity.
    name as "name": String;

    /// The id of the entity in another system; `null` when none is known.
    #[schema(required)]
    external_id as "external_id": Option<String>;

    /// The status of the entity, on which no decision depends.
    status as "status": EntityStatus;

    /// The ancestors of the entity, the nearest first.
    ancestors as "ancestors": Vec<ExplainedEntity>;
}

answer! {
    /// An entity by name.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct ExplainedEntity;

    /// The id of the entity.
    id as "id": Uuid;

    /// The type of the entity.
    entity_type as "type": EntityType;

    /// The name of the entity.
    name as "name": String;
}

answer! {
    /// The principal of the question.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct ExplainedPrincipal;

    /// The id of the principal.
    id as "id": Uuid;

    /// The kind of principal.
    #[schema(example = "user")]
    principal_type as "type": String;

    /// Whether the principal is registered. Decisions about one that is not depend on its assignments alone.
    is_registered as "registered": bool;

    /// The id of the principal in another system; `null` when none is known.
    #[schema(required)]
    external_id as "external_id": Option<String>;

    /// The name for people; `null` when none is known.
    #[schema(required)]
    display_name as "display_name": Option<String>;

    /// The status; `active` for a principal that is not registered.
    status as "status": PrincipalStatus;
}

answer! {
    /// An assignment that reaches the resource, with every test that it passes or fails.
    #[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
    pub struct ExplainedAssignment;

    /// The id of the assignment.
    assignment_id as "assignment_id": Uuid;

    /// The role.
    role as "role": ExplainedRole;

    /// The entity on which the role is given; `null` for a global assignment.
    #[schema(required)]
    entity as "entity": Option<ExplainedEntity>;

    /// How the assignment reaches the resource.
    via as "via": Via;

    /// Whether the role has the action.
    holds_action as "holds_action": bool;

    /// Whether the scope types of the role include the type of the resource.
    in_scope as "in_scope": bool;

    /// The window of the assignment.
    window as "window": ExplainedWindow;

    /// The conditions of the assignment and of its role for the action, as one; `null` when there are none.
    #[schema(required)]
    condition as "condition": Option<ExplainedCondition>;

    /// Whether the assignment grants. Without those that do, the question would be denied.
    applies as "applies": bool;

    /// The first test that the assignment fails, or `principal_suspended`; `null` when it applies.
    #[schema(required)]
    why_not as "why_not": Option<Denial>;
}

answer! {
    /// A role by name.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct ExplainedRole;

    /// The id of the role.
    id as "id": Uuid;

    /// The name of the role.
    #[schema(example = "Document reader")]
    name as "name": String;
}

answer! {
    /// The window of an assignment: it includes `effective_at` and excludes `expires_at`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct ExplainedWindow;

    /// The start of the window, included.
    effective_at as "effective_at": Timestamp;

    /// The end of the window, excluded; `null` when the window has no end.
    #[schema(required)]
    expires_at as "expires_at": Option<Timestamp>;

    /// The window compared with the time of the explanation.
    state as "state": WindowState;
}

answer! {
    /// The conditions of an assignment, with what came out of them.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct ExplainedCondition;

    /// The expression. When both the assignment and its role have a condition, both expressions, joined by `&&`.
    #[schema(example = "context.amount <= 10000")]
    expression as "expression": String;

    /// What came out. The assignment applies only on `true`.
    outcome as "outcome": ConditionResult;

    /// The names that the expression reads and that are absent, when the outcome is `missing`.
    #[schema(example = json!(["context.amount"]))]
    missing as "missing": Vec<String>;

    /// What went wrong, when the outcome is `error`.
    #[schema(required)]
    error as "error": Option<String>;

    /// The operands of the outermost `&&` or `||` of each expression, in the order of their texts.
    parts as "parts": Vec<ExplainedPart>;
}

answer! {
    /// A part of an expression, with what came out of it alone.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct ExplainedPart;

    /// The text of the part.
    #[schema(example = "context.amount <= 10000")]
    text as "text": String;

    /// What came out.
    value as "value": ConditionResult;

    /// Where the condition is.
    owner as "owner": ConditionOwner;
}

words! {
    /// What came out of a condition or of a part of one.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
    pub enum ConditionResult: "result of a condition" {
        /// It holds.
        True = "true",
        /// It does not hold.
        False = "false",
        /// It depends on names that are absent.
        Missing = "missing",
        /// It cannot be evaluated.
        Error = "error",
    }
}
