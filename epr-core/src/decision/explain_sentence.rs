//! The sentence of an explanation: the decision and its reason for people.
//!
//! Owns the wording, which is not part of the interface. Must never decide.

use super::explanation::{ExplainedAssignment, ExplainedCondition, Explanation};
use super::{Denial, Reason, Via};
use crate::domain::Timestamp;

/// The sentence of `explanation`, whose reason is `reason`.
pub(super) fn sentence(explanation: &Explanation, action: &str, reason: Reason) -> String {
    match reason {
        Reason::Granted { assignment_id, .. } => {
            let granting = explanation.assignments.iter().find(|one| one.assignment_id == assignment_id);
            let held = granting.map_or_else(|| "a role is held".to_owned(), held);
            format!("Allowed: {held}{}.", granting.map(with_what).unwrap_or_default())
        }
        Reason::Denied(denial) => format!("Denied: {}.", why(explanation, action, denial)),
    }
}

/// What the granting assignment rests on: its condition, and its end.
fn with_what(granting: &ExplainedAssignment) -> String {
    let met = granting.condition.as_ref().map(|condition| format!("its condition is met: {}", code(condition)));
    // `everywhere until …`, but `on Acme Estates, an ancestor, until …`.
    let comma = if granting.via == Via::Global { "" } else { "," };
    let until = granting.window.expires_at.map(|end| format!("{comma} until {}", moment(end))).unwrap_or_default();
    let met = met.map(|met| format!(", and {met}")).unwrap_or_default();
    format!("{until}{met}")
}

fn why(explanation: &Explanation, action: &str, denial: Denial) -> String {
    let resource = &explanation.resource;
    if denial == Denial::NoAssignment {
        return format!("no role is held on {}, on an ancestor of it, or everywhere", resource.name);
    }
    if denial == Denial::PrincipalSuspended {
        return "the principal is suspended, so that no role applies".to_owned();
    }
    let mut failed = explanation.assignments.iter().filter(|one| one.why_not == Some(denial));
    let Some(shown) = nearest(denial, &mut failed) else { return denial.to_string() };
    let held = held(shown);
    let others = others(explanation.assignments.iter().filter(|one| one.why_not == Some(denial)).count() - 1);
    let window = &shown.window;
    match denial {
        Denial::NoAssignment | Denial::PrincipalSuspended => held,
        Denial::ActionNotHeld => format!("{held}, but it does not permit {action}{others}"),
        Denial::TypeOutOfScope => {
            format!("{held}, but it is not meant for entities of the type {}{others}", resource.entity_type)
        }
        Denial::Expired => {
            let end = window.expires_at.map(moment).unwrap_or_default();
            format!("{held}, but its window ended on {end}{others}")
        }
        Denial::NotYetInForce => {
            format!("{held}, but its window begins only on {}{others}", moment(window.effective_at))
        }
        Denial::ConditionNotMet | Denial::ContextMissing | Denial::ConditionError => {
            let unmet = shown.condition.as_ref().map(|condition| unmet(denial, condition)).unwrap_or_default();
            format!("{held}, but {unmet}{others}")
        }
    }
}

/// The assignment that comes closest: the window that ended last, or that begins first; else the first in the list.
fn nearest<'a>(
    denial: Denial,
    failed: &mut dyn Iterator<Item = &'a ExplainedAssignment>,
) -> Option<&'a ExplainedAssignment> {
    match denial {
        Denial::Expired => failed.max_by_key(|one| one.window.expires_at),
        Denial::NotYetInForce => failed.min_by_key(|one| one.window.effective_at),
        _ => failed.next(),
    }
}

fn unmet(denial: Denial, condition: &ExplainedCondition) -> String {
    match denial {
        Denial::ContextMissing => {
            let names = condition.missing.join(", ");
            format!("its condition needs {names}, which the question does not have: {}", code(condition))
        }
        Denial::ConditionError => {
            let error = condition.error.as_deref().unwrap_or("unknown");
            format!("its condition cannot be evaluated ({error}): {}", code(condition))
        }
        _ => format!("its condition is not met: {}", code(condition)),
    }
}

fn code(condition: &ExplainedCondition) -> String {
    format!("`{}`", condition.expression)
}

/// `the role Document reader is held on Acme Estates, an ancestor`.
fn held(assignment: &ExplainedAssignment) -> String {
    let name = assignment.entity.as_ref().map(|entity| entity.name.as_str()).unwrap_or_default();
    let reach = match assignment.via {
        Via::Direct => format!("on {name}, the resource itself"),
        Via::Inherited => format!("on {name}, an ancestor"),
        Via::Global => "everywhere".to_owned(),
    };
    format!("the role {} is held {reach}", assignment.role.name)
}

fn others(count: usize) -> String {
    match count {
        0 => String::new(),
        1 => " (1 more assignment fails for the same reason)".to_owned(),
        more => format!(" ({more} more assignments fail for the same reason)"),
    }
}

/// A moment to the minute, or to the second where that matters: `2026-11-01 12:00 UTC`.
fn moment(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, time) = (text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default());
    format!("{day} {} UTC", time.strip_suffix(":00").unwrap_or(time))
}
