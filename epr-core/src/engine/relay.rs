//! The relay: delivers the events that requests left behind, for as long as the process lives, or what is due in one
//! pass. Any number of them may run.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::Instant;
use tracing::{info, warn};

use super::delivery::Delivery;
use super::outbox_walk::WalkStep;
use crate::error::chain;

/// The interval at which the backlog is logged while there is one.
const REPORT_INTERVAL: Duration = Duration::from_mins(1);
/// The longest delay while events are pending that are not due yet.
const PENDING_DELAY: Duration = Duration::from_millis(500);
/// The delay after the database was unavailable.
const DATABASE_DELAY: Duration = Duration::from_secs(1);

impl Delivery {
    /// Relays until `stop` is ready, then finishes its batch. Returns at once when there is no topic.
    pub(crate) async fn relay(&self, stop: impl Future<Output = ()> + Send) {
        let Some(publisher) = self.publisher.as_deref() else { return };
        let mut stop = std::pin::pin!(stop);
        let mut signals = self.core.store.outbox_signals();
        let mut reported = Instant::now();
        loop {
            let delay = match self.breaker.open_for() {
                Some(left) => left,
                None => match self.deliver_due(publisher).await {
                    // There may be more, and events after those that were just delivered.
                    Ok(WalkStep::More) => Duration::ZERO,
                    // With very many pending keys that are not due, the relay must not be busy with walks alone.
                    Ok(WalkStep::NothingDue { walked_for }) => self.idle_delay().await.max(walked_for),
                    Err(error) => {
                        warn!(error = chain(&error), "events_engine_relay_paused");
                        DATABASE_DELAY
                    }
                },
            };
            if reported.elapsed() >= REPORT_INTERVAL {
                reported = Instant::now();
                self.report().await;
            }
            if delay.is_zero() {
                tokio::select! {
                    biased;
                    () = &mut stop => return,
                    () = std::future::ready(()) => continue,
                }
            }
            // While the breaker is open, no new event ends the delay.
            let woken = async {
                if self.breaker.is_open() {
                    std::future::pending::<()>().await;
                }
                tokio::select! {
                    () = self.left_over.notified() => {}
                    signal = signals.next() => if signal.is_none() { std::future::pending::<()>().await },
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(delay) => {}
                () = woken => {}
            }
        }
    }

    /// Delivers what is due, until nothing is, the topic or the database is unavailable, or `end`.
    pub(crate) async fn relay_until(&self, end: Instant) {
        let Some(publisher) = self.publisher.as_deref() else { return };
        // The clock of a process may have stood still since the breaker opened.
        self.breaker.close();
        while Instant::now() < end && !self.breaker.is_open() {
            match self.deliver_due(publisher).await {
                Ok(WalkStep::More) => {}
                Ok(WalkStep::NothingDue { .. }) => break,
                Err(error) => {
                    warn!(error = chain(&error), "events_engine_relay_paused");
                    return;
                }
            }
        }
        self.report().await;
    }

    /// The delay when nothing is due; a short one while an event is pending that will be.
    async fn idle_delay(&self) -> Duration {
        let poll = self.core.settings.events.poll;
        match self.core.store.any_event_pending().await {
            Ok(true) => poll.min(PENDING_DELAY),
            _ => poll,
        }
    }

    async fn report(&self) {
        match self.core.store.event_backlog().await {
            Ok(backlog) if backlog.pending > 0 || backlog.failed > 0 => {
                let now = self.core.now();
                let age = backlog.oldest_pending.map(|at| (now.unix_micros() - at.unix_micros()) / 1_000_000);
                let (pending, failed) = (backlog.pending, backlog.failed);
                info!(pending, failed, oldest_pending_seconds = age, "events_engine_backlog");
            }
            Ok(_) => {}
            Err(error) => warn!(error = chain(&error), "events_engine_backlog_unknown"),
        }
    }
}
