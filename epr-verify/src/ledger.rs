//! The formats of the ledger: the files of `epr-core` that only read, so that this crate depends on no part of EPR.

#[path = "../../epr-core/src/ledger/archive.rs"]
pub mod archive;
#[path = "../../epr-core/src/ledger/checkpoint.rs"]
pub mod checkpoint;
#[path = "../../epr-core/src/ledger/edge.rs"]
pub mod edge;
#[path = "../../epr-core/src/ledger/hex.rs"]
pub mod hex;
#[path = "../../epr-core/src/ledger/merkle.rs"]
pub mod merkle;
#[path = "../../epr-core/src/ledger/note.rs"]
pub mod note;
#[path = "../../epr-core/src/ledger/proof.rs"]
pub mod proof;
#[path = "../../epr-core/src/ledger/sha256.rs"]
pub mod sha256;
#[path = "../../epr-core/src/ledger/tile.rs"]
pub mod tile;

pub use hex::hex;
use merkle::Hash;
use sha2::{Digest as _, Sha256};

/// The compression function of SHA-256.
mod compress {
    pub(super) use sha2_blocks::block_api::compress256 as compress;
}

/// The `previous_hash` of the first entry.
pub const GENESIS_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// SHA-256 over the previous hash in hex and the canonical text of an entry: its hash, and the data of its leaf.
#[must_use]
pub fn entry_hash(previous_hash: &[u8], canonical: &[u8]) -> Hash {
    Sha256::new().chain_update(previous_hash).chain_update(canonical).finalize().into()
}

/// A hash as 64 hex digits in lower case.
pub type HexHash = [u8; 64];

/// The text as a hash in hex; `None` unless it is 64 hex digits in lower case.
#[must_use]
pub fn is_hex(text: &[u8]) -> Option<&HexHash> {
    // Without a branch for each digit.
    let digits = text.iter().fold(true, |all, byte| all & (byte.is_ascii_digit() | matches!(byte, b'a'..=b'f')));
    text.try_into().ok().filter(|_| digits)
}

/// A hash in hex.
#[must_use]
pub fn hex_digits(hash: &Hash) -> HexHash {
    let digit = |half: u8| half + if half < 10 { b'0' } else { b'a' - 10 };
    let mut digits = [0; 64];
    for ([high, low], byte) in digits.as_chunks_mut::<2>().0.iter_mut().zip(hash) {
        (*high, *low) = (digit(byte >> 4), digit(byte & 15));
    }
    digits
}
