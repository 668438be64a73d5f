//! Explanations: a decision with everything that it rests on, by name.
//!
//! Owns how an explanation follows from facts. INVARIANT: the decision is that of [`decide`] and the tests of an
//! assignment are those of [`judge`]: an explanation cannot disagree with a check. Must never read a clock, a database
//! or a cache.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use uuid::Uuid;

use super::condition::{Inputs, Outcome};
use super::explain_sentence;
use super::explanation::{
    ConditionResult, ExplainedAssignment, ExplainedCondition, ExplainedEntity, ExplainedPart, ExplainedPrincipal,
    ExplainedResource, ExplainedRole, ExplainedWindow, Explanation,
};
use super::judge::{self, ConditionsOutcome, Judgement, judge};
use super::{AssignmentFacts, ConditionFacts, Denial, Evaluated, Facts, Question, WrongContext, decide};
use crate::domain::principal::PrincipalStatus;
use crate::domain::{EntityStatus, EntityType, JsonObject, Revision, Timestamp};

/// The facts of a question with the names that people know.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedFacts {
    /// The facts. Their assignments are all that reach the resource, whether their roles have the action or not.
    pub facts: Facts,
    /// The type of the resource.
    pub resource_type: EntityType,
    /// The name of the resource.
    pub resource_name: String,
    /// The external id of the resource.
    pub resource_external_id: Option<String>,
    /// The status of the resource.
    pub resource_status: EntityStatus,
    /// The ancestors of the resource, the nearest first.
    pub ancestors: Vec<ExplainedEntity>,
    /// The principal, if it is registered.
    pub registration: Option<Registration>,
    /// The names of the roles of the assignments.
    pub role_names: BTreeMap<Uuid, String>,
    /// The registry state that the facts belong to.
    pub revision: Revision,
}

/// What is known about a registered principal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Its id in another system.
    pub external_id: Option<String>,
    /// Its name for people.
    pub display_name: Option<String>,
    /// Its status.
    pub status: PrincipalStatus,
}

/// Explains the decision of `question` in `context` at the time `at`.
///
/// An assignment applies exactly when it would grant if it were the only one, and the principal is not suspended.
///
/// # Errors
/// Those of [`decide`].
pub fn explain(
    question: &Question,
    named: &NamedFacts,
    context: &JsonObject,
    at: Timestamp,
) -> Result<Explanation, WrongContext> {
    let facts = &named.facts;
    let evaluated = decide(question, facts, context, at)?;
    let subjects = facts.subjects(question);
    let inputs = subjects.inputs(question.action.as_str(), context, at);
    let judged = facts.assignments.iter().filter_map(|assignment| {
        judge(question, facts, assignment, at)
            .map(|judgement| explained(question, named, (assignment, judgement), &inputs))
    });
    let mut assignments: Vec<_> = judged.collect();
    let levels: BTreeMap<Uuid, usize> = named.ancestors.iter().enumerate().map(|(at, one)| (one.id, at)).collect();
    assignments.sort_by_cached_key(|one| {
        let level = one.entity.as_ref().map(|entity| levels.get(&entity.id).copied());
        (one.via, level, Reverse(one.applies), one.role.name.clone(), one.assignment_id)
    });
    let mut explanation = Explanation {
        decision: evaluated.decision.allowed,
        reason: evaluated.decision.reason.code().to_owned(),
        sentence: String::new(),
        at,
        revision: named.revision.to_string(),
        resource: resource(question, named),
        principal: principal(question, named),
        assignments,
        until: next_change(question, facts, context, at, &evaluated),
    };
    explanation.sentence =
        explain_sentence::sentence(&explanation, question.action.as_str(), evaluated.decision.reason);
    Ok(explanation)
}

fn resource(question: &Question, named: &NamedFacts) -> ExplainedResource {
    ExplainedResource {
        id: question.resource_id,
        entity_type: named.resource_type.clone(),
        name: named.resource_name.clone(),
        external_id: named.resource_external_id.clone(),
        status: named.resource_status,
        ancestors: named.ancestors.clone(),
    }
}

fn principal(question: &Question, named: &NamedFacts) -> ExplainedPrincipal {
    let known = named.registration.as_ref();
    ExplainedPrincipal {
        id: question.principal_id,
        principal_type: question.principal_type.as_str().to_owned(),
        is_registered: known.is_some(),
        external_id: known.and_then(|known| known.external_id.clone()),
        display_name: known.and_then(|known| known.display_name.clone()),
        status: known.map_or(PrincipalStatus::Active, |known| known.status),
    }
}

fn explained(
    question: &Question,
    named: &NamedFacts,
    (assignment, judgement): (&AssignmentFacts, Judgement),
    inputs: &Inputs<'_>,
) -> ExplainedAssignment {
    let outcome = judge::evaluate(&assignment.conditions, inputs).outcome;
    let failed = judgement.denial().or_else(|| denial_of(&outcome));
    let suspended = named.facts.principal.is_suspended.then_some(Denial::PrincipalSuspended);
    let why_not = failed.or(suspended);
    let entity = assignment.entity_id.map(|id| match named.ancestors.iter().find(|ancestor| ancestor.id == id) {
        Some(ancestor) => ancestor.clone(),
        None => ExplainedEntity {
            id: question.resource_id,
            entity_type: named.resource_type.clone(),
            name: named.resource_name.clone(),
        },
    });
    ExplainedAssignment {
        assignment_id: assignment.assignment_id,
        role: ExplainedRole {
            id: assignment.role_id,
            name: named.role_names.get(&assignment.role_id).cloned().unwrap_or_default(),
        },
        entity,
        via: judgement.via,
        holds_action: judgement.holds_action,
        in_scope: judgement.in_scope,
        window: ExplainedWindow {
            effective_at: assignment.effective_at,
            expires_at: assignment.expires_at,
            state: judgement.window,
        },
        condition: (!assignment.conditions.is_empty()).then(|| condition(&assignment.conditions, outcome, inputs)),
        applies: why_not.is_none(),
        why_not,
    }
}

/// Why an assignment with this outcome of its conditions does not apply. A context of the wrong type is an error of the
/// caller where conditions decide; where they do not, the condition cannot be evaluated.
fn denial_of(outcome: &ConditionsOutcome) -> Option<Denial> {
    match outcome {
        ConditionsOutcome::True => None,
        ConditionsOutcome::False => Some(Denial::ConditionNotMet),
        ConditionsOutcome::Missing(_) => Some(Denial::ContextMissing),
        ConditionsOutcome::Error(_) | ConditionsOutcome::WrongType(_) => Some(Denial::ConditionError),
    }
}

fn condition(conditions: &[ConditionFacts], outcome: ConditionsOutcome, inputs: &Inputs<'_>) -> ExplainedCondition {
    let (result, missing, error) = match outcome {
        ConditionsOutcome::True => (ConditionResult::True, BTreeSet::new(), None),
        ConditionsOutcome::False => (ConditionResult::False, BTreeSet::new(), None),
        ConditionsOutcome::Missing(names) => (ConditionResult::Missing, names, None),
        ConditionsOutcome::Error(why) => (ConditionResult::Error, BTreeSet::new(), Some(why)),
        ConditionsOutcome::WrongType(parameters) => {
            let wrong = parameters.iter().map(|one| format!("context.{} is not a value of {}", one.name, one.expected));
            (ConditionResult::Error, BTreeSet::new(), Some(wrong.collect::<Vec<_>>().join("; ")))
        }
    };
    let expression = |one: &ConditionFacts| match &one.compiled {
        Ok(compiled) => compiled.source().expression.clone(),
        Err(_) => one.stored.to_string(),
    };
    let expressions: Vec<_> = conditions.iter().map(expression).collect();
    let expression = match expressions.as_slice() {
        [only] => only.clone(),
        several => several.iter().map(|one| format!("({one})")).collect::<Vec<_>>().join(" && "),
    };
    let parts = conditions.iter().flat_map(|one| {
        let parts = one.compiled.as_ref().map(|compiled| compiled.parts(inputs)).unwrap_or_default();
        parts.into_iter().map(|part| ExplainedPart { text: part.text, value: result_of(&part.value), owner: one.owner })
    });
    ExplainedCondition {
        expression,
        outcome: result,
        missing: missing.into_iter().collect(),
        error,
        parts: parts.collect(),
    }
}

fn result_of(outcome: &Outcome) -> ConditionResult {
    match outcome {
        Outcome::True => ConditionResult::True,
        Outcome::False => ConditionResult::False,
        Outcome::Missing(_) => ConditionResult::Missing,
        Outcome::Error(_) | Outcome::WrongType { .. } => ConditionResult::Error,
    }
}

/// The most moments that are looked at for the next change.
const MAX_MOMENTS: usize = 64;

/// The first moment after `at` at which the decision or its reason differs. After [`MAX_MOMENTS`] without a difference,
/// the next moment at which there can be one.
pub(super) fn next_change(
    question: &Question,
    facts: &Facts,
    context: &JsonObject,
    at: Timestamp,
    present: &Evaluated,
) -> Option<Timestamp> {
    if facts.principal.is_suspended {
        return None;
    }
    let later = |assignment: &&AssignmentFacts| {
        judge(question, facts, assignment, at).is_some_and(|judgement| judgement.holds_action && judgement.in_scope)
    };
    // Time changes nothing about the others.
    let relevant = Facts { assignments: facts.assignments.iter().filter(later).cloned().collect(), ..facts.clone() };
    if relevant.assignments.is_empty() {
        return None;
    }
    let mut moment = decide(question, &relevant, context, at).map_or(Some(at), |evaluated| evaluated.until)?;
    for _ in 0..MAX_MOMENTS {
        match decide(question, &relevant, context, moment) {
            Ok(then) if then.decision.reason.code() == present.decision.reason.code() => moment = then.until?,
            _ => break,
        }
    }
    Some(moment)
}
