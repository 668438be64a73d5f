//! One item of a list of access: whether a check of it says yes, and by which assignment.
//!
//! Owns what a list needs to know about an item beyond its decision. INVARIANT: the decision is that of
//! [`decide`](super::decide), so that a list cannot disagree with a check. Must never read a clock, a database or a
//! cache.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::decide::Resolution;
use super::explain::next_change;
use super::{Denial, Facts, Question, Reason, Via, WrongContext};
use crate::domain::{JsonObject, Timestamp};

/// What a list asks about its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListOptions {
    /// `true` to compute when the decision about an item changes next, which takes several decisions.
    pub until: bool,
    /// `true` if an item that only missing context keeps from being allowed is [`Listed::Conditional`].
    pub conditional: bool,
}

/// What a list says about one item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listed {
    /// A check of the item says yes.
    Allowed(GrantingAssignment),
    /// A check says no, and would say yes if the named context were there and met the conditions of this assignment.
    Conditional(GrantingAssignment, BTreeSet<String>),
    /// A check says no.
    Denied,
}

/// The assignment that a check of an item names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GrantingAssignment {
    /// The id of the assignment.
    pub assignment_id: Uuid,
    /// The role of the assignment.
    pub role_id: Uuid,
    /// How the assignment reaches the resource.
    pub via: Via,
    /// The next moment at which the decision or its reason can change although nothing is changed, as in explanations;
    /// `None` when there is none, or when it was not asked for.
    pub until: Option<Timestamp>,
}

/// The judgement of one item, and the assignments whose conditions could not be evaluated, each with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JudgedItem {
    /// What the list says about the item.
    pub listed: Listed,
    /// The assignments whose conditions could not be compiled or evaluated, each with the reason, a sentence.
    pub errors: Vec<(Uuid, String)>,
}

/// Judges the item that `question` is about. `facts` need not have assignments whose roles lack the action: they change
/// nothing.
///
/// # Errors
/// Those of [`decide`](super::decide).
pub fn judge_item(
    question: &Question,
    facts: &Facts,
    context: &JsonObject,
    at: Timestamp,
    options: ListOptions,
) -> Result<JudgedItem, WrongContext> {
    let resolution = facts.resolve(question, at);
    let evaluated = resolution.evaluate(question, context, at)?;
    let granted = |reason| match reason {
        Reason::Granted { assignment_id, role_id, via } => {
            let until = if options.until { next_change(question, facts, context, at, &evaluated) } else { None };
            Some(GrantingAssignment { assignment_id, role_id, via, until })
        }
        Reason::Denied(_) => None,
    };
    let listed = match (evaluated.decision.reason, &resolution) {
        (reason @ Reason::Granted { .. }, _) => granted(reason).map(Listed::Allowed),
        (Reason::Denied(Denial::ContextMissing), Resolution::Conditional(residual)) if options.conditional => {
            let missing = residual.missing(question.action.as_str(), context, at);
            missing.and_then(|(reason, names)| Some(Listed::Conditional(granted(reason)?, names)))
        }
        (Reason::Denied(_), _) => None,
    };
    Ok(JudgedItem { listed: listed.unwrap_or(Listed::Denied), errors: evaluated.errors })
}
