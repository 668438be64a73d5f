//! Completes history in the background, after changes of a program that writes none.
//!
//! During a release, tasks of an earlier version may change the registry after the last new task has started. Without
//! this, history would lack every later change. Must never delay a call: it works beside them.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{info, warn};

use super::backoff::{Backoff, Jitter};
use super::core::Core;
use crate::error::chain;

/// The time between two looks, of which a random part of up to one half is taken off, so that processes that started
/// together do not look together.
const INTERVAL: Backoff = Backoff::constant(Duration::from_mins(5), Jitter::Half);

/// The background task of one process.
#[derive(Default)]
pub(crate) struct HistoryKeeper {
    stop: Notify,
    /// Whether a failure has been logged.
    warned: AtomicBool,
}

impl HistoryKeeper {
    /// Stops looking.
    pub(crate) fn stop(&self) {
        self.stop.notify_one();
    }

    /// Looks and completes in the background until [`HistoryKeeper::stop`], or until nothing else uses `core`.
    pub(crate) fn start(self: &Arc<Self>, core: &Arc<Core>) {
        tokio::spawn(Self::run(Arc::clone(self), Arc::downgrade(core), INTERVAL));
    }

    async fn run(self: Arc<Self>, core: Weak<Core>, interval: Backoff) {
        loop {
            let Some(delay) = core.upgrade().map(|core| interval.delay(1, &*core.random)) else { return };
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = self.stop.notified() => return,
            }
            let Some(core) = core.upgrade() else { return };
            self.complete(&core).await;
        }
    }

    /// Completes history if it lacks entries. A failure is logged once.
    pub(crate) async fn complete(&self, core: &Core) {
        // The calls that need the database report that it does not answer.
        let Ok(state) = core.store.history_state().await else { return };
        let mut is_behind = !state.is_complete();
        if is_behind {
            match core.store.complete_history().await {
                Ok(report) => {
                    let unreplayable = report.unreplayable_count;
                    info!(entries = report.entries, unreplayable, "history_completed");
                    is_behind = core.store.history_state().await.is_ok_and(|state| !state.is_complete());
                    self.warned.store(false, Relaxed);
                }
                Err(error) if !self.warned.swap(true, Relaxed) => {
                    let hint = "the past cannot be asked beyond it; `epr history complete` says more";
                    warn!(error = chain(&error), complete_to = state.complete_to, hint, "history_incomplete");
                }
                Err(_) => {}
            }
        }
        core.metrics.history_behind.set(i64::from(is_behind));
    }
}
