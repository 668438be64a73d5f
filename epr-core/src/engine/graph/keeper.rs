//! Reads the registry into memory and keeps it current.
//!
//! Owns when it is read. Must never keep a snapshot that may lack a change which it claims to include.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};
use tracing::{error, info, warn};

use super::audit::{self, Difference};
use super::changing::{Building, NotKept};
use super::current::{Current, Graph, GraphState, Reading};
use crate::clock::SystemRandom;
use crate::engine::background_task::BackgroundTask;
use crate::engine::backoff::{Backoff, Jitter};
use crate::error::{Error, chain};
use crate::store::{GraphPosition, Store, StoreError};

/// The delay after a failed read.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), Jitter::Half);
/// The interval at which changes are read that nobody has reported, such as new entities.
const IDLE: Duration = Duration::from_secs(5);
/// The shortest time from the beginning of one read of changes to that of the next. Meanwhile the database answers
/// about what has changed.
const PAUSE: Duration = Duration::from_millis(5);
/// The time that reading changes may take.
const CHANGES_TIMEOUT: Duration = Duration::from_secs(10);
/// Reads of changes that fail one after the other before the whole registry is read.
const MAX_FAILED_READS: u32 = 10;
/// The interval at which a registry that was too large is read again.
const TOO_LARGE: Duration = Duration::from_mins(10);
/// The interval at which a registry is read again that holds what cannot be kept, or whose triggers are disabled.
const UNREADABLE: Duration = Duration::from_secs(30);
/// The interval at which the feed is looked at while it is not complete.
const FEED_INTERVAL: Duration = Duration::from_millis(200);

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoSnapshot {
    /// The next one has to be read from the beginning.
    #[error("the changes since the last read are not known one by one")]
    Stale,
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NotKept(#[from] NotKept),
    #[error("the registry needs more than the {0} MiB of EPR_GRAPH_MB")]
    TooLarge(usize),
    #[error(transparent)]
    Differs(#[from] Difference),
}

/// The task that keeps a registry in memory current. It ends with this value.
#[derive(Default)]
pub(crate) struct GraphKeeper(BackgroundTask);

impl GraphKeeper {
    /// Reads the registry when the change feed is complete, and keeps it current, until [`GraphKeeper::stop`].
    pub(crate) fn start(&self, graph: &Arc<Graph>, store: &Arc<dyn Store>) {
        if graph.is_on() {
            graph.clear(GraphState::Bypassed);
            let keep = keep(Arc::clone(graph), Arc::clone(store));
            self.0.replace(&tokio::spawn(keep));
        }
    }

    /// Forgets the registry.
    pub(crate) fn stop(&self, graph: &Graph) {
        self.0.abort();
        graph.clear(GraphState::Off);
    }
}

impl Graph {
    /// The snapshot after a read that has begun: of the changes, or of the whole registry if there is none yet.
    pub(crate) async fn read(&self, reading: Reading, store: &dyn Store) -> Result<Current, NoSnapshot> {
        match self.current.load_full() {
            Some(current) => self.read_changes(&current, reading, store).await,
            None => self.read_all(reading, store).await,
        }
    }

    async fn read_all(&self, reading: Reading, store: &dyn Store) -> Result<Current, NoSnapshot> {
        let max_bytes = self.max_bytes.unwrap_or(0);
        let began = Instant::now();
        let mut building = Building::begin();
        let mut stopped = None;
        let mut rows = 0_u64;
        self.metrics.reads.inc();
        let position = store
            .read_graph(&mut |row| {
                rows += 1;
                if let Err(error) = building.add(row) {
                    stopped = Some(error.into());
                } else if rows.is_multiple_of(1_024) && building.bytes() > max_bytes {
                    stopped = Some(NoSnapshot::TooLarge(max_bytes >> 20));
                }
                stopped.is_none()
            })
            .await?;
        if let Some(stopped) = stopped {
            return Err(stopped);
        }
        let snapshot = building.end(position);
        let bytes = snapshot.bytes();
        if bytes > max_bytes {
            return Err(NoSnapshot::TooLarge(max_bytes >> 20));
        }
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        info!(rows, bytes, milliseconds, "graph_read");
        Ok(Current { snapshot, doubts: reading.doubts, clean_to: reading.clean_to })
    }

    async fn read_changes(
        &self,
        current: &Current,
        reading: Reading,
        store: &dyn Store,
    ) -> Result<Current, NoSnapshot> {
        // After an interruption of the feed, the database may be another server, which gives the numbers of
        // transactions that this one has never seen to others.
        if current.doubts != reading.doubts {
            return Err(NoSnapshot::Stale);
        }
        let position = current.snapshot.position.as_ref().ok_or(NoSnapshot::Stale)?;
        let changes = store.graph_changes(position).await?.ok_or(NoSnapshot::Stale)?;
        let snapshot = current.snapshot.after(changes)?;
        // Perhaps what is no longer needed takes the memory: a whole read says.
        if snapshot.bytes() > self.max_bytes.unwrap_or(0) {
            return Err(NoSnapshot::Stale);
        }
        Ok(Current { snapshot, doubts: reading.doubts, clean_to: reading.clean_to })
    }
}

/// The memory that the registry needs, in bytes.
///
/// # Errors
/// The database is unavailable, or the registry cannot be kept in memory.
pub(crate) async fn measure(store: &dyn Store) -> Result<usize, Error> {
    let mut building = Building::begin();
    let mut stopped = None;
    let add = &mut |row| {
        stopped = building.add(row).err();
        stopped.is_none()
    };
    store.read_graph(add).await?;
    match stopped {
        Some(error) => Err(StoreError::Unsuitable(error.to_string()).into()),
        None => Ok(building.bytes()),
    }
}

/// Keeps `graph` current until the task is aborted.
async fn keep(graph: Arc<Graph>, store: Arc<dyn Store>) {
    let mut failures = 0;
    let mut last_position: Option<GraphPosition> = None;
    loop {
        while !graph.tiers.is_complete() {
            let _ = timeout(FEED_INTERVAL, graph.wake.notified()).await;
        }
        let reading = graph.begin_reading();
        let reason = match graph.read(reading, &*store).await {
            Ok(current) => {
                failures = 0;
                let position = current.snapshot.position.clone();
                if let (Some(before), Some(now)) = (&last_position, &position)
                    && !now.has_triggers_of(before)
                {
                    // Changes that were made meanwhile may have renewed nothing.
                    graph.tiers.forget_all();
                }
                last_position = position;
                graph.set(current);
                tokio::select! {
                    reason = follow(&graph, &*store) => reason,
                    difference = audit::repeat(&graph, &*store) => difference.into(),
                }
            }
            Err(reason) => reason,
        };
        let state = if matches!(reason, NoSnapshot::TooLarge(_)) { GraphState::TooLarge } else { GraphState::Bypassed };
        graph.clear(state);
        let pause = match &reason {
            NoSnapshot::Stale => {
                // Not again and again without a pause, whatever the reason is.
                FEED_INTERVAL
            }
            NoSnapshot::Differs(difference) => {
                graph.metrics.differences.inc();
                // What was answered from it may be in the cache.
                graph.tiers.forget_all();
                error!(error = %difference, "graph_differs");
                FEED_INTERVAL
            }
            NoSnapshot::Store(StoreError::Unavailable(_) | StoreError::Busy(_)) => {
                failures += 1;
                RETRY.delay(failures, &SystemRandom)
            }
            NoSnapshot::TooLarge(_) => {
                failures += 1;
                TOO_LARGE
            }
            NoSnapshot::Store(_) | NoSnapshot::NotKept(_) => {
                failures += 1;
                UNREADABLE
            }
        };
        if failures == 1 {
            if matches!(reason, NoSnapshot::Store(StoreError::Unsuitable(_))) {
                // Triggers are missing or disabled: changes may have renewed nothing.
                graph.tiers.forget_all();
            }
            warn!(error = chain(&reason), "graph_unavailable");
        }
        sleep(pause).await;
    }
}

/// Applies changes until the registry has to be read again; returns why.
async fn follow(graph: &Graph, store: &dyn Store) -> NoSnapshot {
    let mut failures = 0;
    let mut next = Instant::now();
    loop {
        let _ = timeout(IDLE, graph.wake.notified()).await;
        sleep_until(next).await;
        let began = Instant::now();
        let reading = graph.begin_reading();
        match timeout(CHANGES_TIMEOUT, graph.read(reading, store)).await {
            Ok(Ok(current)) => {
                failures = 0;
                graph.set(current);
                // A slow read is not repeated at once: half of the time belongs to others.
                next = began + PAUSE.max(2 * began.elapsed());
            }
            // What is in memory stays valid for the questions about which no change has been reported.
            Ok(Err(NoSnapshot::Store(StoreError::Unavailable(_) | StoreError::Busy(_)))) | Err(_) => {
                failures += 1;
                if failures == MAX_FAILED_READS {
                    return NoSnapshot::Stale;
                }
                sleep(RETRY.delay(failures, &SystemRandom)).await;
                graph.changed();
            }
            Ok(Err(reason)) => return reason,
        }
    }
}
