//! Credentials before and after the check of the signature: headers, lists of tokens, claims, sets of keys.

#![no_main]

use std::sync::LazyLock;

use epr_fuzz::authn::algorithm::Algorithm;
use epr_fuzz::authn::jwt::JwtRules;
use epr_fuzz::authn::token_list::TokenList;
use epr_fuzz::authn::{self, Scope};
use epr_fuzz::domain::Timestamp;
use epr_fuzz::domain::fields::Choice as _;
use libfuzzer_sys::fuzz_target;

static RULES: LazyLock<JwtRules> = LazyLock::new(|| JwtRules {
    issuer: "i".into(),
    audiences: vec!["a".into()],
    algorithms: Algorithm::ALL.to_vec(),
    leeway_seconds: 60,
    token_type: None,
    actor_claim: "sub".into(),
});

fuzz_target!(|bytes: &[u8]| {
    let now = Timestamp::from_unix_micros(1_780_000_000_000_000).expect("a time");
    authn::header(bytes, &RULES, &TokenList::default(), now);
    if let Some(caller) = authn::document(bytes, &RULES, now) {
        // Every scope of an accepted caller is in the claims.
        let text = String::from_utf8_lossy(bytes);
        assert!(caller.scopes == Default::default() || text.contains("epr:") || text.contains('\\'), "{text}");
        assert!(caller.name.chars().count() <= 255);
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(list) = TokenList::parse(text)
    {
        assert!(list.len() <= 1000);
        assert!(Scope::ALL.len() == 11 && !format!("{list:?}").contains("sha256"));
    }
});
