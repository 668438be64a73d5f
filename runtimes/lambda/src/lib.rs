//! An SQS event in, a partial batch response out. `epr_core::ingest` decides about each message.
//!
//! INVARIANT: an item identifier in the answer is the id of a message of the batch. Lambda treats any other as a
//! failure of the whole batch.

use std::collections::HashSet;
use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use epr_boot::function::{Ends, ROLLBACK_TIME, rest_time};
use epr_core::Epr;
use epr_core::error::chain;
use epr_core::ingest::{Ingested, Message, sent_at};
use tokio::sync::OnceCell;
use tokio::time::Instant;
use tracing::warn;

/// Time between attempts while the database is unavailable.
const RETRY_DELAY: Duration = Duration::from_secs(1);

/// The function, for as long as its environment lives: the connections are kept from one invocation to the next.
pub struct Function {
    epr: Epr,
    run_migrations: bool,
    started: OnceCell<()>,
}

/// A message that failed has no id, and cannot be reported by itself.
#[derive(Debug)]
pub struct MissingMessageId;

impl std::fmt::Display for MissingMessageId {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("a record without a message id could not be recorded, and cannot be reported by itself")
    }
}

impl std::error::Error for MissingMessageId {}

impl Function {
    /// A function that has connected to nothing yet.
    #[must_use]
    pub fn new(epr: Epr, run_migrations: bool) -> Self {
        // Never to a standby, and away from a server after another one has taken over.
        epr.keep_connections_open();
        Self { epr, run_migrations, started: OnceCell::new() }
    }

    /// Ingests one batch, until `deadline` (milliseconds since 1970) is near. Messages without an outcome by then are
    /// reported as failures and return.
    ///
    /// # Errors
    /// A message that failed has no id, and the batch fails as a whole.
    pub async fn handle(&self, event: SqsEvent, deadline: u64) -> Result<SqsBatchResponse, MissingMessageId> {
        let messages: Vec<Message> = event.records.into_iter().map(message).collect();
        let ends = Ends::of(deadline, self.epr.now());
        let deletable = match ends.map(|ends| Instant::from_std(ends.work)) {
            None => self.ingest(&messages, None).await,
            Some(end) => {
                match tokio::time::timeout_at(end, self.ingest(&messages, Some(end))).await {
                    Ok(deletable) => deletable,
                    Err(_) => {
                        warn!(target: "audit_consumer", count = messages.len(), "audit_lambda_out_of_time");
                        // The environment is frozen after the answer, and would keep the ledger's lock. Entries that
                        // were cut off may be committed nevertheless, and are found when the messages return.
                        self.epr.abandon().await;
                        tokio::time::sleep(ROLLBACK_TIME).await;
                        vec![false; messages.len()]
                    }
                }
            }
        };
        self.epr.rest(rest_time(ends)).await;
        respond(&messages, &deletable)
    }

    /// Ingests the messages and returns which of them may be deleted. Retries while the database is unavailable and
    /// time is left.
    async fn ingest(&self, messages: &[Message], end: Option<Instant>) -> Vec<bool> {
        let mut ingested: Option<Ingested> = None;
        loop {
            match (self.started.get_or_try_init(|| self.epr.prepare(self.run_migrations)).await, &mut ingested) {
                (Ok(()), None) => ingested = Some(self.epr.ingest(messages).await),
                (Ok(()), Some(ingested)) => self.epr.ingest_rest(messages, ingested).await,
                (Err(error), _) => warn!(target: "audit_consumer", error = chain(&error), "audit_lambda_not_started"),
            }
            let again = ingested.as_ref().is_none_or(Ingested::retryable);
            match end {
                Some(end) if again && Instant::now() + RETRY_DELAY < end => tokio::time::sleep(RETRY_DELAY).await,
                _ => {
                    return ingested
                        .map_or_else(|| vec![false; messages.len()], |ingested| ingested.deletable(messages));
                }
            }
        }
    }
}

fn message(mut record: SqsMessage) -> Message {
    Message {
        message_id: record.message_id.unwrap_or_default(),
        body: record.body.unwrap_or_default(),
        group: record.attributes.remove("MessageGroupId"),
        sent_at: record.attributes.get("SentTimestamp").and_then(|millis| sent_at(millis)),
    }
}

fn respond(messages: &[Message], deletable: &[bool]) -> Result<SqsBatchResponse, MissingMessageId> {
    let mut response = SqsBatchResponse::default();
    let mut named = HashSet::new();
    for (message, _) in messages.iter().zip(deletable).filter(|(_, deletable)| !**deletable) {
        if message.message_id.is_empty() {
            return Err(MissingMessageId);
        }
        // A batch may hold the same message twice.
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
