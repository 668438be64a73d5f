//! What is left of a decision when everything but its conditions is settled: the conditional assignments that apply if
//! their conditions hold.
//!
//! Owns the residual, which a cache may keep: it depends on neither the context nor the time, as long as no window
//! starts or ends. Must never read a clock, a database or a cache.

use std::collections::BTreeSet;

use uuid::Uuid;

use super::condition::Sent;
use super::facts::Subjects;
use super::judge::{ConditionsOutcome, WrongParameter, evaluate};
use super::{ConditionFacts, Decision, Denial, Reason};
use crate::domain::{Json, JsonObject, Timestamp};

/// The conditional assignments that reach the resource, hold the action, are in scope and in their windows, with the
/// principal and the resource as their conditions see them. There is at least one. Nothing that a caller sent is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Residual {
    pub(super) subjects: Subjects,
    pub(super) candidates: Vec<Candidate>,
}

/// One assignment that applies if its conditions hold.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    /// The reason that it gives when it applies.
    pub(super) granted: Reason,
    pub(super) assignment_id: Uuid,
    pub(super) conditions: Vec<ConditionFacts>,
}

/// A decision, and what it looked at besides the facts.
#[derive(Debug, Clone, PartialEq)]
pub struct Evaluated {
    /// The decision.
    pub decision: Decision,
    /// The first later moment at which the decision may change because time passes; `None`: never.
    pub until: Option<Timestamp>,
    /// The declared names of the conditions that were evaluated; `None` when none was.
    pub parameters: Option<BTreeSet<String>>,
    /// The assignments whose conditions could not be compiled or evaluated, each with the reason, a sentence.
    pub errors: Vec<(Uuid, String)>,
}

impl Evaluated {
    /// A decision that looked at no condition.
    pub(crate) fn unconditional(decision: Decision) -> Self {
        Self { decision, until: None, parameters: None, errors: Vec::new() }
    }
}

/// The context holds declared parameters of conditions that were evaluated with another type. At least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongContext(pub BTreeSet<WrongParameter>);

impl Residual {
    /// Decides with what the caller sent. Every condition is evaluated, so that the order of the assignments cannot
    /// matter.
    ///
    /// # Errors
    /// The context holds a declared parameter with another type.
    pub fn evaluate<'s>(
        &self,
        action: &str,
        sent: impl Into<Sent<'s>>,
        now: Timestamp,
    ) -> Result<Evaluated, WrongContext> {
        let sent = sent.into();
        let inputs = self.subjects.inputs(action, sent, now);
        let mut reason = Reason::Denied(Denial::NoAssignment);
        let (mut until, mut errors, mut wrong) = (None, Vec::new(), BTreeSet::new());
        for Candidate { granted, assignment_id, conditions } in &self.candidates {
            let evaluation = evaluate(conditions, &inputs);
            until = [until, evaluation.until].into_iter().flatten().min();
            reason = reason.max(match evaluation.outcome {
                ConditionsOutcome::True => *granted,
                ConditionsOutcome::False => Reason::Denied(Denial::ConditionNotMet),
                ConditionsOutcome::Missing(_) => Reason::Denied(Denial::ContextMissing),
                ConditionsOutcome::Error(why) => {
                    errors.push((*assignment_id, why));
                    Reason::Denied(Denial::ConditionError)
                }
                ConditionsOutcome::WrongType(parameters) => {
                    wrong.extend(parameters);
                    continue;
                }
            });
        }
        if !wrong.is_empty() {
            return Err(WrongContext(wrong));
        }
        Ok(Evaluated { decision: Decision::of(reason), until, parameters: Some(self.parameters()), errors })
    }

    /// The assignment that applies if the names that its conditions miss are given and make them true, and every name
    /// that some conditions miss. Of several assignments, the one that a check would name.
    pub(super) fn missing(
        &self,
        action: &str,
        context: &JsonObject,
        now: Timestamp,
    ) -> Option<(Reason, BTreeSet<String>)> {
        let inputs = self.subjects.inputs(action, context, now);
        let (mut granted, mut missing) = (None, BTreeSet::new());
        for candidate in &self.candidates {
            if let ConditionsOutcome::Missing(names) = evaluate(&candidate.conditions, &inputs).outcome {
                granted = granted.max(Some(candidate.granted));
                missing.extend(names);
            }
        }
        granted.map(|granted| (granted, missing))
    }

    /// The declared names of all its conditions.
    fn parameters(&self) -> BTreeSet<String> {
        let conditions = self.candidates.iter().flat_map(|candidate| &candidate.conditions);
        let compiled = conditions.filter_map(|condition| condition.compiled.as_ref().ok());
        compiled.flat_map(|compiled| compiled.source().parameters.keys().cloned()).collect()
    }

    /// An upper estimate of the memory that it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        /// A compiled expression has a node of about this size for every few bytes of its text.
        const BYTES_PER_BYTE: usize = 32;
        const CANDIDATE_BYTES: usize = 512;
        let subjects = [&self.subjects.principal, &self.subjects.resource].map(|described| {
            let external_id = described.external_id.as_ref().map_or(0, String::len);
            256 + described.kind.len() + external_id + object_bytes(&described.attributes)
        });
        let conditions = self.candidates.iter().map(|candidate| {
            let texts = candidate.conditions.iter().map(|condition| condition.stored.len());
            CANDIDATE_BYTES + texts.sum::<usize>() * BYTES_PER_BYTE
        });
        subjects.into_iter().chain(conditions).sum()
    }
}

fn object_bytes(members: &JsonObject) -> usize {
    members.iter().map(|(name, value)| size_of::<(String, Json)>() + name.len() + json_bytes(value)).sum()
}

/// The size of a value without the value itself. The depth of a stored value is bounded.
fn json_bytes(value: &Json) -> usize {
    match value {
        Json::Text(text) => text.len(),
        Json::List(items) => items.iter().map(|item| size_of::<Json>() + json_bytes(item)).sum(),
        Json::Object(members) => object_bytes(members),
        _ => 0,
    }
}
