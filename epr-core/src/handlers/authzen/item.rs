//! One item of a call: its question, and its decision once there is one.
//!
//! Must never read facts, and must never record anything.

use tracing::{debug, info};

use super::super::check::wrong_parameters;
use super::record::{DecidedItem, IdentifiedIds};
use super::request::Evaluation;
use crate::decision::{Evaluated, Properties, Question, Reason, Resolution, Sent, Span};
use crate::domain::fields::Problem;
use crate::domain::{Invalid, Timestamp};
use crate::engine::cache::{Basis, CacheTier, Ticket};
use crate::store::{IdentifiedFacts, NamedQuestion, ReadAt};

/// One item, until it is decided.
pub(super) struct Item<'a> {
    /// `None` when the item could not be read.
    pub(super) asked: Option<(&'a Evaluation, NamedQuestion)>,
    /// The ids behind the names when the cache was asked, and the ticket of that lookup.
    pub(super) ticket: Option<(Question, Ticket)>,
    pub(super) outcome: Option<Outcome>,
}

pub(super) enum Outcome {
    Decided(Box<Decided>),
    Failed(Invalid),
}

pub(super) struct Decided {
    pub(super) ids: IdentifiedIds,
    pub(super) evaluated: Evaluated,
    pub(super) basis: Basis,
    pub(super) now: Timestamp,
    pub(super) tier: CacheTier,
    /// What the cache may keep, for the time of the span; `None` for what comes from it.
    pub(super) fresh: Option<(Resolution, Span)>,
    pub(super) is_recorded: bool,
}

impl<'a> Item<'a> {
    pub(super) fn new(evaluation: &'a Evaluation) -> Self {
        let question = NamedQuestion {
            principal: evaluation.subject.name.clone(),
            action: evaluation.action.name.clone(),
            resource: evaluation.resource.name.clone(),
        };
        Self { asked: Some((evaluation, question)), ticket: None, outcome: None }
    }

    pub(super) fn unreadable(why: &str) -> Self {
        let invalid = Invalid::one("body", None, Problem::new("item", why));
        Self { asked: None, ticket: None, outcome: Some(Outcome::Failed(invalid)) }
    }

    pub(super) fn decided(&self) -> Option<&Decided> {
        match &self.outcome {
            Some(Outcome::Decided(decided)) => Some(decided),
            _ => None,
        }
    }

    /// Whether the item is allowed; `None` while it is undecided. A failed item is denied.
    pub(super) fn allowed(&self) -> Option<bool> {
        self.outcome.as_ref().map(Outcome::allowed)
    }
}

impl Outcome {
    pub(super) fn allowed(&self) -> bool {
        match self {
            Self::Decided(decided) => decided.evaluated.decision.allowed,
            Self::Failed(_) => false,
        }
    }
}

/// What conditions may read of an item.
pub(super) fn sent(evaluation: &Evaluation, trusted: bool) -> Sent<'_> {
    let properties = if trusted {
        Properties {
            principal: &evaluation.subject.properties,
            resource: &evaluation.resource.properties,
            action: &evaluation.action.properties,
        }
    } else {
        Properties::NONE
    };
    Sent { context: &evaluation.context, properties }
}

/// The decision on facts at the time `now`.
pub(super) fn decide(
    evaluation: &Evaluation,
    trusted: bool,
    identified: &IdentifiedFacts,
    read_at: ReadAt,
    now: Timestamp,
) -> Outcome {
    let IdentifiedFacts { question, facts, .. } = identified;
    let resolution = facts.resolve(question, now);
    match resolution.evaluate(question, sent(evaluation, trusted), now) {
        Err(wrong) => Outcome::Failed(wrong_parameters(wrong)),
        Ok(evaluated) => Outcome::Decided(Box::new(Decided {
            ids: identified.into(),
            evaluated,
            basis: Basis { read_at, resource_type: facts.resource.entity_type.clone() },
            now,
            tier: CacheTier::evaluated,
            fresh: Some((resolution, facts.span(now))),
            is_recorded: false,
        })),
    }
}

impl Decided {
    pub(super) fn item<'a>(&'a self, evaluation: &'a Evaluation, trusted: bool) -> DecidedItem<'a> {
        DecidedItem {
            evaluation,
            properties: sent(evaluation, trusted).properties,
            identified: &self.ids,
            evaluated: &self.evaluated,
            basis: &self.basis,
            now: self.now,
            is_cached: self.fresh.is_none(),
        }
    }
}

// `user_id` is the older name of `principal_id`; alarms depend on it. A name that is no id may be about a person and is
// not logged.
pub(super) fn log(decided: &Decided) {
    let IdentifiedIds { principal_id, resource_id, question } = &decided.ids;
    let (principal_id, resource_id) =
        (principal_id.map(tracing::field::display), resource_id.map(tracing::field::display));
    let (principal_type, action) = (question.principal_type.as_str(), question.action.as_str());
    let decision = decided.evaluated.decision;
    match decision.reason {
        _ if decided.fresh.is_none() => debug!(
            user_id = principal_id,
            principal_id,
            principal_type,
            action,
            resource_id,
            allowed = decision.allowed,
            "authorization_cache_hit"
        ),
        Reason::Granted { assignment_id, .. } => info!(
            user_id = principal_id, principal_id, principal_type, action, resource_id, %assignment_id,
            "authorization_granted"
        ),
        reason @ Reason::Denied(_) => info!(
            user_id = principal_id,
            principal_id,
            principal_type,
            action,
            resource_id,
            reason = reason.code(),
            "authorization_denied"
        ),
    }
}
