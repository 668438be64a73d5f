//! Proof files: what is read is written again byte for byte, and proves nothing but what the vector proves.

#![no_main]

use std::sync::LazyLock;

use epr_fuzz::ledger::GENESIS_HASH;
use epr_fuzz::ledger::canonical::entry_hash;
use epr_fuzz::ledger::merkle::Hash;
use epr_fuzz::ledger::note::VerifierKey;
use epr_fuzz::ledger::proof::InclusionProof;
use libfuzzer_sys::fuzz_target;

static KEY: LazyLock<VerifierKey> =
    LazyLock::new(|| include_str!("../../tests/vectors/tlog/vkey").parse().expect("a key"));

/// The leaf data of the entry that the vector proves, whose index is 123.
static LEAF: LazyLock<Hash> = LazyLock::new(|| {
    let hash = (1..=124).fold(GENESIS_HASH.to_owned(), |previous, sequence| {
        let text = format!(r#"{{"action":"entity.create","previous_hash":"{previous}","sequence":{sequence}}}"#);
        entry_hash(&previous, &text)
    });
    let byte = |at: usize| u8::from_str_radix(&hash[2 * at..2 * at + 2], 16).expect("hex");
    std::array::from_fn(byte)
});

fuzz_target!(|text: &str| {
    let Ok(proof) = text.parse::<InclusionProof>() else { return };
    assert_eq!(proof.to_string(), text);
    assert!(proof.verify(b"another entry", &KEY).is_err(), "{text:?}");
    if let Ok(checkpoint) = proof.verify(&*LEAF, &KEY) {
        assert_eq!((proof.index, checkpoint.size), (123, 600), "{text:?}");
    }
});
