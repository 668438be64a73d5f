//! The metrics of the registry in memory.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// The metrics of one copy of the registry.
pub(crate) struct GraphMetrics {
    registry: Registry,
    /// Checks and explanations whose facts came from memory.
    pub(crate) answered: Counter,
    /// Reads of the whole registry.
    pub(super) reads: Counter,
    /// Differences from the database that the audit has found.
    pub(super) differences: Counter,
    bytes: Gauge,
    up: Gauge,
}

impl Default for GraphMetrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("epr");
        let [answered, reads, differences] = std::array::from_fn(|_| Counter::default());
        let [bytes, up] = std::array::from_fn(|_| Gauge::default());
        registry.register(
            "graph_answers",
            "Checks and explanations whose facts came from the registry in memory",
            answered.clone(),
        );
        registry.register("graph_reads", "Reads of the whole registry into memory", reads.clone());
        registry.register(
            "graph_differences",
            "Times that the registry in memory differed from the database and was read again",
            differences.clone(),
        );
        registry.register_with_unit(
            "graph_memory",
            "Memory of the registry in this process",
            Unit::Bytes,
            bytes.clone(),
        );
        registry.register("graph_up", "1 while checks are answered from the registry in memory, else 0", up.clone());
        Self { registry, answered, reads, differences, bytes, up }
    }
}

impl GraphMetrics {
    pub(super) fn set(&self, bytes: usize, up: bool) {
        self.bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        self.up.set(up.into());
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.registry
    }
}
