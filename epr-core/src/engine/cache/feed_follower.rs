//! The task that keeps the cache truthful: listens to changes, renews epochs, brings the shared tier back, and says what
//! has been seen to.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::Core;
use super::shared::Shared;
use crate::store::Store;

/// How long to wait after the first failed attempt to reach the shared tier; doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// How often to tell the database which renewals have been seen to.
const TELL: Duration = Duration::from_secs(2);
/// How long that may take.
const TELL_WAIT: Duration = Duration::from_secs(10);
/// How often to remove renewals that nobody needs any more.
const TIDY: Duration = Duration::from_hours(1);
/// Most ids in one statement.
const BATCH: usize = 1000;

pub(super) async fn keep(core: Arc<Core>, store: Arc<dyn Store>) {
    let hear = |told| core.hear(told);
    tokio::join!(store.follow_changes(&hear), tidy(&*store), async {
        if let Some(shared) = &core.shared {
            tokio::join!(renew(shared), tell(shared, &*store));
        }
    });
}

async fn renew(shared: &Shared) {
    let mut failures = 0_u32;
    loop {
        if shared.tend().await {
            failures = 0;
            shared.wanted.notified().await;
        } else {
            let longest = FIRST_WAIT.saturating_mul(1 << failures.min(10)).min(LONGEST_WAIT);
            failures += 1;
            sleep(longest.mul_f64(0.5 + rand::random::<f64>() / 2.0)).await;
        }
    }
}

/// Renewals are written down as done some time after they are: in one statement for many, by each process that has done
/// them.
async fn tell(shared: &Shared, store: &dyn Store) {
    loop {
        sleep(TELL).await;
        let mut ids = shared.doubt.take_done();
        while !ids.is_empty() {
            let rest = ids.split_off(ids.len().min(BATCH));
            if !matches!(timeout(TELL_WAIT, store.mark_applied(&ids)).await, Ok(Ok(()))) {
                // The database is away; what stays there is done once more by whoever starts next, which does no harm.
                shared.doubt.put_back(ids);
                shared.doubt.put_back(rest);
                break;
            }
            ids = rest;
        }
    }
}

async fn tidy(store: &dyn Store) {
    let mut next = Instant::now();
    loop {
        tokio::time::sleep_until(next).await;
        // Only room is at stake: the next time will do.
        let _ = store.purge_invalidations().await;
        next += TIDY;
    }
}
