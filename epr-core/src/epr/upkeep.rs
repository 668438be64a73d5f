//! The work that a process which runs all the time does in the background, as one call.
//!
//! For a process that is frozen between two calls. Must never begin a step after its end: what is frozen in a
//! transaction keeps its locks until the server ends the connection.

use tokio::time::Instant;

use super::Epr;
use crate::engine::answer_keeper;

impl Epr {
    /// Delivers the events that are due (unless `EPR_EVENT_RELAY` is off), completes history, and removes what is no
    /// longer needed. Begins no step after `end`. A step that fails is logged, and done again by the next call. It
    /// makes no checkpoint of the ledger.
    pub async fn run_upkeep(&self, end: Instant) {
        let core = &self.engines.core;
        if core.settings.events.relay {
            self.engines.delivery.relay_until(end).await;
        }
        if Instant::now() < end {
            self.engines.history.complete(core).await;
        }
        if Instant::now() < end {
            answer_keeper::remove_outdated(core).await;
        }
        if Instant::now() < end {
            // A failure costs only space until the next call.
            let _ = core.store.purge_invalidations().await;
            let _ = core.store.purge_changed_rows().await;
        }
    }
}
