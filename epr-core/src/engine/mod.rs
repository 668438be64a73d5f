//! The engines: long-lived parts under the use cases, which batch, cache, deliver and measure for them.
//!
//! An engine knows the [`Core`] (store, clock, ids, settings, metrics). It must never know a use case or the facade.

pub(crate) mod answer_keeper;
pub(crate) mod archived_entries;
mod background_task;
pub(crate) mod backoff;
pub(crate) mod batcher;
mod breaker;
pub(crate) mod cache;
pub(crate) mod change_signal;
#[cfg(feature = "proofs")]
pub(crate) mod checkpointer;
pub(crate) mod clock_offset;
pub(crate) mod commit_probe;
pub(crate) mod condition_errors;
pub(crate) mod contention;
mod core;
pub(crate) mod delivery;
mod engines;
pub(crate) mod fact_reader;
pub(crate) mod graph;
pub(crate) mod history_keeper;
pub(crate) mod ledger_tree;
pub(crate) mod ledger_writer;
pub(crate) mod list_turns;
pub(crate) mod name_hashes;
mod outbox_walk;
#[cfg(feature = "proofs")]
pub(crate) mod publication;
mod relay;
pub(crate) mod revisions;
#[cfg(feature = "publish")]
pub(crate) mod witnessing;

pub(crate) use self::core::{Core, CoreSettings, ListBounds};
pub(crate) use self::engines::Engines;
