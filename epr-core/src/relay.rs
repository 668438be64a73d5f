//! The relay: delivers what requests left behind, for as long as the process lives. Any number of them may run.

use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::Instant;
use tracing::{info, warn};

use crate::engine::Engines;
use crate::error::chain;
use crate::outbox::Step;

/// How often the backlog is logged while there is one.
const REPORT: Duration = Duration::from_mins(1);
/// How long to wait for what is pending but not due yet.
const SOON: Duration = Duration::from_millis(500);
/// How long to wait when the database does not answer.
const DATABASE_AWAY: Duration = Duration::from_secs(1);

impl Engines {
    /// Relays until `stop` is ready; then finishes the batch it is at. Returns at once when there is no topic.
    pub(crate) async fn relay(&self, stop: impl Future<Output = ()> + Send) {
        let Some(publisher) = self.publisher() else { return };
        let mut stop = std::pin::pin!(stop);
        let mut signals = self.store().outbox_signals();
        let mut reported = Instant::now();
        loop {
            let pause = match self.outbox().open_for() {
                Some(left) => left,
                None => match self.deliver_due(publisher).await {
                    // There may be more, and events behind the ones just delivered.
                    Ok(Step::More) => Duration::ZERO,
                    // Looking must not be all that the relay does when very many keys are pending and not due.
                    Ok(Step::NothingDue { walked_for }) => self.pause().await.max(walked_for),
                    Err(fault) => {
                        warn!(error = chain(&fault), "events_engine_relay_paused");
                        DATABASE_AWAY
                    }
                },
            };
            if reported.elapsed() >= REPORT {
                reported = Instant::now();
                self.report().await;
            }
            if pause.is_zero() {
                tokio::select! {
                    biased;
                    () = &mut stop => return,
                    () = std::future::ready(()) => continue,
                }
            }
            // While the breaker is open nothing but time helps.
            let woken = async {
                if self.outbox().open_for().is_some() {
                    std::future::pending::<()>().await;
                }
                tokio::select! {
                    () = self.outbox().left_over.notified() => {}
                    signal = signals.next() => if signal.is_none() { std::future::pending::<()>().await },
                }
            };
            tokio::select! {
                () = &mut stop => return,
                () = tokio::time::sleep(pause) => {}
                () = woken => {}
            }
        }
    }

    /// How long to wait when nothing is due: not long while something is pending that will be.
    async fn pause(&self) -> Duration {
        let poll = self.events().poll;
        match self.store().any_event_pending().await {
            Ok(true) => poll.min(SOON),
            _ => poll,
        }
    }

    async fn report(&self) {
        match self.event_backlog().await {
            Ok(backlog) if backlog.pending > 0 || backlog.failed > 0 => {
                let age = backlog.oldest_pending.map(|at| (self.now().unix_micros() - at.unix_micros()) / 1_000_000);
                let (pending, failed) = (backlog.pending, backlog.failed);
                info!(pending, failed, oldest_pending_seconds = age, "events_engine_backlog");
            }
            Ok(_) => {}
            Err(fault) => warn!(error = chain(&fault), "events_engine_backlog_unknown"),
        }
    }
}
