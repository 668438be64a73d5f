//! The tamper-evident ledger: the text that is hashed, the chain that is written, and the verification that reads.
//!
//! Pure: must never do I/O. Writer and verifier share the canonical form and nothing else.

#[cfg(feature = "proofs")]
pub mod archive;
#[cfg(all(test, feature = "proofs"))]
pub(crate) mod archive_cases;
pub mod canonical;
pub mod chain;
#[cfg(feature = "proofs")]
pub mod checkpoint;
mod compress;
pub mod edge;
pub mod hex;
pub mod merkle;
#[cfg(feature = "proofs")]
pub mod note;
pub mod number;
pub mod older_details;
#[cfg(feature = "proofs")]
pub mod proof;
#[cfg(test)]
mod properties;
pub mod sha256;
pub mod tile;
#[cfg(feature = "proofs")]
#[cfg(test)]
mod tlog_tests;
pub mod verify;
pub mod verify_tree;

/// The `previous_hash` of the first entry.
pub const GENESIS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The version of the hash of new entries.
pub const HASH_VERSION: i32 = 1;
