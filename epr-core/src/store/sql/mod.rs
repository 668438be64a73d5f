//! Every statement of the store, written once and compiled inside each adapter.
//!
//! The adapter that includes this folder provides `dialect`: the driver's types, the macros for what the two databases
//! express differently, and its locks, notifications and error classification. Must never name a database.

pub(super) use self::sources::AsOf;
use super::dialect;

#[macro_use]
mod sources;

#[macro_use]
pub(super) mod access;
pub(super) mod assignment_search;
pub(super) mod assignments;
pub(super) mod assignments_around;
mod border;
mod browser_sessions;
mod cached_head;
pub(super) mod changes;
mod checkpoints;
mod columns;
pub(super) mod entities;
pub(super) mod entity_search;
mod entity_types;
pub(super) mod events;
mod explain;
#[macro_use]
pub(super) mod facts;
mod graph;
mod hierarchy;
mod history;
mod idempotency;
pub(super) mod identities;
pub(super) mod invalidations;
pub(super) mod ledger;
pub(super) mod ledger_page;
pub(super) mod ledger_scan;
mod listing;
mod principal_tx;
mod principals;
mod rejections;
mod replica_reports;
mod reports;
pub(super) mod revisions;
mod roles;
pub(super) mod schema;
pub(super) mod search;
pub(super) mod searched;
mod set_aside;
mod step;
pub(super) mod store;
pub(super) mod takeover;
mod tx;
mod verification;
