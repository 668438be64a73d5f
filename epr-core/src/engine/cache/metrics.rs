//! The metrics of the cache.

use std::sync::Arc;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The origin of a decision: the tier that had it, or an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the words of the exposed text")]
pub(crate) enum CacheTier {
    evaluated,
    memory,
    shared,
}

/// The operation that the server of the shared tier was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the words of the exposed text")]
pub(super) enum Operation {
    connect,
    lookup,
    epoch,
    store,
    renew,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the words of the exposed text")]
enum DecisionOutcome {
    allowed,
    denied,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByDecision {
    outcome: DecisionOutcome,
    tier: CacheTier,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOperation {
    operation: Operation,
}

/// The values of the gauges at the time of a scrape.
pub(super) struct Gauges {
    pub(super) entries: usize,
    pub(super) feed_complete: bool,
    pub(super) shared_up: bool,
    pub(super) pending: usize,
}

/// The metrics of one cache; clones share them.
#[derive(Clone)]
pub(crate) struct CacheMetrics(Arc<Inner>);

struct Inner {
    registry: Registry,
    /// The counters of denied and allowed decisions, by tier. They are looked up once, because a decision from memory
    /// is faster than the search for its counter.
    decisions: [[Counter; 2]; 3],
    errors: Family<ByOperation, Counter>,
    entries: Gauge,
    feed_complete: Gauge,
    shared_up: Gauge,
    pending: Gauge,
}

impl Default for CacheMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("epr");
        let decisions = Family::<ByDecision, Counter>::default();
        let counter = |tier, outcome| decisions.get_or_create_owned(&ByDecision { outcome, tier });
        let by_outcome = |tier| [counter(tier, DecisionOutcome::denied), counter(tier, DecisionOutcome::allowed)];
        let counters = [CacheTier::evaluated, CacheTier::memory, CacheTier::shared].map(by_outcome);
        let errors = Family::<ByOperation, Counter>::default();
        // Created at the start, so that the first failure is an increase.
        for operation in [Operation::connect, Operation::lookup, Operation::epoch, Operation::store, Operation::renew] {
            let _ = errors.get_or_create(&ByOperation { operation });
        }
        let [entries, feed_complete, shared_up, pending] = std::array::from_fn(|_| Gauge::default());
        registry.register("decisions", "Decisions, by outcome and source of the answer", decisions);
        registry.register("decision_cache_errors", "Failed calls to the shared cache", errors.clone());
        registry.register("decision_cache_entries", "Decisions in the memory of this process", entries.clone());
        registry.register(
            "decision_cache_line_up",
            "1 while the change feed of this process is complete, else 0",
            feed_complete.clone(),
        );
        registry.register("decision_cache_shared_up", "1 while the shared cache is used, else 0", shared_up.clone());
        registry.register(
            "decision_cache_doubtful",
            "Principals with a pending invalidation, whose shared decisions are not used",
            pending.clone(),
        );
        let decisions = counters;
        Self(Arc::new(Inner { registry, decisions, errors, entries, feed_complete, shared_up, pending }))
    }
}

impl CacheMetrics {
    pub(crate) fn decided(&self, tier: CacheTier, allowed: bool) {
        let [evaluated, memory, shared] = &self.0.decisions;
        let [denied, granted] = match tier {
            CacheTier::evaluated => evaluated,
            CacheTier::memory => memory,
            CacheTier::shared => shared,
        };
        if allowed { granted } else { denied }.inc();
    }

    pub(super) fn failed(&self, operation: Operation) {
        self.0.errors.get_or_create(&ByOperation { operation }).inc();
    }

    pub(super) fn set(&self, gauges: &Gauges) {
        let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.0.entries.set(number(gauges.entries));
        self.0.feed_complete.set(gauges.feed_complete.into());
        self.0.shared_up.set(gauges.shared_up.into());
        self.0.pending.set(number(gauges.pending));
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }
}
