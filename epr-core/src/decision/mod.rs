//! The decision: a question and facts in, allow or deny with a reason out.
//!
//! Owns the rule by which access is granted. Pure and synchronous: must never read a clock, a database or a cache.

pub mod condition;
mod decide;
#[cfg(test)]
mod matrix;
mod reason;
mod span;

pub use decide::{AskedAction, AssignmentFacts, Decision, Facts, PrincipalFacts, Question, ResourceFacts, decide};
pub use reason::{Denial, Reason, Via};
pub use span::Span;
