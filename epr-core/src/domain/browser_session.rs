//! Sessions of browsers in the console, as the database has them, and when they end.
//!
//! Must never hold the id of a session, which only the browser knows, or a credential that is not sealed.

use super::Timestamp;

/// The longest time between two uses of a session, in seconds.
pub const IDLE_SECONDS: i64 = 30 * 60;
/// The longest time from the beginning of a session to its last use, in seconds.
pub const ABSOLUTE_SECONDS: i64 = 8 * 60 * 60;
/// The most sessions of one caller. One more ends the session that has been idle for longest.
pub const MAX_PER_CALLER: u32 = 100;

/// A SHA-256.
pub type Sha256 = [u8; 32];

/// A session of a browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserSession {
    /// The SHA-256 of the session's id.
    pub key: Sha256,
    /// The SHA-256 of the caller that logged in: the same for all sessions of a caller.
    pub caller: Sha256,
    /// The credential of the caller, sealed under a key that only the session's id leads to.
    pub sealed_credential: Vec<u8>,
    /// When the caller logged in.
    pub begun_at: Timestamp,
    /// When the session was last used.
    pub used_at: Timestamp,
}

impl BrowserSession {
    /// Whether the session has ended at `now`.
    #[must_use]
    pub fn is_over(&self, now: Timestamp) -> bool {
        self.used_at <= idle_since(now) || self.begun_at.plus_seconds(ABSOLUTE_SECONDS) <= now
    }
}

/// The time at which sessions that have ended by idleness at `now` were last used, or earlier.
#[must_use]
pub fn idle_since(now: Timestamp) -> Timestamp {
    now.plus_seconds(-IDLE_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_ends_when_it_is_idle_and_after_its_longest_time() {
        let at = |seconds| Timestamp::parse("2026-11-01T00:00:00Z").unwrap().plus_seconds(seconds);
        let session = |used| BrowserSession {
            key: [1; 32],
            caller: [2; 32],
            sealed_credential: Vec::new(),
            begun_at: at(0),
            used_at: at(used),
        };
        assert!(!session(0).is_over(at(IDLE_SECONDS - 1)));
        assert!(session(0).is_over(at(IDLE_SECONDS)), "idle");
        assert!(!session(ABSOLUTE_SECONDS - 2).is_over(at(ABSOLUTE_SECONDS - 1)));
        assert!(session(ABSOLUTE_SECONDS - 2).is_over(at(ABSOLUTE_SECONDS)), "absolute");
    }
}
