//! A login at the provider that a browser has begun: what binds the provider's answer to this browser.
//!
//! The browser keeps it in a cookie and the service nothing, so that any process can receive the answer. State, nonce
//! and the verifier of PKCE are derived from the cookie's secret. Must never accept an answer that another browser
//! asked for.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use epr_core::authn::LoginRequest;
use epr_core::domain::Timestamp;

use crate::session::{hash, is_word, random_word, same};

/// The time within which a login has to be complete, in seconds.
pub(crate) const SECONDS: u32 = 600;
/// The most that the clocks of two processes may differ, in seconds.
const MAX_CLOCK_DIFFERENCE: i64 = 60;
/// The longest address to which a login leads back. A longer one becomes the first page.
const MAX_TARGET_BYTES: usize = 2_000;

/// A login that has begun.
pub(crate) struct PendingLogin {
    /// The value of the cookie: a secret, when the login began, and where it leads.
    value: String,
    begun: i64,
    target: String,
}

impl PendingLogin {
    /// A login that begins at `now` and leads to `target`.
    pub(crate) fn new(target: &str, now: Timestamp) -> Option<Self> {
        let target = if target.len() > MAX_TARGET_BYTES { crate::ROOT } else { target };
        let begun = now.unix_micros() / 1_000_000;
        let value = format!("{}.{begun}.{}", random_word()?, URL_SAFE_NO_PAD.encode(target));
        Some(Self { value, begun, target: target.to_owned() })
    }

    /// The login that the browser has kept; `None` if the cookie has another form.
    pub(crate) fn parse(cookie: &str) -> Option<Self> {
        let (secret, rest) = cookie.split_once('.')?;
        let (begun, target) = rest.split_once('.')?;
        if !is_word(secret) {
            return None;
        }
        let target = String::from_utf8(URL_SAFE_NO_PAD.decode(target).ok()?).ok()?;
        Some(Self { value: cookie.to_owned(), begun: begun.parse().ok()?, target })
    }

    /// The value of the cookie.
    pub(crate) fn cookie(&self) -> &str {
        &self.value
    }

    /// The address to which the login leads. The cookie is not signed: the address has to be checked.
    pub(crate) fn target(&self) -> &str {
        &self.target
    }

    /// Whether the login took too long.
    pub(crate) fn is_over(&self, now: Timestamp) -> bool {
        let age = now.unix_micros() / 1_000_000 - self.begun;
        // Another process, whose clock is a little behind, may receive the answer.
        !(-MAX_CLOCK_DIFFERENCE..i64::from(SECONDS)).contains(&age)
    }

    /// What the provider receives.
    pub(crate) fn request(&self) -> LoginRequest {
        let word = |purpose| URL_SAFE_NO_PAD.encode(hash(purpose, &self.value));
        LoginRequest { state: word("state"), nonce: word("nonce"), verifier: word("verifier") }
    }

    /// Whether the provider's answer is the one to this login.
    pub(crate) fn is_answered_by(&self, state: &str) -> bool {
        same(state, &self.request().state)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_belongs_to_the_browser_and_the_target_of_its_login() {
        let now = Timestamp::parse("2026-11-01T00:00:00Z").unwrap();
        let login = PendingLogin::new("/console/ledger?action=ü", now).unwrap();
        let kept = PendingLogin::parse(login.cookie()).unwrap();
        assert_eq!(kept.target(), "/console/ledger?action=ü");
        let request = login.request();
        assert!(kept.is_answered_by(&request.state));
        assert!(request.state != request.nonce && request.nonce != request.verifier);
        assert!(request.verifier.len() == 43 && is_word(&request.verifier), "as RFC 7636 wants it");
        let other = PendingLogin::new("/console/ledger?action=ü", now).unwrap();
        assert!(!other.is_answered_by(&request.state) && !kept.is_answered_by(""));
        let (secret, _) = login.cookie().split_once('.').unwrap();
        let begun = now.unix_micros() / 1_000_000;
        let elsewhere = format!("{secret}.{begun}.{}", URL_SAFE_NO_PAD.encode("/console"));
        assert!(!PendingLogin::parse(&elsewhere).unwrap().is_answered_by(&request.state), "another target");
        for (seconds, over) in [(0, false), (599, false), (600, true), (-60, false), (-61, true)] {
            assert_eq!(kept.is_over(now.plus_seconds(seconds)), over, "{seconds}");
        }
        for cookie in
            ["", "x", "a.b.c", &format!("{secret}.x.{}", URL_SAFE_NO_PAD.encode("/")), &format!("{secret}.1.*")]
        {
            assert!(PendingLogin::parse(cookie).is_none(), "{cookie}");
        }
        let long = format!("/console?{}", "x".repeat(3000));
        assert_eq!(PendingLogin::new(&long, now).unwrap().target(), "/console");
    }
}
