//! The metrics for Prometheus: counters that change as things happen, and gauges that are set when a scraper asks.
//!
//! Labels come from closed sets. Must never use a caller's text as a label. `docs/METRICS.md` lists every metric.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::domain::Timestamp;
use crate::domain::event::Duplicate;
use crate::store::{Backlog, PoolState, ReplicaReads};

static LOG_LINES_DROPPED: LazyLock<Counter> = LazyLock::new(Counter::default);

/// The metric `epr_log_lines_dropped` of this process, for the queue that drops log lines.
pub fn log_lines_dropped() -> Counter {
    LOG_LINES_DROPPED.clone()
}

/// The outcome of an attempt to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the words of the exposed text")]
pub(crate) enum AttemptOutcome {
    delivered,
    refused,
    failed,
    /// The topic could not be used; counted once a call.
    outage,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    outcome: AttemptOutcome,
}

/// A step on the way of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
#[allow(non_camel_case_types, reason = "the names are the words of the exposed text")]
pub(crate) enum CheckpointStep {
    /// The database could not be read or written.
    read,
    sign,
    /// Too few witnesses cosigned.
    cosign,
    publish,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByStep {
    step: CheckpointStep,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Pool {
    pool: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByContent {
    /// `same` or `different`.
    content: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByServer {
    /// `replica` or `primary`.
    from: &'static str,
    /// `ok`, or why the primary answered.
    reason: &'static str,
}

/// A gauge in seconds.
type Seconds = Gauge<f64, AtomicU64>;

/// Metrics of the group-commit writer, and of every other append to the ledger.
#[derive(Clone)]
pub(crate) struct LedgerMetrics {
    /// Entries that were committed.
    pub(crate) entries: Counter,
    /// Entries in one commit of the writer.
    pub(crate) batch: Histogram,
    /// The time from a caller's request to its answer.
    pub(crate) wait: Histogram,
}

impl Default for LedgerMetrics {
    fn default() -> Self {
        Self {
            entries: Counter::default(),
            // 1 to 1024.
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            // 0.5 ms to 16 s.
            wait: Histogram::new(exponential_buckets(0.0005, 2.0, 16)),
        }
    }
}

/// Metrics of the connection pools at the time of a scrape.
#[derive(Default)]
struct PoolMetrics {
    connections: Family<Pool, Gauge>,
    idle: Family<Pool, Gauge>,
    most: Family<Pool, Gauge>,
    acquires: Family<Pool, Counter>,
    waited: Family<Pool, Counter<f64, AtomicU64>>,
}

/// The metrics of one service.
pub(crate) struct Metrics {
    registry: Registry,
    attempts: Family<ByOutcome, Counter>,
    deduplicated: Family<ByContent, Counter>,
    latency: Histogram,
    pending: Gauge,
    failed: Gauge,
    oldest: Seconds,
    pools: PoolMetrics,
    checkpoint_failures: Family<ByStep, Counter>,
    /// Metrics of the ledger.
    pub(crate) ledger: LedgerMetrics,
    /// Assignments that did not apply because a condition could not be compiled or evaluated.
    pub(crate) condition_errors: Counter,
    /// Whether history lacked changes of the registry when it was last looked at.
    pub(crate) history_behind: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("epr"),
            attempts: Family::default(),
            deduplicated: Family::default(),
            // 1 ms to 16 s.
            latency: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            pending: Gauge::default(),
            failed: Gauge::default(),
            oldest: Gauge::default(),
            pools: PoolMetrics::default(),
            checkpoint_failures: Family::default(),
            ledger: LedgerMetrics::default(),
            condition_errors: Counter::default(),
            history_behind: Gauge::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let Self {
            registry,
            attempts,
            deduplicated,
            latency,
            pending,
            failed,
            oldest,
            pools,
            checkpoint_failures,
            ledger,
            condition_errors,
            history_behind,
        } = &mut self;
        registry.register("event_publish_attempts", "Attempts to publish an event, by outcome", attempts.clone());
        // Created at the start, so that the first repeat is an increase.
        for content in ["same", "different"] {
            let _ = deduplicated.get_or_create(&ByContent { content });
        }
        registry.register(
            "events_deduplicated",
            "Repeats of an ingested event, by whether their content is the same",
            deduplicated.clone(),
        );
        registry.register_with_unit("event_publish_duration", "Calls to the topic", Unit::Seconds, latency.clone());
        registry.register("events_pending", "Events not yet delivered", pending.clone());
        registry.register("events_failed", "Events that were given up", failed.clone());
        registry.register_with_unit(
            "event_oldest_pending",
            "Age of the oldest pending event",
            Unit::Seconds,
            oldest.clone(),
        );
        registry.register("ledger_entries", "Entries committed to the ledger by this process", ledger.entries.clone());
        registry.register("ledger_batch_entries", "Entries in one commit of the group writer", ledger.batch.clone());
        registry.register_with_unit(
            "ledger_append_wait",
            "Time from handing entries to the group writer to their commit",
            Unit::Seconds,
            ledger.wait.clone(),
        );
        for step in [CheckpointStep::read, CheckpointStep::sign, CheckpointStep::cosign, CheckpointStep::publish] {
            let _ = checkpoint_failures.get_or_create(&ByStep { step });
        }
        registry.register(
            "ledger_checkpoint_failures",
            "Failed attempts to sign, cosign or publish a checkpoint, by step; each is repeated",
            checkpoint_failures.clone(),
        );
        registry.register(
            "condition_errors",
            "Assignments that did not apply to a check because a condition could not be compiled or evaluated",
            condition_errors.clone(),
        );
        registry.register(
            "history_behind",
            "1 while history lacks changes of the registry, looked at every few minutes",
            history_behind.clone(),
        );
        let PoolMetrics { connections, idle, most, acquires, waited } = pools;
        registry.register("database_connections", "Open connections to the database", connections.clone());
        registry.register("database_connections_idle", "Open connections that are not in use", idle.clone());
        registry.register("database_connections_max", "Maximum number of open connections", most.clone());
        registry.register("database_acquires", "Connections taken from the pool", acquires.clone());
        registry.register_with_unit(
            "database_acquire_wait",
            "Time spent waiting for a connection, including the beginning of a transaction on it",
            Unit::Seconds,
            waited.clone(),
        );
        let dropped = log_lines_dropped();
        registry.register(
            "log_lines_dropped",
            "Log lines dropped because standard output did not accept them in time",
            dropped,
        );
        let commit = option_env!("EPR_BUILD_COMMIT").unwrap_or("unknown");
        let build = Info::new([("version", env!("CARGO_PKG_VERSION")), ("commit", commit)]);
        registry.register("build", "Version and commit of this program", build);
        self
    }

    pub(crate) fn attempted(&self, outcome: AttemptOutcome) {
        self.attempts.get_or_create(&ByOutcome { outcome }).inc();
    }

    pub(crate) fn checkpoint_failed(&self, step: CheckpointStep) {
        self.checkpoint_failures.get_or_create(&ByStep { step }).inc();
    }

    pub(crate) fn deduplicated(&self, duplicate: Duplicate) {
        let content = if duplicate == Duplicate::Same { "same" } else { "different" };
        self.deduplicated.get_or_create(&ByContent { content }).inc();
    }

    pub(crate) fn called(&self, took: Duration) {
        self.latency.observe(took.as_secs_f64());
    }

    /// Sets the metrics of the outbox.
    pub(crate) fn set_backlog(&self, backlog: &Backlog, now: Timestamp) {
        self.pending.set(backlog.pending);
        self.failed.set(backlog.failed);
        let oldest = backlog.oldest_pending.map(|at| now.unix_micros() - at.unix_micros());
        self.oldest.set(oldest.map_or(0.0, seconds));
    }

    /// Adds the metrics that this registry holds to `out`, in the `OpenMetrics` text without its end (`# EOF`).
    pub(crate) fn encode(&self, out: &mut String) {
        // Writing into a string does not fail.
        let _ = text::encode_registry(out, &self.registry);
    }

    /// Sets the metrics of the connection pools.
    pub(crate) fn set_pools(&self, states: &[PoolState]) {
        for state in states {
            let pool = Pool { pool: state.name };
            self.pools.connections.get_or_create(&pool).set(state.open.into());
            self.pools.idle.get_or_create(&pool).set(state.idle.into());
            self.pools.most.get_or_create(&pool).set(state.max.into());
            self.pools.acquires.get_or_create(&pool).inner().store(state.acquires, Ordering::Relaxed);
            let waited = state.waited.as_secs_f64().to_bits();
            self.pools.waited.get_or_create(&pool).inner().store(waited, Ordering::Relaxed);
        }
    }
}

/// Where the reads were answered that may come from a replica.
pub(crate) fn replica_reads(counts: &[ReplicaReads]) -> Registry {
    let mut registry = Registry::with_prefix("epr");
    let reads = Family::<ByServer, Counter>::default();
    for ReplicaReads { from, reason, count } in counts {
        reads.get_or_create(&ByServer { from, reason }).inc_by(*count);
    }
    registry.register("database_reads", "Reads that may come from the replica, by the server that answered", reads);
    registry
}

/// Metrics under the names that every program uses.
pub(crate) fn process(started: Timestamp) -> Registry {
    let mut registry = Registry::default();
    let start = Seconds::default();
    start.set(seconds(started.unix_micros()));
    registry.register_with_unit("process_start_time", "Start of the process since 1970", Unit::Seconds, start);
    registry
}

/// The offset of this process's clock from the database's.
pub(crate) fn clock(offset: f64) -> Registry {
    let mut registry = Registry::with_prefix("epr");
    let gauge = Seconds::default();
    gauge.set(offset);
    let help = "How far the clock of this process is ahead of the database's";
    registry.register_with_unit("clock_offset", help, Unit::Seconds, gauge);
    registry
}

/// The newest checkpoint of the ledger that this process knows.
#[cfg(feature = "proofs")]
pub(crate) fn checkpoint(
    newest: Option<(i64, Timestamp)>,
    [published, cosigned]: [Option<i64>; 2],
    consistent: bool,
    now: Timestamp,
) -> Registry {
    let mut registry = Registry::with_prefix("epr");
    let signing = Gauge::<i64>::default();
    signing.set(i64::from(consistent));
    registry.register("ledger_consistent", "1 while checkpoints are signed; 0: the ledger is inconsistent", signing);
    if let Some(size) = published {
        let entries = Gauge::<i64>::default();
        entries.set(size);
        registry.register("ledger_published_entries", "Entries that are published", entries);
    }
    if let Some(size) = cosigned {
        let entries = Gauge::<i64>::default();
        entries.set(size);
        registry.register("ledger_cosigned_entries", "Entries of the newest checkpoint with a quorum", entries);
    }
    if let Some((size, signed_at)) = newest {
        let (entries, age) = (Gauge::<i64>::default(), Seconds::default());
        entries.set(size);
        age.set(seconds(now.unix_micros() - signed_at.unix_micros()));
        registry.register("ledger_checkpoint_entries", "Entries that the newest checkpoint covers", entries);
        registry.register_with_unit("ledger_checkpoint_age", "Age of the newest checkpoint", Unit::Seconds, age);
    }
    registry
}

/// Microseconds as seconds; 0 for what lies before.
fn seconds(micros: i64) -> f64 {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0)).as_secs_f64()
}
