//! Checkpoints: one text for each, and no other text has the signatures of the vectors' keys.

#![no_main]

use std::sync::LazyLock;

use epr_fuzz::ledger::checkpoint::Checkpoint;
use epr_fuzz::ledger::note::{Note, VerifierKey};
use libfuzzer_sys::fuzz_target;

/// The keys of the vectors, and every note that they have signed.
static SIGNED: LazyLock<(Vec<VerifierKey>, Vec<Note>)> = LazyLock::new(|| {
    let keys = [include_str!("../../tests/vectors/tlog/vkey"), include_str!("../../tests/vectors/tlog/mldsa.vkey")];
    let notes = [
        include_str!("../../tests/vectors/tlog/old-checkpoint"),
        include_str!("../../tests/vectors/tlog/log/checkpoint"),
        include_str!("../../tests/vectors/tlog/checkpoint-hybrid"),
    ];
    let keys = keys.iter().map(|key| key.parse().expect("a key")).collect();
    (keys, notes.iter().map(|note| note.parse().expect("a note")).collect())
});

fuzz_target!(|text: &str| {
    if let Ok(checkpoint) = text.parse::<Checkpoint>() {
        assert_eq!(checkpoint.to_string(), text);
    }
    let Ok(note) = text.parse::<Note>() else { return };
    let (keys, signed) = &*SIGNED;
    for key in keys {
        if Checkpoint::verified(&note, key).is_ok() {
            assert!(signed.iter().any(|signed| signed.text == note.text), "{text:?}");
        }
    }
});
