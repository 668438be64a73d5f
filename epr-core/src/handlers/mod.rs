//! The use cases, one file a subject. Each owns its transaction and works with the [`crate::engine::Engines`].
//!
//! Must never know who calls it: `crate::Epr` lists the use cases, runtimes call them there.

pub(crate) mod access;
#[cfg(feature = "proofs")]
pub(crate) mod archive;
pub(crate) mod archived;
pub(crate) mod asked;
pub(crate) mod assignment_groups;
mod assignment_log;
pub(crate) mod assignments;
pub(crate) mod audit;
pub(crate) mod audit_log;
pub mod authzen;
mod batch;
pub(crate) mod bulk;
pub(crate) mod check;
pub(crate) mod check_batch;
#[cfg(feature = "proofs")]
pub(crate) mod checkpoints;
pub(crate) mod entities;
mod event_entry;
pub(crate) mod events;
pub(crate) mod explain;
pub(crate) mod former_checkpoint;
#[cfg(feature = "ingest")]
pub mod ingest;
pub(crate) mod ledger_reader;
pub(crate) mod metrics;
pub(crate) mod once;
pub(crate) mod past;
mod plain_question;
mod principal_entries;
pub(crate) mod principals;
pub(crate) mod question_body;
mod record;
pub(crate) mod reincarnation;
pub(crate) mod review;
pub(crate) mod roles;
mod transaction;
#[cfg(feature = "proofs")]
mod verify_incarnations;
#[cfg(feature = "proofs")]
mod verify_tree;
