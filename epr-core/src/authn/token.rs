//! The form of API tokens: minted and recognised here, never stored.

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

/// Prefix of every token, so that scanners find a leaked one.
const PREFIX: &str = "epr_";
/// Characters after the prefix: 43 of 62 are 256 bits.
const LENGTH: usize = 43;
const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// SHA-256 of a token, which is all that is stored. Slow hashing is for passwords; a token is 256 random bits.
pub type TokenHash = [u8; 32];

/// A new token from the system's randomness.
///
/// # Errors
/// The system provides no randomness.
pub fn mint() -> Result<String, getrandom::Error> {
    let mut token = PREFIX.to_owned();
    let mut pool = [0; 64];
    while token.len() < PREFIX.len() + LENGTH {
        getrandom::fill(&mut pool)?;
        // 248 is the largest multiple of 62 in a byte: larger bytes would make some characters more likely.
        let fair = pool.iter().filter(|byte| **byte < 248);
        let left = PREFIX.len() + LENGTH - token.len();
        token.extend(fair.filter_map(|byte| ALPHABET.get(usize::from(byte % 62))).take(left).map(|c| char::from(*c)));
    }
    Ok(token)
}

/// The hash of `text`, if it has the form of a token: a word of somebody's own choosing cannot be registered.
#[must_use]
pub fn hash(text: &str) -> Option<TokenHash> {
    let body = text.strip_prefix(PREFIX)?;
    let is_token = body.len() == LENGTH && body.bytes().all(|b| b.is_ascii_alphanumeric());
    is_token.then(|| Sha256::digest(text.as_bytes()).into())
}

/// A hash in 64 hex digits.
#[must_use]
pub fn hex(hash: &TokenHash) -> String {
    let mut digits = String::with_capacity(64);
    for byte in hash {
        // Writing into a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_recognised_and_differ() {
        let (one, other) = (mint().unwrap(), mint().unwrap());
        assert!(one.starts_with("epr_") && one.len() == 47, "{one}");
        assert_ne!(one, other);
        assert!(hash(&one).is_some());
        for none in [
            "",
            "epr_",
            "epr_short",
            &one[1..],
            &one[..46],
            &format!("{one}x"),
            &one.replace("epr_", "EPR_"),
            &format!("epr_{}", "-".repeat(43)),
        ] {
            assert_eq!(hash(none), None, "{none}");
        }
    }

    #[test]
    fn every_character_comes_about_equally_often() {
        let all: String = (0..2000).map(|_| mint().unwrap().split_off(4)).collect();
        for c in ALPHABET {
            // 1387 expected, standard deviation 37: eight of them are beyond chance.
            let count = all.bytes().filter(|b| b == c).count();
            assert!((1090..1690).contains(&count), "{} came {count} times", char::from(*c));
        }
    }
}
