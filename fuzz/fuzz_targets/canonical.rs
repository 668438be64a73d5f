//! The canonical form: printable ASCII, the same value, and the same text again, by our reader and by another.

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
    // Whoever verifies an export reads it with something else.
    let other: Value = serde_json::from_str(&text).expect("for everybody");
    let given: Value = serde_json::from_slice(bytes).expect("what we took");
    assert_eq!(other, given, "{text}");
});
