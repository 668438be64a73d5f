//! The audit worker: events from an SQS queue into the ledger.
//!
//! Owns fetching, holding and acknowledging messages. What becomes of them is `epr_core::ingest`'s.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod health;
mod hold;
mod poll;
mod sqs;

pub use health::{Heartbeat, ask};
pub use poll::Worker;
pub use sqs::Sqs;

/// The logger of everything the worker says, by the contract.
macro_rules! say {
    ($level:ident, $($what:tt)*) => { tracing::$level!(target: "audit_consumer", $($what)*) };
}
pub(crate) use say;
