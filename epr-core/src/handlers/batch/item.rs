//! One item of a call: its question, and its decision once there is one.
//!
//! Must never read facts, and must never record anything.

use tracing::{debug, info};

use super::super::authzen::Evaluation;
use super::super::check::wrong_context;
use super::super::entities;
use super::super::question_body::CheckItem;
use crate::decision::{Evaluated, Properties, Question, Reason, Resolution, Sent, Span};
use crate::domain::Timestamp;
use crate::engine::cache::{Basis, CacheTier, Ticket};
use crate::engine::name_hashes::NameKey;
use crate::error::Error;
use crate::store::{BatchQuestion, IdentifiedFacts, NamedQuestion, ReadAt};

/// What an item asks, as its caller asks it.
#[derive(Clone, Copy)]
pub(in super::super) enum Asking<'a> {
    /// By ids.
    Ids(&'a CheckItem),
    /// In the names of another system.
    Names(NamedAsking<'a>),
}

/// A question in the names of another system.
#[derive(Clone, Copy)]
pub(in super::super) struct NamedAsking<'a> {
    pub(in super::super) evaluation: &'a Evaluation,
    /// Whether the caller may state properties.
    pub(in super::super) trusted: bool,
    /// The key of the hashes that stand in the ledger for names.
    pub(in super::super) names: &'a NameKey,
}

/// The ids that an item is about.
pub(in super::super) struct IdentifiedIds {
    pub(in super::super) principal_id: Option<uuid::Uuid>,
    pub(in super::super) resource_id: Option<uuid::Uuid>,
    pub(in super::super) question: Question,
}

impl IdentifiedIds {
    /// The ids of a question whose principal and resource have some.
    pub(super) fn complete(question: Question) -> Self {
        Self { principal_id: Some(question.principal_id), resource_id: Some(question.resource_id), question }
    }

    /// Whether subject and resource have ids. Only then the question by ids is about them, and a check may ask it.
    pub(super) fn are_complete(&self) -> bool {
        self.principal_id.is_some() && self.resource_id.is_some()
    }
}

impl From<&IdentifiedFacts> for IdentifiedIds {
    fn from(facts: &IdentifiedFacts) -> Self {
        let IdentifiedFacts { principal_id, resource_id, question, .. } = facts;
        Self { principal_id: *principal_id, resource_id: *resource_id, question: question.clone() }
    }
}

impl<'a> NamedAsking<'a> {
    /// What the caller states, if it may.
    pub(in super::super) fn properties(self) -> Properties<'a> {
        if !self.trusted {
            return Properties::NONE;
        }
        let Evaluation { subject, action, resource, .. } = self.evaluation;
        Properties { principal: &subject.properties, resource: &resource.properties, action: &action.properties }
    }
}

impl<'a> Asking<'a> {
    /// The question as the store is asked.
    fn question(self) -> BatchQuestion {
        match self {
            Self::Ids(item) => item.question.clone().into(),
            Self::Names(NamedAsking { evaluation, .. }) => NamedQuestion {
                principal: evaluation.subject.name.clone(),
                action: evaluation.action.name.clone(),
                resource: evaluation.resource.name.clone(),
            }
            .into(),
        }
    }

    /// What conditions may read.
    pub(super) fn sent(self) -> Sent<'a> {
        match self {
            Self::Ids(item) => (&item.context).into(),
            Self::Names(named) => Sent { context: &named.evaluation.context, properties: named.properties() },
        }
    }

    /// The principal's type and the action, as the caller writes them.
    fn words(self) -> (&'a str, &'a str) {
        match self {
            Self::Ids(item) => (item.question.principal_type.as_str(), item.question.action.as_str()),
            Self::Names(NamedAsking { evaluation, .. }) => {
                (evaluation.subject.name.kind.as_str(), evaluation.action.name.as_str())
            }
        }
    }
}

/// One item, until it is decided.
pub(in super::super) struct Item<'a> {
    /// `None` when the item could not be read.
    pub(super) asked: Option<(Asking<'a>, BatchQuestion)>,
    /// The ids behind the names when the cache was asked, and the ticket of that lookup. Only of a registered resource:
    /// the cache has no key for another one.
    pub(super) ticket: Option<(Question, Ticket)>,
    pub(super) result: Option<ItemResult>,
}

pub(super) enum ItemResult {
    Decided(Box<ItemDecision>),
    /// There is no decision: the error of a single question.
    Failed(Error),
}

pub(in super::super) struct ItemDecision {
    pub(in super::super) ids: IdentifiedIds,
    pub(in super::super) evaluated: Evaluated,
    pub(in super::super) basis: Basis,
    pub(in super::super) now: Timestamp,
    pub(super) tier: CacheTier,
    /// What the cache may keep, for the time of the span; `None` when it keeps nothing of this item.
    pub(super) fresh: Option<(Resolution, Span)>,
    pub(super) is_recorded: bool,
}

impl<'a> Item<'a> {
    pub(in super::super) fn new(asking: Asking<'a>) -> Self {
        Self { asked: Some((asking, asking.question())), ticket: None, result: None }
    }

    /// An item that could not be read.
    pub(in super::super) fn unreadable(why: Error) -> Self {
        Self { asked: None, ticket: None, result: Some(ItemResult::Failed(why)) }
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

/// The result on facts at the time `now`. `keeps`: the cache may keep the answer.
pub(super) fn decide(
    asking: Asking<'_>,
    identified: &IdentifiedFacts,
    (read_at, now): (ReadAt, Timestamp),
    keeps: bool,
) -> ItemResult {
    let question = &identified.question;
    if let (Asking::Ids(_), None) = (asking, identified.resource_id) {
        return ItemResult::Failed(entities::not_found(question.resource_id));
    }
    let facts = identified.of_question();
    let resolution = facts.resolve(question, now);
    match resolution.evaluate(question, asking.sent(), now) {
        Err(wrong) => ItemResult::Failed(wrong_context(wrong)),
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
    pub(in super::super) fn is_evaluated(&self) -> bool {
        self.tier == CacheTier::evaluated
    }
}

// `user_id` is the older name of `principal_id`; alarms depend on it. A name that is no id may be about a person and is
// not logged.
pub(super) fn log(asking: Asking<'_>, decided: &ItemDecision) {
    let IdentifiedIds { principal_id, resource_id, .. } = &decided.ids;
    let (principal_id, resource_id) =
        (principal_id.map(tracing::field::display), resource_id.map(tracing::field::display));
    let (principal_type, action) = asking.words();
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
