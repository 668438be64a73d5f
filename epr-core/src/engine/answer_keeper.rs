//! Removes in the background what is no longer needed: answers of creations under an idempotency key when their day is
//! over, and sessions of browsers that have ended.
//!
//! Later creations remove a few answers each; without any, an answer would stay, and with it what it says about a
//! person. Must never delay a call: it works beside them.

use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::info;

use super::backoff::{Backoff, Jitter};
use super::core::Core;

/// The time between two looks, of which a random part of up to one half is taken off, so that processes that started
/// together do not look together.
const INTERVAL: Backoff = Backoff::constant(Duration::from_mins(10), Jitter::Half);

/// The most rows that one transaction removes.
const BATCH: u32 = 1_000;

/// The background task of one process.
#[derive(Default)]
pub(crate) struct AnswerKeeper {
    stop: Notify,
}

impl AnswerKeeper {
    /// Stops looking.
    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Removes old answers now and then until [`AnswerKeeper::stop`], or until nothing else uses `core`.
    pub(crate) fn start(self: &Arc<Self>, core: &Arc<Core>) {
        tokio::spawn(Self::run(Arc::clone(self), Arc::downgrade(core)));
    }

    async fn run(self: Arc<Self>, core: Weak<Core>) {
        loop {
            let Some(delay) = core.upgrade().map(|core| INTERVAL.delay(1, &*core.random)) else { return };
            let Some(used) = core.upgrade() else { return };
            remove_outdated(&used).await;
            drop(used);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.stop.notified() => return,
            }
        }
    }
}

/// Removes every answer that is no longer kept, and every session of a browser that has ended.
pub(crate) async fn remove_outdated(core: &Core) {
    remove_answers(core).await;
    remove_sessions(core).await;
}

async fn remove_answers(core: &Core) {
    let mut all = 0;
    // The calls that need the database report that it does not answer.
    while let Ok(removed) = core.store.remove_outdated_answers(core.now(), BATCH).await {
        all += removed;
        if removed < u64::from(BATCH) {
            break;
        }
    }
    if all > 0 {
        info!(answers = all, "outdated_answers_removed");
    }
}

async fn remove_sessions(core: &Core) {
    while let Ok(removed) = core.store.remove_idle_browser_sessions(core.now(), BATCH).await {
        if removed < u64::from(BATCH) {
            break;
        }
    }
}
