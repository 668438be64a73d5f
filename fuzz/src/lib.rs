//! The pure modules of `epr-core`, compiled here from their own files: what is fuzzed is the very source, without waiting
//! for databases, clouds and TLS to be built under instrumentation.

#![allow(dead_code, missing_docs, reason = "every target uses some of it")]

pub mod authn;
#[path = "../../epr-core/src/domain/mod.rs"]
pub mod domain;
pub mod ingest;
#[path = "../../epr-core/src/ledger/mod.rs"]
pub mod ledger;
pub mod store;
