//! The pure modules of `epr-core`, compiled here from their own files: the targets fuzz the same source without
//! building databases, clouds and TLS under instrumentation.

#![allow(dead_code, missing_docs, reason = "each target uses a part of these modules")]

pub mod access;
pub mod authn;
pub mod decision;
#[path = "../../epr-core/src/domain/mod.rs"]
pub mod domain;
pub mod history;
pub mod ingest;
#[path = "../../epr-core/src/ledger/mod.rs"]
pub mod ledger;
pub mod store;
