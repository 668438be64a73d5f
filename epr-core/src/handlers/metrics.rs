//! The metrics of the service as Prometheus reads them.

use std::time::Duration;

use prometheus_client::encoding::text;

use crate::domain::Timestamp;
use crate::engine::Engines;
use crate::metrics::{self, clock, process};

/// The time that a scrape waits for the backlog.
const BACKLOG_TIMEOUT: Duration = Duration::from_secs(1);

/// Adds every metric to `out` in the `OpenMetrics` text without its end (`# EOF`). Metrics that come from the database
/// keep their last value while it is unavailable or slow.
pub(crate) async fn write(engines: &Engines, started: Timestamp, out: &mut String) {
    let of_service = &engines.core.metrics;
    of_service.set_pools(&engines.store().pools());
    if let Ok(Ok(backlog)) = tokio::time::timeout(BACKLOG_TIMEOUT, engines.store().event_backlog()).await {
        of_service.set_backlog(&backlog, engines.now());
    }
    of_service.encode(out);
    // Writing into a string does not fail.
    let _ = text::encode_registry(out, engines.cache.metrics().registry());
    let _ = text::encode_registry(out, engines.graph.metrics().registry());
    let _ = text::encode_registry(out, &process(started));
    let replica_reads = engines.store().replica_reads();
    if !replica_reads.is_empty() {
        let _ = text::encode_registry(out, &metrics::replica_reads(&replica_reads));
    }
    if let Some(offset) = engines.clock_offset.seconds() {
        let _ = text::encode_registry(out, &clock(offset));
    }
    #[cfg(feature = "proofs")]
    if let Some(state) = engines.checkpointer.state() {
        let newest = state.last.map(|(_, size, _, signed_at)| (size, signed_at));
        let published = state.published.and_then(|size| i64::try_from(size).ok());
        let registry =
            metrics::checkpoint(newest, [published, state.cosigned], state.inconsistent.is_none(), engines.now());
        let _ = text::encode_registry(out, &registry);
    }
}
