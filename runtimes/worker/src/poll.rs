//! The loops: receive, ingest, delete, until told to stop.
//!
//! INVARIANT: only a receive races against the stop; what was received is worked off or given back. A message is deleted
//! only when its event stands in the ledger. Each loop has one batch in hand, so that a database which is away holds up
//! as many batches as there are loops and no more; their commits are put together by the library's group commit.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use epr_core::Epr;
use epr_core::ingest::{Ingested, Message, Outcome};
use epr_core::settings::QueueSettings;
use futures_util::future::join_all;
use tokio::sync::watch;

use crate::health::Heartbeat;
use crate::hold::Hold;
use crate::say;
use crate::sqs::{Fault, Received, Sqs};

/// The pauses after failures: from the first, doubling up to the last, each spread over its second half.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);
/// How often it is tried whether the database is back.
const DATABASE_PAUSE: Duration = Duration::from_secs(2);
/// How long a batch is tried on a database that answers and takes none of it, before it is left to the queue. Long, because
/// that is a fault of the database rather than of every message; not for ever, because it may be a single one's.
const AT_FAULT: Duration = Duration::from_mins(10);
/// How long a receive that is under way may go on once a stop was asked for.
const LAST_RECEIVE: Duration = Duration::from_millis(1500);
/// How long work on what is in hand may go on once a stop was asked for. Giving it back and closing come after it, and all
/// that stays below 20 s.
const DRAIN: Duration = Duration::from_secs(10);

/// The loops and what they share.
pub struct Worker {
    epr: Epr,
    queue: Arc<Sqs>,
    concurrency: usize,
    visibility_timeout: i32,
    heartbeat: Arc<Heartbeat>,
    /// Whether the database is known to be away.
    away: watch::Sender<bool>,
}

impl Worker {
    /// Puts it together; nothing is received yet.
    #[must_use]
    pub fn new(epr: Epr, queue: Sqs, settings: &QueueSettings, heartbeat: Arc<Heartbeat>) -> Self {
        Self {
            epr,
            queue: Arc::new(queue),
            concurrency: settings.concurrency,
            visibility_timeout: settings.visibility_timeout,
            heartbeat,
            away: watch::Sender::new(false),
        }
    }

    /// Works until `stop` becomes true, and then until what is in hand is done or given back.
    pub async fn run(&self, stop: &watch::Receiver<bool>) {
        join_all((0..self.concurrency).map(|place| self.poll(place, stop.clone()))).await;
    }

    async fn poll(&self, place: usize, mut stop: watch::Receiver<bool>) {
        let mut failures = 0;
        loop {
            self.heartbeat.beat(place);
            // What another loop found out holds for all: while the database is away nothing is received.
            let mut away = self.away.subscribe();
            if *away.borrow() {
                tokio::select! {
                    () = asked(&mut stop) => return,
                    () = tokio::time::sleep(DATABASE_PAUSE) => {}
                    _ = away.wait_for(|away| !away) => {}
                }
                continue;
            }
            if *stop.borrow() {
                return;
            }
            let mut receive = pin!(self.queue.receive());
            let received = tokio::select! {
                biased;
                received = &mut receive => received,
                // A queue that has messages hands them over at once: those are given back. One that has none keeps us waiting.
                () = asked(&mut stop) => match tokio::time::timeout(LAST_RECEIVE, receive).await {
                    Ok(received) => received,
                    Err(_) => return,
                },
            };
            match received {
                Ok(received) => {
                    failures = 0;
                    if !received.is_empty() {
                        self.work(place, received, &mut stop).await;
                    }
                }
                Err(_) if *stop.borrow() => return,
                Err(Fault(error)) => {
                    failures += 1;
                    let pause = pause_after(failures);
                    let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
                    say!(warn, error, failures, pause_ms, "audit_queue_receive_failed");
                    tokio::select! {
                        () = asked(&mut stop) => return,
                        () = tokio::time::sleep(pause) => {}
                    }
                }
            }
        }
    }

    /// Works off one batch.
    async fn work(&self, place: usize, received: Vec<Received>, stop: &mut watch::Receiver<bool>) {
        let (messages, receipts): (Vec<Message>, Vec<String>) =
            received.into_iter().map(|received| (received.message, received.receipt)).unzip();
        let hold = Hold::begin(&self.queue, receipts.clone(), self.visibility_timeout);
        let ingested = if *stop.borrow() { None } else { self.ingest(place, &messages, stop).await };
        hold.end().await;
        let Some(ingested) = ingested else {
            return self.give_back(&receipts.iter().map(String::as_str).collect::<Vec<_>>()).await;
        };
        let mut done = Vec::with_capacity(receipts.len());
        let mut untold = Vec::new();
        for ((receipt, settled), outcome) in receipts.iter().zip(ingested.settled(&messages)).zip(&ingested.outcomes) {
            if settled {
                done.push(receipt.as_str());
            } else if matches!(outcome, Outcome::Retry { .. }) {
                untold.push(receipt.as_str());
            }
            // Everything else stays hidden for the rest of its time: how often it comes is the queue's redrive policy's.
        }
        self.queue.delete(&done).await;
        // Still nobody knows anything about these. Somebody else may have more luck, if this one stops.
        if *stop.borrow() {
            self.give_back(&untold).await;
        }
    }

    /// Ingests, again and again while the database is away, and for a while when it answers but takes nothing. `None` when
    /// a stop came in between and it is not known what became of the batch.
    async fn ingest(&self, place: usize, messages: &[Message], stop: &mut watch::Receiver<bool>) -> Option<Ingested> {
        let mut overdue = stop.clone();
        let overdue = async move {
            asked(&mut overdue).await;
            tokio::time::sleep(DRAIN).await;
        };
        tokio::select! {
            biased;
            ingested = self.ingest_patiently(place, messages, stop) => Some(ingested),
            () = overdue => None,
        }
    }

    async fn ingest_patiently(&self, place: usize, messages: &[Message], stop: &mut watch::Receiver<bool>) -> Ingested {
        let begun = Instant::now();
        let mut ingested = self.epr.ingest(messages).await;
        let mut attempts = 1;
        loop {
            self.heartbeat.beat(place);
            self.mark(ingested.met_no_database());
            if !ingested.retryable() || *stop.borrow() {
                return ingested;
            }
            // While it is away, what is in hand is kept for as long as that takes: trying it again is how we find out.
            if !ingested.met_no_database() && begun.elapsed() > AT_FAULT {
                return ingested;
            }
            let pause = if ingested.met_no_database() { spread(DATABASE_PAUSE) } else { pause_after(attempts) };
            tokio::select! {
                () = asked(stop) => {}
                () = tokio::time::sleep(pause) => {}
            }
            attempts += 1;
            self.epr.ingest_rest(messages, &mut ingested).await;
        }
    }

    /// Tells the other loops whether the database is away.
    fn mark(&self, away: bool) {
        match (self.away.send_replace(away), away) {
            (false, true) => say!(warn, "audit_worker_waits_for_database"),
            (true, false) => say!(info, "audit_worker_goes_on"),
            _ => {}
        }
    }

    async fn give_back(&self, receipts: &[&str]) {
        if !receipts.is_empty() {
            say!(info, count = receipts.len(), "audit_messages_given_back");
            self.queue.hide(receipts, 0).await;
        }
    }
}

/// Waits until a stop is asked for.
async fn asked(stop: &mut watch::Receiver<bool>) {
    // The other end lives as long as the process.
    let _ = stop.wait_for(|stop| *stop).await;
}

fn pause_after(failures: u32) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1).min(10)));
    spread(doubled.min(LAST_PAUSE))
}

/// Between half of it and all of it, so that many workers do not come at once.
fn spread(pause: Duration) -> Duration {
    pause.mul_f64(rand::random_range(0.5..=1.0))
}
