//! Sessions: who is logged in, since when, and the token that every form of the session repeats.
//!
//! Owns their expiry and their number. Sessions are in the memory of this process, with the credential, which is
//! verified again for every page: what is revoked or expired for the API is so for the console. Must never log a
//! credential, and must never keep the id of a session, only its hash.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epr_core::authn::Caller;
use epr_core::domain::Timestamp;
use epr_core::domain::named_caller::NamedCaller;
use secrecy::SecretString;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// The longest time between two pages of a session, in seconds.
pub(crate) const IDLE_SECONDS: i64 = 30 * 60;
/// The longest time from login to the last page, in seconds.
pub(crate) const ABSOLUTE_SECONDS: i64 = 8 * 60 * 60;
/// The most sessions. One more ends the session that has been idle for longest.
const MAX_SESSIONS: usize = 1000;

/// The SHA-256 of a session's id.
type Key = [u8; 32];

/// A session, as a page sees it.
#[derive(Clone)]
pub(crate) struct Session {
    /// The credential; `None` where callers are not authenticated.
    pub(crate) credential: Option<SecretString>,
    /// The token of the session's forms.
    pub(crate) form_token: String,
    /// The caller that logged in; `None` where callers are not authenticated.
    caller: Option<NamedCaller>,
    begun: Timestamp,
    used: Timestamp,
}

/// The sessions of this process.
#[derive(Default)]
pub(crate) struct Sessions(Mutex<HashMap<Key, Session>>);

impl Sessions {
    /// Begins a session at `now`; returns its id, which only the browser keeps.
    pub(crate) fn begin(
        &self,
        credential: Option<SecretString>,
        caller: Option<&Caller>,
        now: Timestamp,
    ) -> Option<String> {
        let (id, form_token) = (random_word()?, random_word()?);
        let caller = caller.map(Caller::named);
        let session = Session { credential, form_token, caller, begun: now, used: now };
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.retain(|_, session| !session.is_over(now));
        if sessions.len() >= MAX_SESSIONS {
            let oldest = sessions.iter().min_by_key(|(_, session)| session.used).map(|(key, _)| *key);
            oldest.map(|key| sessions.remove(&key));
        }
        sessions.insert(key(&id), session);
        Some(id)
    }

    /// The session with this id, used at `now`; `None` if there is none or it has ended.
    pub(crate) fn resume(&self, id: &str, now: Timestamp) -> Option<Session> {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(id);
        let session = sessions.get_mut(&key)?;
        if session.is_over(now) {
            sessions.remove(&key);
            return None;
        }
        session.used = now;
        Some(session.clone())
    }

    /// Ends the session with this id.
    pub(crate) fn end(&self, id: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&key(id));
    }

    /// Ends every session of the caller of the session with this id; returns their number.
    pub(crate) fn end_everywhere(&self, id: &str) -> usize {
        let mut sessions = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(caller) = sessions.get(&key(id)).map(|session| session.caller.clone()) else { return 0 };
        let before = sessions.len();
        sessions.retain(|_, session| session.caller != caller);
        before - sessions.len()
    }
}

impl Session {
    fn is_over(&self, now: Timestamp) -> bool {
        self.used.plus_seconds(IDLE_SECONDS) <= now || self.begun.plus_seconds(ABSOLUTE_SECONDS) <= now
    }
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

fn key(id: &str) -> Key {
    Sha256::digest(id.as_bytes()).into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use epr_core::authn::Scopes;
    use epr_core::domain::named_caller::CallerKind;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::parse("2026-11-01T00:00:00Z").unwrap().plus_seconds(seconds)
    }

    fn caller(name: &str) -> Caller {
        Caller { kind: CallerKind::Token, name: Arc::from(name), scopes: Scopes::default(), actor_id: None }
    }

    #[test]
    fn a_session_ends_when_it_is_idle_and_after_its_longest_time() {
        let sessions = Sessions::default();
        let id = sessions.begin(None, None, at(0)).unwrap();
        assert!(sessions.resume(&id, at(IDLE_SECONDS - 1)).is_some());
        assert!(sessions.resume(&id, at(2 * IDLE_SECONDS - 1)).is_none(), "idle");
        assert!(sessions.resume(&id, at(0)).is_none(), "it does not come back");
        let id = sessions.begin(None, None, at(0)).unwrap();
        let mut now = 0;
        while now + IDLE_SECONDS - 1 < ABSOLUTE_SECONDS {
            now += IDLE_SECONDS - 1;
            assert!(sessions.resume(&id, at(now)).is_some(), "{now}");
        }
        assert!(sessions.resume(&id, at(ABSOLUTE_SECONDS)).is_none(), "absolute");
    }

    #[test]
    fn logging_out_everywhere_ends_the_sessions_of_one_caller() {
        let sessions = Sessions::default();
        let begin = |name| sessions.begin(None, Some(&caller(name)), at(0)).unwrap();
        let (one, two, other) = (begin("ada"), begin("ada"), begin("bob"));
        assert_eq!(sessions.end_everywhere(&one), 2);
        assert!(sessions.resume(&two, at(1)).is_none());
        assert!(sessions.resume(&other, at(1)).is_some());
        assert_eq!(sessions.end_everywhere("unknown"), 0);
    }

    #[test]
    fn the_number_of_sessions_is_bounded() {
        let sessions = Sessions::default();
        let first = sessions.begin(None, None, at(0)).unwrap();
        let second = sessions.begin(None, None, at(1)).unwrap();
        assert!(sessions.resume(&first, at(2)).is_some());
        for _ in 0..MAX_SESSIONS - 1 {
            sessions.begin(None, None, at(3)).unwrap();
        }
        assert!(sessions.resume(&first, at(4)).is_some());
        assert!(sessions.resume(&second, at(4)).is_none(), "idle for longest");
    }
}
