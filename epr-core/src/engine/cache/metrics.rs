//! Figures of the cache.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Where a decision came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the words stand in the text as they are here")]
pub(crate) enum Source {
    evaluated,
    memory,
    shared,
}

/// What was asked of the shared tier's server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the words stand in the text as they are here")]
pub(super) enum Operation {
    connect,
    lookup,
    epoch,
    store,
    renew,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the words stand in the text as they are here")]
enum Outcome {
    allowed,
    denied,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDecision {
    outcome: Outcome,
    tier: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: Operation,
}

/// What is read when someone asks.
pub(super) struct Now {
    pub(super) entries: usize,
    pub(super) line_up: bool,
    pub(super) shared_up: bool,
    pub(super) doubtful: usize,
}

/// The figures of one process; clones share them.
#[derive(Clone)]
pub(crate) struct CacheMetrics(Arc<Figures>);

struct Figures {
    registry: Registry,
    /// Looked up once: a decision from memory must not cost a search for its counter. Allowed and denied, by source.
    decisions: [[Counter; 2]; 3],
    errors: Family<ByOperation, Counter>,
    entries: Gauge,
    line_up: Gauge,
    shared_up: Gauge,
    doubtful: Gauge,
}

impl Default for CacheMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("epr");
        let decisions = Family::<ByDecision, Counter>::default();
        let counter = |source, outcome| decisions.get_or_create_owned(&ByDecision { outcome, tier: source });
        let by_outcome = |source| [counter(source, Outcome::denied), counter(source, Outcome::allowed)];
        let figures = [Source::evaluated, Source::memory, Source::shared].map(by_outcome);
        let errors = Family::<ByOperation, Counter>::default();
        // From the start, so that a rate over the first failure is one.
        for operation in [Operation::connect, Operation::lookup, Operation::epoch, Operation::store, Operation::renew] {
            let _ = errors.get_or_create(&ByOperation { operation });
        }
        let [entries, line_up, shared_up, doubtful] = std::array::from_fn(|_| Gauge::default());
        registry.register("decisions", "Decisions, by outcome and by where they came from", decisions);
        registry.register("decision_cache_errors", "Failed calls to the shared cache", errors.clone());
        registry.register("decision_cache_entries", "Decisions in this process's memory", entries.clone());
        registry.register("decision_cache_line_up", "Whether changes by other processes are heard", line_up.clone());
        registry.register("decision_cache_shared_up", "Whether the shared cache is used", shared_up.clone());
        registry.register(
            "decision_cache_doubtful",
            "Principals whose shared decisions are not used",
            doubtful.clone(),
        );
        let decisions = figures;
        Self(Arc::new(Figures { registry, decisions, errors, entries, line_up, shared_up, doubtful }))
    }
}

impl CacheMetrics {
    pub(crate) fn decided(&self, source: Source, allowed: bool) {
        let [evaluated, memory, shared] = &self.0.decisions;
        let [denied, granted] = match source {
            Source::evaluated => evaluated,
            Source::memory => memory,
            Source::shared => shared,
        };
        if allowed { granted } else { denied }.inc();
    }

    pub(super) fn failed(&self, operation: Operation) {
        self.0.errors.get_or_create(&ByOperation { operation }).inc();
    }

    pub(super) fn set(&self, now: &Now) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.0.entries.set(number(now.entries));
        self.0.line_up.set(now.line_up.into());
        self.0.shared_up.set(now.shared_up.into());
        self.0.doubtful.set(number(now.doubtful));
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }
}
