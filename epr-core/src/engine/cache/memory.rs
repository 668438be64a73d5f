//! The in-process tier: decisions in the memory of this process, bounded by their size.

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::versions::Version;
use crate::decision::{Decision, Question, Span};
use crate::domain::{EntityType, Timestamp};

/// The size of an entry without its texts, rounded up.
const ENTRY_BYTES: u64 = 336;

/// The basis of a decision, which its ledger entry names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The sequence of the last ledger entry that had changed what decisions depend on when the facts were read.
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
    version: Version,
}

#[derive(Clone)]
struct EntryBytes;

impl Weighter<Question, Entry> for EntryBytes {
    fn weight(&self, question: &Question, _: &Entry) -> u64 {
        let texts = question.action.as_str().len() + question.principal_type.as_str().len();
        ENTRY_BYTES + u64::try_from(texts).unwrap_or(0)
    }
}

pub(crate) struct MemoryTier(Cache<Question, Entry, EntryBytes>);

impl MemoryTier {
    pub(super) fn new(bytes: u64) -> Self {
        // The number of entries is only an initial estimate; the bound is `bytes`.
        let entries = usize::try_from(bytes / (2 * ENTRY_BYTES)).unwrap_or(1);
        Self(Cache::with_weighter(entries, bytes, EntryBytes))
    }

    /// The decision on `question`, if it carries `version` and is valid at `now`.
    pub(super) fn get(
        &self,
        question: &Question,
        version: Version,
        now: Timestamp,
    ) -> Option<(Decision, Option<Basis>)> {
        let entry = self.0.get(question)?;
        (entry.version == version && entry.span.contains(now)).then_some((entry.decision, entry.basis))
    }

    pub(super) fn put(
        &self,
        question: &Question,
        (decision, basis): (Decision, Option<Basis>),
        span: Span,
        version: Version,
    ) {
        self.0.insert(question.clone(), Entry { decision, basis, span, version });
    }

    pub(super) fn entries(&self) -> usize {
        self.0.len()
    }
}
