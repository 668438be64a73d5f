//! The issuer's keys: rotation, outages, and answers that are none.

use std::future::Future as _;
use std::sync::Arc;
use std::task::Poll;

use epr_core::authn::{AuthenticationError, Authenticator, CredentialError};
use epr_core::clock::ManualClock;
use epr_core::domain::Timestamp;
use epr_core::settings::{Settings, Source};
use epr_testkit::issuer::{Answers, ISSUER, Issuer, SigningKey, claims, key_set};
use serde_json::json;

const NOW: i64 = 1_780_000_000;
const SECOND: i64 = 1_000_000;

async fn door(place: (&str, &str)) -> (Arc<Authenticator>, Arc<ManualClock>) {
    let environment = [
        ("EPR_AUTH_MODE", "jwt"),
        ("EPR_JWT_ISSUER", ISSUER),
        ("EPR_JWT_AUDIENCE", "epr"),
        ("EPR_JWT_KEYS_KEPT", "3600"),
        place,
    ];
    let settings = Settings::from_source(&Source::of(environment)).expect("settings");
    let clock = Arc::new(ManualClock::new(Timestamp::from_unix_micros(NOW * SECOND).expect("a time")));
    let authenticator = Authenticator::start(&settings.auth, clock.clone()).await.expect("an authenticator");
    (Arc::new(authenticator), clock)
}

async fn knock(door: &Authenticator, key: &SigningKey) -> Result<(), AuthenticationError> {
    let mut claims = claims(NOW, "epr:read");
    claims["exp"] = (NOW + 100_000).into();
    let value = format!("Bearer {}", key.sign(&claims));
    door.authenticate([value.as_bytes()]).await.map(|_| ())
}

const UNKNOWN: Result<(), AuthenticationError> = Err(AuthenticationError::Invalid(CredentialError::UnknownKey));
const UNAVAILABLE: Result<(), AuthenticationError> = Err(AuthenticationError::Unavailable);

#[tokio::test]
async fn keys_rotate_and_forged_tokens_cause_no_fetches() {
    let (old, new) = (SigningKey::ed("old"), SigningKey::ed("new"));
    let issuer = Issuer::with(&[&old]).await;
    let (door, clock) = door(("EPR_JWT_JWKS_URL", &issuer.url)).await;
    assert_eq!(knock(&door, &old).await, Ok(()));
    issuer.answer(Answers::Document(key_set(&[&new])));
    for _ in 0..100 {
        assert_eq!(knock(&door, &new).await, UNKNOWN, "asked for a moment ago");
    }
    assert_eq!(issuer.fetched(), 1);
    clock.advance_micros(30 * SECOND);
    // However many come at once, one call goes out.
    let all: Vec<_> = (0..50)
        .map(|_| {
            let (door, new) = (Arc::clone(&door), SigningKey::ed("nobody"));
            tokio::spawn(async move { knock(&door, &new).await })
        })
        .collect();
    for one in all {
        assert_eq!(one.await.unwrap(), UNKNOWN);
    }
    assert_eq!(issuer.fetched(), 2);
    assert_eq!(knock(&door, &new).await, Ok(()));
    assert_eq!(knock(&door, &old).await, UNKNOWN, "withdrawn");
    assert_eq!(issuer.fetched(), 2);
}

/// The interval of the background passes by the clock of the machine, and not for a process that is frozen meanwhile.
#[tokio::test]
async fn a_key_that_was_withdrawn_during_a_freeze_is_not_accepted_after_it() {
    let (old, new) = (SigningKey::ed("old"), SigningKey::ed("new"));
    let issuer = Issuer::with(&[&old]).await;
    let (door, clock) = door(("EPR_JWT_JWKS_URL", &issuer.url)).await;
    door.refresh_outdated().await;
    assert_eq!(knock(&door, &old).await, Ok(()));
    issuer.answer(Answers::Document(key_set(&[&new])));
    clock.advance_micros(299 * SECOND);
    door.refresh_outdated().await;
    assert_eq!((issuer.fetched(), knock(&door, &old).await), (1, Ok(())), "as old as in a service that runs");
    clock.advance_micros(SECOND);
    door.refresh_outdated().await;
    assert_eq!((issuer.fetched(), knock(&door, &old).await), (2, UNKNOWN));
    door.refresh_outdated().await;
    assert_eq!((issuer.fetched(), knock(&door, &new).await), (2, Ok(())));
}

#[tokio::test]
async fn a_short_outage_of_the_issuer_locks_no_caller_out() {
    let (old, new) = (SigningKey::ec256("old"), SigningKey::ec256("new"));
    let issuer = Issuer::with(&[&old]).await;
    let (door, clock) = door(("EPR_JWT_JWKS_URL", &issuer.url)).await;
    assert_eq!(knock(&door, &old).await, Ok(()));
    for away in [Answers::Status(503), Answers::Document("<html>".into()), Answers::Document(r#"{"keys": []}"#.into())]
    {
        issuer.answer(away);
        clock.advance_micros(60 * SECOND);
        assert_eq!(knock(&door, &new).await, UNAVAILABLE, "unknown whether the issuer has this key");
        assert_eq!(knock(&door, &old).await, Ok(()));
    }
    clock.advance_micros((3600 - 180) * SECOND - 1);
    assert_eq!(knock(&door, &old).await, Ok(()), "the last good answer is an hour old, less a microsecond");
    clock.advance_micros(1);
    assert_eq!(knock(&door, &old).await, UNAVAILABLE, "a key is not believed in for ever");
    issuer.answer(Answers::Document(key_set(&[&old, &new])));
    clock.advance_micros(30 * SECOND);
    assert_eq!(knock(&door, &new).await, Ok(()));
    assert_eq!(knock(&door, &old).await, Ok(()));
}

#[tokio::test]
async fn answers_without_keys_are_refused() {
    let key = SigningKey::ed("e");
    let elsewhere = Issuer::with(&[&key]).await;
    let many: Vec<_> = (0..101).map(|n| SigningKey::ed(&n.to_string()).jwk()).collect();
    let large = json!({"keys": [key.jwk()], "padding": "x".repeat(256 * 1024)}).to_string();
    for answer in [
        Answers::Redirect(elsewhere.url.clone()),
        Answers::Status(404),
        Answers::Status(204),
        Answers::Document(large),
        Answers::Document(json!({"keys": many}).to_string()),
        Answers::Document(json!([key.jwk()]).to_string()),
        Answers::Document(json!({"keys": [{"kty": "oct", "kid": "e", "k": "c2VjcmV0"}]}).to_string()),
        Answers::Document(String::new()),
    ] {
        let issuer = Issuer::start(answer).await;
        let (door, _) = door(("EPR_JWT_JWKS_URL", &issuer.url)).await;
        assert_eq!(knock(&door, &key).await, UNAVAILABLE);
        assert!(issuer.fetched() > 0);
    }
    assert_eq!(elsewhere.fetched(), 0, "a redirect is not followed");
}

#[tokio::test]
async fn the_wait_for_a_silent_issuer_has_a_deadline() {
    let issuer = Issuer::start(Answers::Never).await;
    let (door, _) = door(("EPR_JWT_JWKS_URL", &issuer.url)).await;
    assert_eq!(knock(&door, &SigningKey::ed("e")).await, UNAVAILABLE);
}

#[tokio::test]
async fn a_cancelled_request_does_not_cancel_the_fetch_of_keys() {
    let (old, new) = (SigningKey::ed("old"), SigningKey::ed("new"));
    let issuer = Issuer::with(&[&old]).await;
    let (door, clock) = door(("EPR_JWT_JWKS_URL", &issuer.url)).await;
    assert_eq!(knock(&door, &old).await, Ok(()));
    issuer.answer(Answers::Document(key_set(&[&new])));
    clock.advance_micros(30 * SECOND);
    {
        // Asks, and is gone before the answer.
        let mut asking = Box::pin(knock(&door, &new));
        let first = std::future::poll_fn(|context| Poll::Ready(asking.as_mut().poll(context))).await;
        assert!(first.is_pending());
    }
    assert_eq!(knock(&door, &new).await, Ok(()));
}

#[tokio::test]
async fn keys_are_read_from_a_file() {
    let key = SigningKey::rsa("r");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    std::fs::write(&path, key_set(&[&key])).unwrap();
    let (door, clock) = door(("EPR_JWT_JWKS_FILE", path.to_str().unwrap())).await;
    assert_eq!(knock(&door, &key).await, Ok(()));
    let next = SigningKey::rsa("next");
    std::fs::write(&path, key_set(&[&next])).unwrap();
    clock.advance_micros(30 * SECOND);
    assert_eq!(knock(&door, &next).await, Ok(()));
}
