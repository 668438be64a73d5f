//! SHA-256 of messages that lie in whole blocks already: most of what a ledger hashes is short, and the buffer of a
//! streaming hasher takes as long as the hashing of such a message.
//!
//! Owns the padding; the module `compress` beside it has the compression function. Must never be used for a message
//! whose length is not known before.

use super::compress::compress;

/// The size of a block in bytes.
pub const BLOCK_BYTES: usize = 64;

/// The state before the first block (FIPS 180-4, 5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// The bytes of padding: one that ends the message, and its length.
const PADDING_BYTES: usize = 1 + 8;

/// The number of bytes that a message of `length` bytes takes with its padding.
#[must_use]
pub const fn padded_len(length: usize) -> usize {
    (length + PADDING_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// The hash of blocks that end with their padding.
#[must_use]
#[inline]
pub fn of_blocks(blocks: &[[u8; BLOCK_BYTES]]) -> [u8; 32] {
    let mut state = INITIAL;
    compress(&mut state, blocks);
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

/// The hash of the first `length` bytes of `bytes`, behind which the padding is written. `None` if there is no space
/// for it: [`padded_len`] bytes are needed.
#[must_use]
pub fn of_message_in(bytes: &mut [u8], length: usize) -> Option<[u8; 32]> {
    let padded = bytes.get_mut(..padded_len(length))?;
    let (end, zeros) = padded.get_mut(length..)?.split_first_mut()?;
    *end = 0x80;
    zeros.fill(0);
    let bits = u64::try_from(length).ok()?.checked_mul(8)?;
    *padded.last_chunk_mut()? = bits.to_be_bytes();
    Some(of_blocks(padded.as_chunks().0))
}

#[cfg(test)]
mod tests {
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[test]
    fn hashes_are_those_of_a_streaming_hasher_at_every_length() {
        for length in 0..300 {
            let message: Vec<u8> = (0..length).map(|at| u8::try_from(at * 7 % 251).unwrap()).collect();
            let mut bytes = message.clone();
            // What lies behind the message does not count.
            bytes.resize(padded_len(length) + 5, 0xEE);
            let expected: [u8; 32] = Sha256::digest(&message).into();
            assert_eq!(of_message_in(&mut bytes, length), Some(expected), "{length}");
            bytes.truncate(padded_len(length) - 1);
            assert_eq!(of_message_in(&mut bytes, length), None, "{length}");
        }
    }
}
