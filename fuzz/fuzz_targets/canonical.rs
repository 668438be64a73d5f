//! The canonical form is printable ASCII, reads back as the same value in this reader and in `serde_json`, and is
//! written the same again.

#![no_main]

use epr_fuzz::domain::Json;
use epr_fuzz::ledger::canonical::text_of;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = Json::parse(bytes) else { return };
    let text = text_of(&value);
    assert!(text.bytes().all(|byte| (0x20..0x7f).contains(&byte)), "{text:?}");
    let back = Json::parse(text.as_bytes()).expect("the canonical form is JSON");
    assert_eq!(back, value, "{text}");
    assert_eq!(text_of(&back), text);
    // An export is verified with other JSON readers.
    let other: Value = serde_json::from_str(&text).expect("JSON for any reader");
    let given: Value = serde_json::from_slice(bytes).expect("accepted input is JSON");
    assert_eq!(other, given, "{text}");
});
