//! What one assignment contributes to a decision: the tests that it passes and fails.
//!
//! Owns the tests. Decisions and explanations use the same ones. Must never read a clock, a database or a cache.

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;

use super::condition::{Inputs, Outcome};
use super::{AssignmentFacts, ConditionFacts, Denial, Facts, Question, Via};
use crate::domain::input::declare::words;
use crate::domain::{ParameterType, Timestamp};

words! {
    /// The window of an assignment compared with a time.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
    pub enum WindowState: "state of a window" {
        /// `effective_at` is later.
        NotStarted = "future",
        /// The window includes the time.
        InForce = "current",
        /// `expires_at` has passed.
        Ended = "past",
    }
}

/// The tests of one assignment that reaches the resource, without its conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judgement {
    /// How the assignment reaches the resource.
    pub via: Via,
    /// Whether its role has the action.
    pub holds_action: bool,
    /// Whether the scope types of its role include the type of the resource.
    pub in_scope: bool,
    /// The state of its window.
    pub window: WindowState,
}

impl Judgement {
    /// The first failed test; `None` when only conditions can keep the assignment from applying.
    #[must_use]
    pub fn denial(&self) -> Option<Denial> {
        match self.window {
            _ if !self.holds_action => Some(Denial::ActionNotHeld),
            _ if !self.in_scope => Some(Denial::TypeOutOfScope),
            WindowState::Ended => Some(Denial::Expired),
            WindowState::NotStarted => Some(Denial::NotYetInForce),
            WindowState::InForce => None,
        }
    }
}

/// Judges one assignment; `None` if it is another principal's or does not reach the resource.
#[must_use]
pub fn judge(question: &Question, facts: &Facts, assignment: &AssignmentFacts, now: Timestamp) -> Option<Judgement> {
    if assignment.principal_id != question.principal_id
        || *assignment.principal_type != *question.principal_type.as_str()
    {
        return None;
    }
    let via = match assignment.entity_id {
        None => Via::Global,
        Some(entity) if entity == question.resource_id => Via::Direct,
        Some(entity) if facts.assigned_entities.contains(&entity) => Via::Inherited,
        Some(_) => return None,
    };
    let window = if assignment.expires_at.is_some_and(|end| end <= now) {
        WindowState::Ended
    } else if now < assignment.effective_at {
        WindowState::NotStarted
    } else {
        WindowState::InForce
    };
    Some(Judgement {
        via,
        holds_action: assignment.held_action.as_deref() == Some(question.action.as_str()),
        in_scope: facts.resource.entity_type.is_in_scope(&assignment.scope_types),
        window,
    })
}

/// What the conditions of one assignment say together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionsOutcome {
    /// All of them are true.
    True,
    /// One is false.
    False,
    /// None is false, and these names are missing.
    Missing(BTreeSet<String>),
    /// None is false, and one cannot be compiled or evaluated: the reason, a sentence.
    Error(String),
    /// The context holds declared parameters with another type.
    WrongType(BTreeSet<WrongParameter>),
}

/// A declared parameter that the context holds with another type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct WrongParameter {
    /// The name of the parameter.
    pub name: String,
    /// The declared type.
    pub expected: ParameterType,
}

/// The outcome of the conditions of one assignment at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionsEvaluation {
    /// The outcome.
    pub outcome: ConditionsOutcome,
    /// The first later moment at which the outcome may differ because time passes; `None`: never.
    pub until: Option<Timestamp>,
}

/// Evaluates the conditions of one assignment; without any, the outcome is true. The order of the conditions does not
/// matter.
#[must_use]
pub fn evaluate(conditions: &[ConditionFacts], inputs: &Inputs<'_>) -> ConditionsEvaluation {
    let mut evaluation = ConditionsEvaluation { outcome: ConditionsOutcome::True, until: None };
    for condition in conditions {
        let (outcome, until) = match &condition.compiled {
            Err(why) => (ConditionsOutcome::Error(why.to_string()), None),
            Ok(compiled) => {
                let one = compiled.evaluate(inputs);
                (one.outcome.into(), one.until)
            }
        };
        evaluation.outcome = evaluation.outcome.and(outcome);
        evaluation.until = [evaluation.until, until].into_iter().flatten().min();
    }
    evaluation
}

impl From<Outcome> for ConditionsOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::True => Self::True,
            Outcome::False => Self::False,
            Outcome::Missing(names) => Self::Missing(names),
            Outcome::Error(error) => Self::Error(error.to_string()),
            Outcome::WrongType(parameters) => {
                let wrong = parameters.into_iter().map(|(name, expected)| WrongParameter { name, expected });
                Self::WrongType(wrong.collect())
            }
        }
    }
}

impl ConditionsOutcome {
    /// Both, by the rules of `&&` in the dialect: false wins over an error, an error over something missing. A wrong
    /// type wins over everything: it is the caller's mistake.
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::WrongType(mut one), Self::WrongType(two)) => {
                one.extend(two);
                Self::WrongType(one)
            }
            (wrong @ Self::WrongType(_), _) | (_, wrong @ Self::WrongType(_)) => wrong,
            (Self::False, _) | (_, Self::False) => Self::False,
            (Self::Error(one), Self::Error(two)) => Self::Error(one.min(two)),
            (error @ Self::Error(_), _) | (_, error @ Self::Error(_)) => error,
            (Self::Missing(mut one), Self::Missing(two)) => {
                one.extend(two);
                Self::Missing(one)
            }
            (missing @ Self::Missing(_), _) | (_, missing @ Self::Missing(_)) => missing,
            (Self::True, Self::True) => Self::True,
        }
    }
}
