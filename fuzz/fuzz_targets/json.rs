//! The JSON reader accepts nothing that a strict reader refuses, and writes back the value that it read.

#![no_main]

use epr_fuzz::domain::Json;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(value) = Json::parse(bytes) else { return };
    assert!(serde_json::from_slice::<serde_json::Value>(bytes).is_ok(), "a strict reader refuses it");
    assert!(value.check(epr_fuzz::domain::json::MAX_DEPTH).is_ok(), "deeper than allowed");
    let written = value.to_string();
    assert_eq!(Json::parse(written.as_bytes()).as_ref(), Ok(&value), "{written}");
});
