//! One item of a call: its question, and its decision once there is one.
//!
//! Must never read facts, and must never record anything.

use tracing::{debug, info};

use super::super::check::wrong_parameters;
use super::record::{IdentifiedIds, RecordedItem};
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
    /// The ids behind the names when the cache was asked, and the ticket of that lookup. Only of a registered resource:
    /// the cache has no key for another one.
    pub(super) ticket: Option<(Question, Ticket)>,
    pub(super) result: Option<ItemResult>,
}

pub(super) enum ItemResult {
    Decided(Box<ItemDecision>),
    Failed(Invalid),
}

pub(super) struct ItemDecision {
    pub(super) ids: IdentifiedIds,
    pub(super) evaluated: Evaluated,
    pub(super) basis: Basis,
    pub(super) now: Timestamp,
    pub(super) tier: CacheTier,
    /// What the cache may keep, for the time of the span; `None` when it keeps nothing of this item.
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
        Self { asked: Some((evaluation, question)), ticket: None, result: None }
    }

    pub(super) fn unreadable(why: &str) -> Self {
        let invalid = Invalid::one("body", None, Problem::new("item", why));
        Self { asked: None, ticket: None, result: Some(ItemResult::Failed(invalid)) }
    }

    pub(super) fn decided(&self) -> Option<&ItemDecision> {
        match &self.result {
            Some(ItemResult::Decided(decided)) => Some(decided),
            _ => None,
        }
    }

    /// Whether the item is allowed; `None` while it is undecided. A failed item is denied.
    pub(super) fn allowed(&self) -> Option<bool> {
        self.result.as_ref().map(ItemResult::allowed)
    }
}

impl ItemResult {
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

/// The result on facts at the time `now`. `keeps`: the cache may keep the answer.
pub(super) fn decide(
    evaluation: &Evaluation,
    trusted: bool,
    identified: &IdentifiedFacts,
    (read_at, now): (ReadAt, Timestamp),
    keeps: bool,
) -> ItemResult {
    let question = &identified.question;
    let facts = identified.of_question();
    let resolution = facts.resolve(question, now);
    match resolution.evaluate(question, sent(evaluation, trusted), now) {
        Err(wrong) => ItemResult::Failed(wrong_parameters(wrong)),
        Ok(evaluated) => ItemResult::Decided(Box::new(ItemDecision {
            ids: identified.into(),
            evaluated,
            basis: Basis { read_at, resource_type: facts.resource.entity_type.clone() },
            now,
            tier: CacheTier::evaluated,
            fresh: keeps.then(|| (resolution, facts.span(now))),
            is_recorded: false,
        })),
    }
}

impl ItemDecision {
    /// Whether the facts were read for this call.
    pub(super) fn is_evaluated(&self) -> bool {
        self.tier == CacheTier::evaluated
    }

    pub(super) fn item<'a>(&'a self, evaluation: &'a Evaluation, trusted: bool) -> RecordedItem<'a> {
        RecordedItem {
            evaluation,
            properties: sent(evaluation, trusted).properties,
            ids: &self.ids,
            evaluated: &self.evaluated,
            basis: &self.basis,
            now: self.now,
            is_cached: !self.is_evaluated(),
        }
    }
}

// `user_id` is the older name of `principal_id`; alarms depend on it. A name that is no id may be about a person and is
// not logged.
pub(super) fn log(evaluation: &Evaluation, decided: &ItemDecision) {
    let IdentifiedIds { principal_id, resource_id, .. } = &decided.ids;
    let (principal_id, resource_id) =
        (principal_id.map(tracing::field::display), resource_id.map(tracing::field::display));
    let (principal_type, action) = (evaluation.subject.name.kind.as_str(), evaluation.action.name.as_str());
    let decision = decided.evaluated.decision;
    match decision.reason {
        _ if !decided.is_evaluated() => debug!(
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
