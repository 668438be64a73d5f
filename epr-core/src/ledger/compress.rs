//! The compression function of SHA-256 as this crate's dependency has it. A crate that shares the files of the ledger
//! and depends on another version has a module of this name of its own.

/// Works the blocks of 64 bytes into the state, the first block first.
pub(super) fn compress(state: &mut [u32; 8], blocks: &[[u8; 64]]) {
    for block in blocks {
        sha2::compress256(state, &[(*block).into()]);
    }
}
