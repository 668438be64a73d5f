//! The in-process tier: decisions of this process, bounded by the memory they take.

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::versions::Stamp;
use crate::decision::{Decision, Question, Span};
use crate::domain::{EntityType, Timestamp};

/// What an entry takes beside its texts, by a generous count.
const ENTRY_BYTES: u64 = 336;

/// What a ledger entry needs besides the decision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The revision of the ledger at which the facts were read.
    pub(crate) revision: i64,
    /// The type of the resource.
    pub(crate) resource_type: EntityType,
}

#[derive(Clone, Copy)]
struct Entry {
    decision: Decision,
    /// `None` when it came from the shared tier.
    basis: Option<Basis>,
    span: Span,
    stamp: Stamp,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Question, Entry> for Bytes {
    fn weight(&self, question: &Question, _: &Entry) -> u64 {
        let texts = question.action.as_str().len() + question.principal_type.as_str().len();
        ENTRY_BYTES + u64::try_from(texts).unwrap_or(0)
    }
}

pub(super) struct Memory(Cache<Question, Entry, Bytes>);

impl Memory {
    pub(super) fn new(bytes: u64) -> Self {
        // Only a first guess of how many there will be; the bound is `bytes`.
        let entries = usize::try_from(bytes / (2 * ENTRY_BYTES)).unwrap_or(1);
        Self(Cache::with_weighter(entries, bytes, Bytes))
    }

    /// The decision on `question`, if nothing has changed since `stamp` and it holds at `now`.
    pub(super) fn get(&self, question: &Question, stamp: Stamp, now: Timestamp) -> Option<(Decision, Option<Basis>)> {
        let entry = self.0.get(question)?;
        (entry.stamp == stamp && entry.span.contains(now)).then_some((entry.decision, entry.basis))
    }

    pub(super) fn put(
        &self,
        question: &Question,
        (decision, basis): (Decision, Option<Basis>),
        span: Span,
        stamp: Stamp,
    ) {
        self.0.insert(question.clone(), Entry { decision, basis, span, stamp });
    }

    pub(super) fn entries(&self) -> usize {
        self.0.len()
    }
}
