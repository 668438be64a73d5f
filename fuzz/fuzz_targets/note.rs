//! Signed notes and verifier keys: what is read is written again byte for byte.

#![no_main]

use epr_fuzz::ledger::note::{Note, VerifierKey};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string().parse().as_ref(), Ok(&key), "{text:?}");
    }
    if let Ok(note) = text.parse::<Note>() {
        assert_eq!(note.to_string(), text);
        assert!((1..=100).contains(&note.signatures.len()) && note.text.ends_with('\n'));
    }
});
