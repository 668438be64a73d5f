//! Figures for Prometheus: what is counted as it happens, and what is read when someone asks.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::Epr;

/// What came of an attempt to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the words stand in the text as they are here")]
pub(crate) enum Outcome {
    delivered,
    refused,
    failed,
    /// One for each call that met an outage of the topic.
    outage,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: Outcome,
}

/// The figures of one process.
pub(crate) struct Metrics {
    registry: Registry,
    attempts: Family<ByOutcome, Counter>,
    latency: Histogram,
    pending: Gauge,
    failed: Gauge,
    oldest: Gauge<f64, AtomicU64>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("epr"),
            attempts: Family::default(),
            // 1 ms to 16 s.
            latency: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            pending: Gauge::default(),
            failed: Gauge::default(),
            oldest: Gauge::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let Self { registry, attempts, latency, pending, failed, oldest } = &mut self;
        registry.register("event_publish_attempts", "Attempts to publish an event, by outcome", attempts.clone());
        registry.register_with_unit("event_publish_duration", "Calls to the topic", Unit::Seconds, latency.clone());
        registry.register("events_pending", "Events still to be delivered", pending.clone());
        registry.register("events_failed", "Events that were given up", failed.clone());
        registry.register_with_unit(
            "event_oldest_pending",
            "Age of the oldest pending event",
            Unit::Seconds,
            oldest.clone(),
        );
        self
    }

    pub(crate) fn attempted(&self, outcome: Outcome) {
        self.attempts.get_or_create(&ByOutcome { outcome }).inc();
    }

    pub(crate) fn called(&self, took: Duration) {
        self.latency.observe(took.as_secs_f64());
    }
}

impl Epr {
    /// Every figure as Prometheus' (`OpenMetrics`) text. Those that are read from the database keep their last value while
    /// it is away.
    pub async fn metrics_text(&self) -> String {
        let metrics = &self.outbox().metrics;
        if let Ok(backlog) = self.event_backlog().await {
            metrics.pending.set(backlog.pending);
            metrics.failed.set(backlog.failed);
            let micros = backlog.oldest_pending.map_or(0, |at| self.now().unix_micros() - at.unix_micros());
            metrics.oldest.set(Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64());
        }
        let mut out = String::new();
        // Writing into a string does not fail.
        for registry in [&metrics.registry, self.cache().metrics().registry()] {
            let _ = text::encode_registry(&mut out, registry);
        }
        let _ = text::encode_eof(&mut out);
        out
    }
}
