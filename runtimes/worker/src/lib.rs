//! The audit worker: events from an SQS queue into the ledger.
//!
//! Owns receiving, hiding and deleting messages. `epr_core::ingest` decides about each of them.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod heartbeat;
mod poll;
mod sqs;
mod visibility;

pub use heartbeat::Heartbeat;
pub use poll::Worker;
pub use sqs::Sqs;

/// Logs under the worker's logger, which the contract fixes.
macro_rules! log {
    ($level:ident, $($fields:tt)*) => { tracing::$level!(target: "audit_consumer", $($fields)*) };
}
pub(crate) use log;
