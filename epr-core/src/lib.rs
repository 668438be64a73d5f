//! EPR, the Entity & Permissions Core: who exists, who may do what, and what happened.
//!
//! This library knows every use case and nothing about how it is run. The runtimes (HTTP API, command line) wrap it,
//! and another program embeds it:
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
//! use epr_core::domain::{EntityType, NewAssignment, NewEntity, NewRole};
//! use epr_core::{Call, Epr, decision::Question};
//!
//! let epr = Epr::in_memory().await?;
//! let call = Call::default();
//! let spv = epr.create_entity(&call, NewEntity::new("Berlin One".parse()?, EntityType::Spv)).await?;
//! let role = epr.create_role(&call, NewRole::new("Reader".parse()?).permission("document:download".parse()?)).await?;
//! let user = uuid::Uuid::from_u128(7);
//! epr.assign(&call, NewAssignment::new(user, role.id).on(spv.id)).await?;
//!
//! let question = Question::new(user, "document:download".try_into()?, spv.id);
//! assert!(epr.check(&call, &question).await?.allowed);
//! # Ok::<_, Box<dyn std::error::Error>>(())
//! # }).unwrap();
//! ```

#![cfg_attr(
    not(all(feature = "doctor", feature = "proofs")),
    allow(dead_code, reason = "some functions serve only features that this build does not have")
)]

#[cfg(feature = "jwt")]
pub mod authn;
#[cfg(test)]
mod cache_model;
mod call;
pub mod clock;
pub mod decision;
pub mod domain;
mod engine;
mod epr;
pub mod error;
mod handlers;
pub mod history;
#[cfg(feature = "doctor")]
pub mod inspect;
pub mod ledger;
mod metrics;
pub mod publish;
pub mod seal;
pub mod settings;
#[cfg(feature = "proofs")]
pub mod signing;
pub mod store;
pub mod tls;

pub use call::{AnsweredAt, AtLeast, Call};
pub use engine::backoff::{Backoff, Jitter};
pub use engine::cache::TierState;
#[cfg(feature = "proofs")]
pub use engine::checkpointer::CheckpointOutcome;
pub use engine::clock_offset::ClockReading;
pub use engine::graph::GraphState;
#[cfg(feature = "proofs")]
pub use epr::CheckpointStatus;
pub use epr::{Builder, Epr};
pub use error::Error;
#[cfg(feature = "proofs")]
pub use handlers::archive::{
    ArchiveCheck, ArchiveCheckOptions, ArchiveFinding, ArchiveOptions, Archived, DropOptions, Dropped,
};
pub use handlers::audit::{
    DroppedEntries, ExportedEntry, FormerNumbers, KeptElsewhere, KeptEntries, SetAside, Verification, VerifiedTree,
};
pub use handlers::authzen;
pub use handlers::bulk::{BulkFailure, MAX_STEPS};
pub use handlers::check_batch::{CheckBatch, MAX_CHECKS};
pub use handlers::former_checkpoint::FormerCheckpoint;
#[cfg(feature = "ingest")]
pub use handlers::ingest;
pub use handlers::ledger_reader::EntriesListed;
pub use handlers::principals::MAX_REVOKED;
pub use handlers::question_body::{CheckItem, CheckRequest, ExplainRequest, MAX_CONTEXT_BYTES};
pub use handlers::reincarnation::Reincarnated;
pub use metrics::log_lines_dropped;
pub use settings::Settings;
