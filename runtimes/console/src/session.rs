//! Sessions: who is logged in, since when, and the token that every form of the session repeats.
//!
//! A session is in the database, so that every process of a deployment knows it and a restart ends none. Its id is
//! known to the browser only: the database has the hash of the id, and the credential sealed under a key that is
//! derived from the id. The credential is verified again for every page: what is revoked or expired for the API is so
//! for the console. Must never log a credential or the id of a session.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epr_core::domain::Timestamp;
use epr_core::domain::browser_session::BrowserSession;
use epr_core::domain::named_caller::NamedCaller;
use epr_core::{Epr, Error};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::refusal::Refusal;

/// The time for which the use of a session need not be recorded again, in seconds. A session that is idle may end by so
/// much earlier.
const RECORDED_SECONDS: i64 = 60;

/// With what a session began.
#[derive(Clone)]
pub(crate) enum Credential {
    /// An API token or a JWT, as the API takes it.
    Bearer(SecretString),
    /// An ID token of the provider, which was valid when the session began.
    IdToken(SecretString),
}

/// A session, as a page sees it.
pub(crate) struct Session {
    pub(crate) credential: Credential,
    pub(crate) begun_at: Timestamp,
}

/// Begins a session of `caller`; returns its id, which only the browser keeps.
pub(crate) async fn begin(epr: &Epr, credential: &Credential, caller: &NamedCaller) -> Result<String, Refusal> {
    let id = random_word().ok_or_else(Refusal::form)?;
    let now = epr.now();
    let sealed_credential = seal(&id, now, credential).ok_or_else(Refusal::form)?;
    let session = BrowserSession {
        key: hash("id", &id),
        caller: caller_hash(caller),
        sealed_credential,
        begun_at: now,
        used_at: now,
    };
    epr.begin_browser_session(&session).await?;
    Ok(id)
}

/// The session with this id, which is used now; `None` if there is none or it has ended.
pub(crate) async fn resume(epr: &Epr, id: &str) -> Result<Option<Session>, Error> {
    let key = hash("id", id);
    let Some(stored) = epr.browser_session(&key).await? else { return Ok(None) };
    // What is not sealed as it should be was not written by this program.
    let Some(credential) = open(id, &stored) else { return Ok(None) };
    if stored.used_at.plus_seconds(RECORDED_SECONDS) <= epr.now() {
        epr.mark_browser_session_used(&key).await?;
    }
    Ok(Some(Session { credential, begun_at: stored.begun_at }))
}

/// Ends the session with this id.
pub(crate) async fn end(epr: &Epr, id: &str) -> Result<(), Error> {
    epr.end_browser_session(&hash("id", id)).await
}

/// Ends every session of a caller, in all processes; returns their number.
pub(crate) async fn end_everywhere(epr: &Epr, caller: &NamedCaller) -> Result<u64, Error> {
    epr.end_browser_sessions_of(&caller_hash(caller)).await
}

/// The token of the forms of the session with this id. The id cannot be computed from it.
pub(crate) fn form_token(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(hash("form", id))
}

/// Whether `given` is `expected`, compared in constant time.
pub(crate) fn same(given: &str, expected: &str) -> bool {
    bool::from(given.as_bytes().ct_eq(expected.as_bytes()))
}

/// 256 random bits as text.
pub(crate) fn random_word() -> Option<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).ok()?;
    Some(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whether the browser has kept a word of [`random_word`].
pub(crate) fn is_word(text: &str) -> bool {
    text.len() == 43 && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// What is derived from the secret `word` for one purpose; says nothing about what is derived for another.
pub(crate) fn hash(purpose: &str, word: &str) -> [u8; 32] {
    Sha256::digest(format!("epr-console {purpose}\n{word}").as_bytes()).into()
}

/// The same for every session of a caller.
fn caller_hash(caller: &NamedCaller) -> [u8; 32] {
    hash("caller", &caller.actor_id().to_string())
}

/// Seals a credential for the session with this id.
fn seal(id: &str, begun_at: Timestamp, credential: &Credential) -> Option<Vec<u8>> {
    let (kind, text) = match credential {
        Credential::Bearer(text) => ("bearer", text),
        Credential::IdToken(text) => ("id-token", text),
    };
    let mut sealed = format!("{kind}\n{}", text.expose_secret()).into_bytes();
    cipher(id)?.seal_in_place_append_tag(nonce(), bound(begun_at), &mut sealed).ok()?;
    Some(sealed)
}

/// The credential of a session, if it was sealed for this id and this beginning.
fn open(id: &str, session: &BrowserSession) -> Option<Credential> {
    let mut sealed = session.sealed_credential.clone();
    let plain = cipher(id)?.open_in_place(nonce(), bound(session.begun_at), &mut sealed).ok()?;
    match std::str::from_utf8(plain).ok()?.split_once('\n')? {
        ("bearer", text) => Some(Credential::Bearer(text.into())),
        ("id-token", text) => Some(Credential::IdToken(text.into())),
        _ => None,
    }
}

fn cipher(id: &str) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, &hash("seal", id)).ok().map(LessSafeKey::new)
}

/// INVARIANT: each key seals once, so that no nonce is used twice with it.
fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

/// The seal also covers when the session began: a later time in the database would make it last longer.
fn bound(begun_at: Timestamp) -> Aad<[u8; 8]> {
    Aad::from(begun_at.unix_micros().to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::parse("2026-11-01T00:00:00Z").unwrap().plus_seconds(seconds)
    }

    #[test]
    fn a_credential_is_opened_by_its_session_only() {
        let (id, other) = (random_word().unwrap(), random_word().unwrap());
        assert!(is_word(&id) && id != other);
        let stored = |begun_at, sealed_credential| BrowserSession {
            key: hash("id", &id),
            caller: [0; 32],
            sealed_credential,
            begun_at,
            used_at: at(0),
        };
        for credential in [Credential::Bearer("epr_secret".into()), Credential::IdToken("a.b.c".into())] {
            let sealed = seal(&id, at(0), &credential).unwrap();
            let text = String::from_utf8_lossy(&sealed).into_owned();
            assert!(!text.contains("secret") && !text.contains("a.b.c"));
            match (open(&id, &stored(at(0), sealed.clone())), &credential) {
                (Some(Credential::Bearer(opened)), Credential::Bearer(text))
                | (Some(Credential::IdToken(opened)), Credential::IdToken(text)) => {
                    assert_eq!(opened.expose_secret(), text.expose_secret());
                }
                _ => panic!("another credential"),
            }
            assert!(open(&other, &stored(at(0), sealed.clone())).is_none());
            assert!(open(&id, &stored(at(1), sealed.clone())).is_none(), "a session does not become younger");
            let mut altered = sealed;
            altered[0] ^= 1;
            assert!(open(&id, &stored(at(0), altered)).is_none());
        }
    }

    #[test]
    fn what_is_derived_from_an_id_differs_by_its_purpose() {
        let id = random_word().unwrap();
        assert_ne!(hash("id", &id), hash("form", &id));
        assert_ne!(hash("id", &id), hash("seal", &id));
        assert!(is_word(&form_token(&id)) && form_token(&id) != id);
    }
}
