//! The in-process tier: decisions and residuals in the memory of this process, bounded by their size.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::versions::Version;
use crate::decision::{Decision, Question, Residual, Resolution, ResourceType, Span};
use crate::domain::Timestamp;
use crate::store::ReadAt;

/// The size of an entry without its texts and its residual, rounded up.
const ENTRY_BYTES: u64 = 360;

/// The basis of an answer, which its ledger entry names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Basis {
    /// The state of the registry that the facts were read at.
    pub(crate) read_at: ReadAt,
    /// The type of the resource.
    pub(crate) resource_type: ResourceType,
}

/// What is kept of a check.
///
/// INVARIANT: nothing here depends on the context of a question, which is not part of the key. A decision that depends
/// on conditions is kept as its residual, and made again for each context.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// The decision, whatever the context is.
    Decision(Decision),
    /// The conditions decide.
    Residual(Arc<Residual>),
}

impl From<Resolution> for Answer {
    fn from(resolution: Resolution) -> Self {
        match resolution {
            Resolution::Decided(decision) => Self::Decision(decision),
            Resolution::Conditional(residual) => Self::Residual(residual),
        }
    }
}

#[derive(Clone)]
struct Entry {
    answer: Answer,
    basis: Basis,
    span: Span,
    version: Version,
}

impl Entry {
    /// Whether nothing that the answer depends on has changed. Only a residual depends on the resource's attributes.
    fn is_current(&self, version: Version) -> bool {
        match self.answer {
            Answer::Decision(_) => self.version.is_same_principal(version),
            Answer::Residual(_) => self.version == version,
        }
    }
}

#[derive(Clone)]
struct EntryBytes;

impl Weighter<Question, Entry> for EntryBytes {
    fn weight(&self, question: &Question, entry: &Entry) -> u64 {
        let texts = question.action.as_str().len() + question.principal_type.as_str().len();
        let residual = match &entry.answer {
            Answer::Decision(_) => 0,
            Answer::Residual(residual) => residual.bytes(),
        };
        ENTRY_BYTES + u64::try_from(texts + residual).unwrap_or(u64::MAX - ENTRY_BYTES)
    }
}

pub(crate) struct MemoryTier(Cache<Question, Entry, EntryBytes>);

impl MemoryTier {
    pub(super) fn new(bytes: u64) -> Self {
        // The number of entries is only an initial estimate; the bound is `bytes`.
        let entries = usize::try_from(bytes / (2 * ENTRY_BYTES)).unwrap_or(1);
        Self(Cache::with_weighter(entries, bytes, EntryBytes))
    }

    /// The answer to `question`, if it carries `version` and is valid at `now`.
    pub(super) fn get(&self, question: &Question, version: Version, now: Timestamp) -> Option<(Answer, Basis)> {
        let entry = self.0.get(question)?;
        (entry.is_current(version) && entry.span.contains(now)).then_some((entry.answer, entry.basis))
    }

    pub(super) fn put(&self, question: &Question, (answer, basis): (Answer, Basis), span: Span, version: Version) {
        self.0.insert(question.clone(), Entry { answer, basis, span, version });
    }

    pub(super) fn entries(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::decision::{AssignmentFacts, ConditionFacts, ConditionOwner, Facts, PrincipalFacts, ResourceFacts};
    use crate::domain::EntityType;
    use crate::domain::json::object;
    use crate::domain::{Incarnation, Revision};
    use crate::engine::cache::versions::Versions;

    /// The answer to `question` for a resource with attributes of this size.
    fn residual(question: &Question, bytes: usize) -> Answer {
        let now = Timestamp::from_unix_micros(0).unwrap();
        let assignment = AssignmentFacts {
            assignment_id: Uuid::nil(),
            principal_id: question.principal_id,
            principal_type: "user".into(),
            role_id: Uuid::nil(),
            entity_id: None,
            effective_at: now,
            expires_at: None,
            scope_types: Arc::default(),
            held_action: Some("a:read".into()),
            conditions: vec![ConditionFacts::of(ConditionOwner::Assignment, r#"{"expression":"true"}"#)],
        };
        let attributes = object([("text", "x".repeat(bytes).into())]).into();
        let facts = Facts {
            principal: PrincipalFacts::default(),
            resource: ResourceFacts { attributes, ..ResourceFacts::of(EntityType::Spv) },
            assigned_entities: Vec::new(),
            assignments: vec![assignment],
        };
        facts.resolve(question, now).into()
    }

    #[test]
    fn the_budget_bounds_residuals_by_their_size() {
        const BUDGET: u64 = 1 << 20;
        const ATTRIBUTES: usize = 10_000;
        let tier = MemoryTier::new(BUDGET);
        let versions = Versions::new();
        versions.feed_not_needed();
        let span = Span { from: None, until: None };
        let revision = Revision { incarnation: Incarnation(Uuid::nil()), sequence: 7 };
        let basis = Basis { read_at: ReadAt { revision, decisive: 7 }, resource_type: EntityType::Spv.into() };
        for n in 0..1000 {
            let question = Question::new(Uuid::from_u128(n), "a:read".try_into().unwrap(), Uuid::nil());
            let version = versions.of(&question).unwrap();
            tier.put(&question, (residual(&question, ATTRIBUTES), basis.clone()), span, version);
        }
        assert!(tier.entries() > 10 && tier.entries() * ATTRIBUTES < 1 << 20, "{} entries", tier.entries());
    }
}
