//! The receive loops: receive, ingest, delete, until a stop is requested.
//!
//! INVARIANT: only a receive races against the stop; received messages are processed or made visible again. A message
//! is deleted only when its event is in the ledger. Each loop holds one batch, so that an unavailable database keeps as
//! many batches as there are loops and no more; their commits are combined by the library's group commit.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use epr_boot::Stopper;
use epr_core::clock::SystemRandom;
use epr_core::ingest::{IngestOutcome, Ingested, Message};
use epr_core::settings::QueueSettings;
use epr_core::{Backoff, Epr, Jitter};
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::heartbeat::Heartbeat;
use crate::log;
use crate::sqs::{Received, Sqs, SqsError};
use crate::visibility::VisibilityRenewal;

/// The delay after a failed receive, or after a database that answers recorded nothing of a batch.
const RETRY: Backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(30), Jitter::Half);
/// Interval of attempts while the database is unavailable.
const DATABASE_RETRY_INTERVAL: Duration = Duration::from_secs(2);
/// The delay before a batch is ingested again on a database that is unavailable.
const DATABASE_RETRY: Backoff = Backoff::constant(DATABASE_RETRY_INTERVAL, Jitter::Half);
/// Time for which a batch is retried on a database that answers and takes none of it, before it is left to the queue.
/// Long, because the cause is the database rather than a message; bounded, because it may be a single message.
const MAX_REJECTED_TIME: Duration = Duration::from_mins(10);
/// Time for a receive that is under way when a stop is requested.
const LAST_RECEIVE_TIMEOUT: Duration = Duration::from_millis(1500);
/// Time for a batch that is being ingested when a stop is requested. Making messages visible again and closing come
/// after it; together they stay below 20 s.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(10);

/// The receive loops and their shared state.
pub struct Worker {
    epr: Epr,
    queue: Arc<Sqs>,
    concurrency: usize,
    visibility_timeout: i32,
    heartbeat: Arc<Heartbeat>,
    /// Whether the database is known to be unavailable.
    unavailable: watch::Sender<bool>,
}

impl Worker {
    /// A worker that has received nothing yet.
    #[must_use]
    pub fn new(epr: Epr, queue: Sqs, settings: &QueueSettings, heartbeat: Arc<Heartbeat>) -> Self {
        Self {
            epr,
            queue: Arc::new(queue),
            concurrency: settings.concurrency,
            visibility_timeout: settings.visibility_timeout,
            heartbeat,
            unavailable: watch::Sender::new(false),
        }
    }

    /// Works until a stop is requested, and then until every received message is processed or made visible again.
    pub async fn run(&self, stop: &Stopper) {
        join_all((0..self.concurrency).map(|index| self.poll(index, stop))).await;
    }

    async fn poll(&self, index: usize, stop: &Stopper) {
        let mut failures = 0;
        loop {
            self.heartbeat.beat(index);
            // No loop receives while the database is unavailable, whichever loop noticed it.
            let mut unavailable = self.unavailable.subscribe();
            if *unavailable.borrow() {
                tokio::select! {
                    () = stop.requested() => return,
                    () = tokio::time::sleep(DATABASE_RETRY_INTERVAL) => {}
                    _ = unavailable.wait_for(|unavailable| !unavailable) => {}
                }
                continue;
            }
            if stop.is_requested() {
                return;
            }
            let mut receive = pin!(self.queue.receive());
            let received = tokio::select! {
                biased;
                received = &mut receive => received,
                // A queue that has messages answers at once, and they are made visible again. An empty one does not
                // answer.
                () = stop.requested() => match tokio::time::timeout(LAST_RECEIVE_TIMEOUT, receive).await {
                    Ok(received) => received,
                    Err(_) => return,
                },
            };
            match received {
                Ok(received) => {
                    failures = 0;
                    if !received.is_empty() {
                        self.process(index, received, stop).await;
                    }
                }
                Err(_) if stop.is_requested() => return,
                Err(SqsError(error)) => {
                    failures += 1;
                    let delay = RETRY.delay(failures, &SystemRandom);
                    let pause_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
                    log!(warn, error, failures, pause_ms, "audit_queue_receive_failed");
                    tokio::select! {
                        () = stop.requested() => return,
                        () = tokio::time::sleep(delay) => {}
                    }
                }
            }
        }
    }

    /// Processes one batch.
    async fn process(&self, index: usize, received: Vec<Received>, stop: &Stopper) {
        let (messages, receipts): (Vec<Message>, Vec<String>) =
            received.into_iter().map(|received| (received.message, received.receipt)).unzip();
        let renewal = VisibilityRenewal::start(&self.queue, receipts.clone(), self.visibility_timeout);
        let ingested = if stop.is_requested() { None } else { self.ingest(index, &messages, stop).await };
        renewal.stop().await;
        let Some(ingested) = ingested else {
            return self.make_visible(&receipts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        };
        let mut done = Vec::with_capacity(receipts.len());
        let mut undecided = Vec::new();
        for ((receipt, deletable), outcome) in
            receipts.iter().zip(ingested.deletable(&messages)).zip(&ingested.outcomes)
        {
            if deletable {
                done.push(receipt.as_str());
            } else if matches!(outcome, IngestOutcome::Retry { .. }) {
                undecided.push(receipt.as_str());
            }
            // Any other message stays hidden for the rest of its time: the queue's redrive policy decides how often it
            // returns.
        }
        self.queue.delete(&done).await;
        // A worker that stops leaves messages without an outcome to another one.
        if stop.is_requested() {
            self.make_visible(&undecided).await;
        }
    }

    /// Ingests the batch, with retries. `None` when a stop was requested and the batch's outcome is unknown.
    async fn ingest(&self, index: usize, messages: &[Message], stop: &Stopper) -> Option<Ingested> {
        stop.bound(DRAIN_TIMEOUT, self.ingest_with_retries(index, messages, stop)).await
    }

    /// Retries while the database is unavailable, and for a limited time while it answers but takes nothing.
    async fn ingest_with_retries(&self, index: usize, messages: &[Message], stop: &Stopper) -> Ingested {
        let begun = Instant::now();
        let mut ingested = self.epr.ingest(messages).await;
        let mut attempts = 1;
        loop {
            self.heartbeat.beat(index);
            self.set_unavailable(ingested.database_unavailable());
            if !ingested.retryable() || stop.is_requested() {
                return ingested;
            }
            // The batch is kept for as long as the database is unavailable: retrying it shows when that ends.
            if !ingested.database_unavailable() && begun.elapsed() > MAX_REJECTED_TIME {
                return ingested;
            }
            let backoff = if ingested.database_unavailable() { DATABASE_RETRY } else { RETRY };
            let delay = backoff.delay(attempts, &SystemRandom);
            tokio::select! {
                () = stop.requested() => {}
                () = tokio::time::sleep(delay) => {}
            }
            attempts += 1;
            self.epr.ingest_rest(messages, &mut ingested).await;
        }
    }

    /// Reports to the other loops whether the database is unavailable.
    fn set_unavailable(&self, unavailable: bool) {
        match (self.unavailable.send_replace(unavailable), unavailable) {
            (false, true) => log!(warn, "audit_worker_waits_for_database"),
            (true, false) => log!(info, "audit_worker_goes_on"),
            _ => {}
        }
    }

    async fn make_visible(&self, receipts: &[&str]) {
        if !receipts.is_empty() {
            log!(info, count = receipts.len(), "audit_messages_given_back");
            self.queue.hide(receipts, 0).await;
        }
    }
}
