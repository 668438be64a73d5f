//! The decision: a question, its context and facts in, allow or deny with a reason out.
//!
//! Owns the rule by which access is granted. Pure and synchronous: must never read a clock, a database or a cache.

pub mod condition;
mod decide;
mod explain;
mod explain_sentence;
#[cfg(test)]
mod explain_tests;
mod explanation;
mod facts;
mod judge;
mod list;
#[cfg(test)]
mod matrix;
mod question;
mod reason;
mod residual;
mod span;
#[cfg(test)]
mod walk;

pub use condition::{Properties, Sent};
pub use decide::{Resolution, decide};
pub use explain::{NamedFacts, Registration, explain};
pub use explanation::{
    ConditionResult, ExplainedAssignment, ExplainedCondition, ExplainedEntity, ExplainedPart, ExplainedPrincipal,
    ExplainedResource, ExplainedRole, ExplainedWindow, Explanation,
};
pub use facts::{
    AssignmentFacts, ConditionFacts, ConditionOwner, Facts, NamedType, PrincipalFacts, ResourceFacts, ResourceType,
    Subjects, is_in_scope,
};
pub use judge::{ConditionsEvaluation, ConditionsOutcome, Judgement, WindowState, WrongParameter, evaluate, judge};
pub use list::{GrantingAssignment, JudgedItem, ListOptions, Listed, judge_item};
pub use question::{AskedAction, Question};
pub use reason::{Decision, Denial, Reason};
pub use residual::{Evaluated, Residual, WrongContext};
pub use span::Span;

pub use crate::domain::access::Via;
