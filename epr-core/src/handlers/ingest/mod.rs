//! Audit events from a queue into the ledger, each exactly once.
//!
//! Owns the outcome of a message; knows no queue. A runtime receives messages, calls [`crate::Epr::ingest`] and deletes
//! those of [`Ingested::deletable`]: the poller and the Lambda function differ in nothing else.
//!
//! Retries, from the inside out. Each layer retries what the one inside it cannot know:
//! 1. The group-commit writer repeats a transaction that lost against another one (`engine/contention.rs`), for at most
//!    4 s. The database answered, and the next attempt is likely to succeed.
//! 2. [`crate::Epr::ingest_rest`], which the runtime calls for as long as it may keep a batch, repeats the messages
//!    with [`IngestOutcome::Retry`]: the database is unavailable or refuses everything. The worker waits with a
//!    backoff, the Lambda function until its deadline.
//! 3. The queue delivers a message again that was not deleted, as often as its redrive policy says: the process is
//!    gone, or the message is not an audit event. Nothing in this program counts these deliveries.
//!
//! Beneath the first, the store repeats reads only; the AWS clients have their retries disabled.

mod message;
mod outcome;
mod parse;
mod record;
mod report;

pub use self::message::{Message, sent_at};
pub use self::outcome::{IngestOutcome, Ingested};
pub use self::parse::{InvalidMessage, read};
pub(crate) use self::record::{ingest, ingest_rest};
