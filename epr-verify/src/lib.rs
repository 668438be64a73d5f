//! Verifies EPR's ledger offline: exports, archives, checkpoints, published tiles and proof files.
//!
//! Everything is recomputed: entries to hashes, hashes to leaves, leaves to tiles, tiles to the root, and the root is
//! compared with what the keys signed. Must never contain a writer, and must never trust a stored hash that can be
//! computed. The formats are the files of `epr-core/src/ledger` that only read, compiled into this crate.

pub mod archive;
mod archive_file;
mod blocks;
pub mod export;
pub mod finding;
mod known;
pub mod ledger;
mod line;
pub mod proof;
pub mod published;
pub mod signatures;
pub mod source;
#[cfg(test)]
mod tests;

pub use finding::{Finding, Level, Stop};
