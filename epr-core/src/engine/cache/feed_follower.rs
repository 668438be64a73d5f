//! The background task of the cache: follows the change feed, renews epochs, reconnects to the shared tier, and tells
//! the database which renewals are complete.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::shared::SharedTier;
use super::tiers::Tiers;
use crate::clock::SystemRandom;
use crate::engine::backoff::{Backoff, Jitter};
use crate::engine::change_signal::ChangeSignal;
use crate::engine::graph::Graph;
use crate::store::{FeedEvent, Store};

/// The delay after a failed attempt to reach the shared tier.
const RETRY: Backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5), Jitter::Half);
/// The interval at which completed renewals are written off.
const WRITE_OFF_INTERVAL: Duration = Duration::from_secs(2);
/// The deadline of one statement that writes them off.
const WRITE_OFF_TIMEOUT: Duration = Duration::from_secs(10);
/// The interval at which the database removes old renewals.
const CLEANUP_INTERVAL: Duration = Duration::from_hours(1);
/// The largest number of ids in one statement.
const BATCH: usize = 1000;

/// The parts of a process that hear of changes.
pub(super) struct Heard {
    pub(super) tiers: Arc<Tiers>,
    pub(super) changes: Arc<ChangeSignal>,
    pub(super) graph: Arc<Graph>,
}

/// Follows the change feed of `store` until the task is aborted.
pub(super) async fn follow(heard: Heard, store: Arc<dyn Store>) {
    let apply = |event: FeedEvent| {
        if let FeedEvent::Reached(revision) = &event {
            heard.changes.reached(*revision);
        }
        heard.graph.before(&event);
        let is_heartbeat = matches!(event, FeedEvent::Heartbeat(_));
        heard.tiers.apply(event);
        if !is_heartbeat {
            heard.graph.changed();
        }
    };
    tokio::join!(store.follow_changes(&apply), purge(&*store, Instant::now()), async {
        if let Some(shared) = &heard.tiers.shared {
            tokio::join!(renew(shared), write_off(shared, &*store));
        }
    });
}

async fn renew(shared: &SharedTier) {
    let mut failures = 0_u32;
    loop {
        if shared.reconnect_and_renew().await {
            failures = 0;
            shared.wanted.notified().await;
        } else {
            failures = failures.saturating_add(1);
            sleep(RETRY.delay(failures, &SystemRandom)).await;
        }
    }
}

/// Completed renewals are written off some time after they are complete: many in one statement, by each process that
/// has completed them.
async fn write_off(shared: &SharedTier, store: &dyn Store) {
    loop {
        sleep(WRITE_OFF_INTERVAL).await;
        let mut ids = shared.pending.take_completed();
        while !ids.is_empty() {
            let rest = ids.split_off(ids.len().min(BATCH));
            if !matches!(timeout(WRITE_OFF_TIMEOUT, store.mark_applied(&ids)).await, Ok(Ok(()))) {
                // The database is unavailable. The next process that starts renews what stays there once more, which
                // does no harm.
                shared.pending.put_back(ids);
                shared.pending.put_back(rest);
                break;
            }
            ids = rest;
        }
    }
}

/// Only removes what the feed no longer needs, for a process that does not follow it. A process that ends soon removes
/// nothing.
pub(super) async fn purge_only(store: Arc<dyn Store>) {
    purge(&*store, Instant::now() + CLEANUP_INTERVAL).await;
}

async fn purge(store: &dyn Store, mut next: Instant) {
    loop {
        tokio::time::sleep_until(next).await;
        // A failure costs only space until the next run.
        let _ = store.purge_invalidations().await;
        let _ = store.purge_changed_rows().await;
        next += CLEANUP_INTERVAL;
    }
}
