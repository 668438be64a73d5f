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

/// Follows the change feed of `store` until the task is aborted; `changes` learns of every revision.
pub(super) async fn follow(tiers: Arc<Tiers>, store: Arc<dyn Store>, changes: Arc<ChangeSignal>) {
    let apply = |event| {
        if let FeedEvent::Reached(revision) = &event {
            changes.reached(*revision);
        }
        tiers.apply(event);
    };
    tokio::join!(store.follow_changes(&apply), remove_old_renewals(&*store), async {
        if let Some(shared) = &tiers.shared {
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

async fn remove_old_renewals(store: &dyn Store) {
    let mut next = Instant::now();
    loop {
        tokio::time::sleep_until(next).await;
        // A failure costs only space until the next run.
        let _ = store.purge_invalidations().await;
        next += CLEANUP_INTERVAL;
    }
}
