//! The store suite: every promise of the storage contract, on SQLite (a file, and in memory) and on PostgreSQL, without
//! HTTP.
//!
//! One file a subject, like `epr-core/src/store/contract`. A test's name is the promise that it checks.

mod access;
mod access_resources;
mod access_resources_law;
mod admin;
mod border;
mod browser_sessions;
mod changes;
mod checkpoints;
mod coverage;
mod entity_identity;
mod facts;
mod graph;
mod history;
mod idempotency;
mod identities;
mod ledger;
mod older_programs;
mod outbox;
mod past;
mod principals;
mod registry;
mod replica_reads;
mod revisions;
mod search;
mod support;
mod takeover;
mod tx;
