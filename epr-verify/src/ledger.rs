//! The formats of the ledger: the files of `epr-core` that only read, so that this crate depends on no part of EPR.

#[path = "../../epr-core/src/ledger/checkpoint.rs"]
pub mod checkpoint;
#[path = "../../epr-core/src/ledger/edge.rs"]
pub mod edge;
#[path = "../../epr-core/src/ledger/merkle.rs"]
pub mod merkle;
#[path = "../../epr-core/src/ledger/note.rs"]
pub mod note;
#[path = "../../epr-core/src/ledger/proof.rs"]
pub mod proof;
#[path = "../../epr-core/src/ledger/tile.rs"]
pub mod tile;

use merkle::Hash;
use sha2::{Digest as _, Sha256};

/// The `previous_hash` of the first entry.
pub const GENESIS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// SHA-256 over the previous hash in hex and the canonical text of an entry: its hash, and the data of its leaf.
#[must_use]
pub fn entry_hash(previous_hash: &[u8], canonical: &[u8]) -> Hash {
    Sha256::new().chain_update(previous_hash).chain_update(canonical).finalize().into()
}

/// The bytes of 64 hex digits in lower case.
#[must_use]
pub fn from_hex(text: &[u8]) -> Option<Hash> {
    let (pairs, rest) = text.as_chunks::<2>();
    let mut hash = Hash::default();
    if pairs.len() != hash.len() || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in hash.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(hash)
}

fn digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

/// A hash in hex.
#[must_use]
pub fn hex(hash: &Hash) -> String {
    use std::fmt::Write as _;
    let mut text = String::with_capacity(64);
    for byte in hash {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
