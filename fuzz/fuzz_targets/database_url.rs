//! Database URLs: an accepted URL parses again to the same value, and no output contains a password.

#![no_main]

use epr_fuzz::store::url::{DatabaseUrl, masked};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let shown = masked(text);
    let read = DatabaseUrl::parse(text);
    if let Ok(DatabaseUrl::Postgres(url)) = &read {
        assert_eq!(
            DatabaseUrl::parse(url.as_str()).as_ref(),
            Ok(&DatabaseUrl::Postgres(url.clone())),
            "not the same again"
        );
        assert!(url.port() > 0 && url.host() == url.host());
    }
    // The password inside the input is recognised by a word that occurs nowhere else.
    let secret = "hunter2secret";
    if text.contains("hunter") || text.contains("secret") {
        return;
    }
    // SQLAlchemy reads any characters up to the first `@`.
    let (head, tail) = text.split_at(text.char_indices().nth(3).map_or(0, |(at, _)| at));
    let url = format!("postgresql://epr:{head}{secret}{tail}@db.internal/epr");
    assert!(!masked(&url).contains(secret), "{url}: {}", masked(&url));
    if let Ok(read) = DatabaseUrl::parse(&url) {
        assert!(!format!("{read:?}").contains(secret), "{url}: {read:?}");
    }
    let option = format!("postgresql://epr@db.internal/epr?password={secret}&{text}");
    if let Err(why) = DatabaseUrl::parse(&option) {
        assert!(!why.contains(secret), "{option}: {why}");
    }
    assert!(!masked(&option).contains(secret), "{option}: {}", masked(&option));
    let _ = shown;
});
