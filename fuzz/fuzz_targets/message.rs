//! Messages from the queue: every body is an event that can be sealed and read back, or an error whose location can be
//! logged.

#![no_main]

use epr_fuzz::domain::{Json, Timestamp};
use epr_fuzz::ingest::message::Message;
use epr_fuzz::ingest::parse;
use epr_fuzz::ledger::GENESIS_HASH;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &str| {
    let now = Timestamp::from_unix_micros(1_780_000_000_000_000).expect("a time");
    let message = Message { message_id: "aaaaaaaa-0000-4000-8000-000000000001".into(), body: body.into() };
    match parse::read(&message, now) {
        Ok(draft) => {
            assert!(draft.event_id().is_some(), "every event has a key");
            let details = Json::parse(draft.details().as_bytes()).expect("details that read back");
            assert_eq!(epr_fuzz::ledger::canonical::text_of(&details), draft.details());
            let mut sealed = String::new();
            draft.write_canonical(1, GENESIS_HASH, &mut sealed);
            assert!(sealed.bytes().all(|byte| (0x20..0x7f).contains(&byte)));
            assert!(Json::parse(sealed.as_bytes()).is_ok(), "{sealed}");
            assert_eq!(draft.hash_at(1, GENESIS_HASH), epr_fuzz::ledger::canonical::entry_hash(GENESIS_HASH, &sealed));
        }
        Err(invalid) => {
            // This is logged: words of ours only.
            let location = invalid.location();
            let ours =
                |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b',' | b'.');
            assert!(!location.is_empty() && location.bytes().all(ours), "{location:?}");
            let _ = invalid.to_string();
        }
    }
});
