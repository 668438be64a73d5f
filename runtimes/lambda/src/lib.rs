//! An SQS event in, a partial batch response out. What becomes of the messages is `epr_core::ingest`'s.
//!
//! INVARIANT: an item identifier in the answer is the id of a message of the batch. Anything else counts as the failure of
//! the whole batch.

use std::collections::HashSet;
use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use epr_core::Epr;
use epr_core::domain::Timestamp;
use epr_core::error::chain;
use epr_core::ingest::{Ingested, Message, sent_at};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::warn;

/// What is left of an invocation's time for the answer.
const RESERVE: Duration = Duration::from_secs(1);
/// The longest time that a function can have. More is no deadline, but a runtime that counts otherwise.
const LONGEST: Duration = Duration::from_mins(15);
/// How long a transaction that was cut off gets to be rolled back.
const ROLLBACK: Duration = Duration::from_millis(200);
/// How long to wait before a batch is tried again on a database that is away.
const PAUSE: Duration = Duration::from_secs(1);

/// The function, for as long as its environment lives: the connections are kept from one invocation to the next.
pub struct Function {
    epr: Epr,
    run_migrations: bool,
    started: OnceCell<()>,
}

/// A message that failed has no id to be named by.
#[derive(Debug)]
pub struct Unnamed;

impl std::fmt::Display for Unnamed {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a record without a message id could not be recorded, and cannot be reported by itself")
    }
}

impl std::error::Error for Unnamed {}

impl Function {
    /// Nothing is connected yet.
    #[must_use]
    pub fn new(epr: Epr, run_migrations: bool) -> Self {
        Self { epr, run_migrations, started: OnceCell::new() }
    }

    /// Works one batch off, until `deadline` (milliseconds since 1970) comes near. Messages that are not settled by then are
    /// reported as failures and come again.
    ///
    /// # Errors
    /// The batch fails as a whole: a message in it that failed has no id.
    pub async fn handle(&self, event: SqsEvent, deadline: u64) -> Result<SqsBatchResponse, Unnamed> {
        let messages: Vec<Message> = event.records.into_iter().map(message).collect();
        let time = time_left(deadline, self.epr.now());
        let settled = match time {
            None => self.settle(&messages, None).await,
            Some(time) => {
                let end = Instant::now() + time;
                match tokio::time::timeout_at(end, self.settle(&messages, Some(end))).await {
                    Ok(settled) => settled,
                    Err(_) => {
                        warn!(target: "audit_consumer", count = messages.len(), "audit_lambda_out_of_time");
                        // With the answer the environment is frozen, and would keep the ledger's lock. What is cut off may
                        // stand in the ledger all the same, and is then found to.
                        self.epr.abandon_recording().await;
                        tokio::time::sleep(ROLLBACK).await;
                        vec![false; messages.len()]
                    }
                }
            }
        };
        respond(&messages, &settled)
    }

    /// Which messages may be deleted. Tries again while the database is away and there is time for it.
    async fn settle(&self, messages: &[Message], end: Option<Instant>) -> Vec<bool> {
        let mut ingested: Option<Ingested> = None;
        loop {
            match (self.started.get_or_try_init(|| self.epr.start(self.run_migrations)).await, &mut ingested) {
                (Ok(()), None) => ingested = Some(self.epr.ingest(messages).await),
                (Ok(()), Some(ingested)) => self.epr.ingest_rest(messages, ingested).await,
                (Err(fault), _) => warn!(target: "audit_consumer", error = chain(&fault), "audit_lambda_not_started"),
            }
            let again = ingested.as_ref().is_none_or(Ingested::retryable);
            match end {
                Some(end) if again && Instant::now() + PAUSE < end => tokio::time::sleep(PAUSE).await,
                _ => {
                    return ingested.map_or_else(|| vec![false; messages.len()], |ingested| ingested.settled(messages));
                }
            }
        }
    }
}

/// How long the work may take; `None` when the deadline is not one. The emulator for local use sends a duration there.
fn time_left(deadline: u64, now: Timestamp) -> Option<Duration> {
    let now = Duration::from_micros(u64::try_from(now.unix_micros()).ok()?);
    let deadline = Duration::from_millis(deadline);
    let left = deadline.saturating_sub(now);
    (deadline.abs_diff(now) <= LONGEST).then(|| left.saturating_sub(RESERVE.min(left / 4)))
}

fn message(mut record: SqsMessage) -> Message {
    Message {
        message_id: record.message_id.unwrap_or_default(),
        body: record.body.unwrap_or_default(),
        group: record.attributes.remove("MessageGroupId"),
        sent_at: record.attributes.get("SentTimestamp").and_then(|millis| sent_at(millis)),
    }
}

fn respond(messages: &[Message], settled: &[bool]) -> Result<SqsBatchResponse, Unnamed> {
    let mut response = SqsBatchResponse::default();
    let mut named = HashSet::new();
    for (message, _) in messages.iter().zip(settled).filter(|(_, settled)| !**settled) {
        if message.message_id.is_empty() {
            return Err(Unnamed);
        }
        // The queue may hand the same message over twice.
        if named.insert(&message.message_id) {
            let mut failure = BatchItemFailure::default();
            failure.item_identifier.clone_from(&message.message_id);
            response.batch_item_failures.push(failure);
        }
    }
    Ok(response)
}

#[cfg(test)]
mod tests;
