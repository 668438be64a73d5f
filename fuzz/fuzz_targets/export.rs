//! Exports: the fast reader of `epr-verify` accepts what a plain reader of JSON accepts, and nothing else.
//!
//! The input is an export, or with a first byte of 0 the escaped text of one entry, whose line is made here with the
//! hash that the text has.

#![no_main]
#![allow(dead_code, missing_docs, unreachable_pub, reason = "a part of these modules is used")]

// The verifier has an entry point of its own to the formats, whose paths begin at the root of its crate.
#[path = "../../epr-verify/src/blocks.rs"]
mod blocks;
#[path = "../../epr-verify/src/export.rs"]
mod export;
#[path = "../../epr-verify/src/finding.rs"]
mod finding;
#[path = "../../epr-verify/src/known.rs"]
mod known;
#[path = "../../epr-verify/src/ledger.rs"]
mod ledger;
#[path = "../../epr-verify/src/line.rs"]
mod line;

use ledger::{GENESIS_HASH, entry_hash, hex, is_hex};
use libfuzzer_sys::fuzz_target;
use serde::Deserialize;

#[derive(Deserialize)]
struct Line {
    sequence: u64,
    previous_hash: String,
    entry_hash: String,
    canonical: String,
}

#[derive(Deserialize)]
struct Link {
    sequence: u64,
    previous_hash: String,
}

/// The number of entries of a valid export, and whether each text names its place; `None` for any other export.
fn plain(export: &[u8]) -> Option<(u64, bool)> {
    let (mut last, mut entries, mut places): (Option<(u64, String)>, u64, bool) = (None, 0, true);
    for line in export.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Line = serde_json::from_slice(line).ok()?;
        is_hex(line.previous_hash.as_bytes())?;
        let hash = hex(&entry_hash(line.previous_hash.as_bytes(), line.canonical.as_bytes()));
        let follows = match &last {
            Some((sequence, hash)) => line.sequence == sequence + 1 && line.previous_hash == *hash,
            None => line.sequence != 1 || line.previous_hash == GENESIS_HASH,
        };
        if hash != line.entry_hash || !follows {
            return None;
        }
        // A text that is no JSON has no place that could be another one.
        places &= serde_json::from_str::<Link>(&line.canonical)
            .is_ok_and(|link| link.sequence == line.sequence && link.previous_hash == line.previous_hash);
        last = Some((line.sequence, hash));
        entries += 1;
    }
    Some((entries, places))
}

fuzz_target!(|bytes: &[u8]| {
    let made = bytes.strip_prefix(&[0]).and_then(|escaped| {
        let escaped = std::str::from_utf8(escaped).ok()?;
        let text: String = serde_json::from_str(&format!("\"{escaped}\"")).ok()?;
        let hash = hex(&entry_hash(GENESIS_HASH.as_bytes(), text.as_bytes()));
        let before = format!(r#"{{"sequence":1,"previous_hash":"{GENESIS_HASH}","entry_hash":"{hash}""#);
        Some(format!(r#"{before},"canonical":"{escaped}"}}"#).into_bytes())
    });
    let input = made.as_deref().unwrap_or(bytes);
    let verified = export::verify(input, &[], |_, _| Ok(()));
    let shown = String::from_utf8_lossy(input);
    match (&verified, plain(input)) {
        (Ok(verified), Some((entries, _))) => assert_eq!(verified.entries, entries, "{shown}"),
        (Ok(_), None) => panic!("accepted: {shown}"),
        (Err(error), Some((_, true))) => panic!("refused: {error}: {shown}"),
        (Err(_), _) => {}
    }
});
