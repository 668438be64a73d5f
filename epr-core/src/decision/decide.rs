//! The rule by which access is granted.
//!
//! Owns [`decide`]. Must never read a clock, a database or a cache.

use std::sync::Arc;

use super::condition::Sent;
use super::judge::judge;
use super::residual::{Candidate, Evaluated, Residual, WrongContext};
use super::{Decision, Denial, Facts, Question, Reason};
use crate::domain::Timestamp;

/// What facts say about a question without its context.
#[derive(Debug, Clone, PartialEq)]
pub enum Resolution {
    /// The decision, which no context can change.
    Decided(Decision),
    /// Conditions decide.
    Conditional(Arc<Residual>),
}

/// Decides `question` at the time `now`.
///
/// The action is allowed exactly when the principal is not suspended, and some assignment belongs to it (id and type),
/// reaches the resource, has a role with the action and with the resource's type in its scope, is in its window
/// (`effective_at <= now < expires_at`), and has only conditions that are true. The resource's status does not matter.
/// A denial has the reason of the assignment that got furthest. An assignment that applies without conditions grants
/// whatever the conditions of others say.
///
/// # Errors
/// The context holds a declared parameter of a condition that was evaluated with another type.
pub fn decide<'s>(
    question: &Question,
    facts: &Facts,
    sent: impl Into<Sent<'s>>,
    now: Timestamp,
) -> Result<Evaluated, WrongContext> {
    let mut evaluated = facts.resolve(question, now).evaluate(question, sent, now)?;
    evaluated.until = [evaluated.until, facts.span(now).until].into_iter().flatten().min();
    Ok(evaluated)
}

impl Resolution {
    /// The decision with what the caller sent.
    ///
    /// # Errors
    /// Those of [`decide`].
    pub fn evaluate<'s>(
        &self,
        question: &Question,
        sent: impl Into<Sent<'s>>,
        now: Timestamp,
    ) -> Result<Evaluated, WrongContext> {
        match self {
            Self::Decided(decision) => Ok(Evaluated::unconditional(*decision)),
            Self::Conditional(residual) => residual.evaluate(question.action.as_str(), sent, now),
        }
    }
}

impl Facts {
    /// What these facts say about `question` at `now`, whatever the context is. It stays the same within
    /// [`Facts::span`].
    #[must_use]
    pub fn resolve(&self, question: &Question, now: Timestamp) -> Resolution {
        if self.principal.is_suspended {
            return Resolution::Decided(Decision::of(Reason::Denied(Denial::PrincipalSuspended)));
        }
        let mut best = Reason::Denied(Denial::NoAssignment);
        let mut conditional = Vec::new();
        for assignment in &self.assignments {
            let Some(judgement) = judge(question, self, assignment, now) else { continue };
            let (assignment_id, role_id) = (assignment.assignment_id, assignment.role_id);
            let granted = Reason::Granted { assignment_id, role_id, via: judgement.via };
            match judgement.denial() {
                Some(denial) => best = best.max(Reason::Denied(denial)),
                None if assignment.conditions.is_empty() => best = best.max(granted),
                None => conditional.push((assignment, granted)),
            }
        }
        if conditional.is_empty() || matches!(best, Reason::Granted { .. }) {
            return Resolution::Decided(Decision::of(best));
        }
        // Stores return assignments in different orders.
        conditional.sort_unstable_by_key(|(assignment, _)| assignment.assignment_id);
        let candidate = |(assignment, granted): (&super::AssignmentFacts, Reason)| Candidate {
            granted,
            assignment_id: assignment.assignment_id,
            conditions: assignment.conditions.clone(),
        };
        let candidates = conditional.into_iter().map(candidate).collect();
        Resolution::Conditional(Arc::new(Residual { subjects: self.subjects(question), candidates }))
    }
}
