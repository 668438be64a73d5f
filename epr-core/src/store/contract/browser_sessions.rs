//! Sessions of browsers in the console, which every process of a deployment knows.

use async_trait::async_trait;

use super::Result;
use crate::domain::Timestamp;
use crate::domain::browser_session::{BrowserSession, Sha256};

/// Sessions of browsers.
#[async_trait]
pub trait BrowserSessionStore: Send + Sync {
    /// Adds a session. If its caller has more than `most` sessions then, those that have been unused for longest are
    /// removed.
    ///
    /// Example: with `most` 2, the third session of a caller removes one of the two others, and none of another caller.
    async fn begin_browser_session(&self, session: &BrowserSession, most: u32) -> Result<()>;

    /// Returns the session with this key, whether its time is over or not.
    ///
    /// Example: `None` for a session that another process has ended.
    async fn browser_session(&self, key: &Sha256) -> Result<Option<BrowserSession>>;

    /// Records that a session was used at `now`. Changes nothing if it was used later already, or is gone.
    ///
    /// Example: a session that is ended while one of its pages is being served does not come back.
    async fn mark_browser_session_used(&self, key: &Sha256, now: Timestamp) -> Result<()>;

    /// Removes a session.
    ///
    /// Example: of a caller's two sessions the other one stays.
    async fn end_browser_session(&self, key: &Sha256) -> Result<()>;

    /// Removes every session of a caller, and returns their number.
    ///
    /// Example: 2 for a caller that has logged in with two browsers, whichever processes served them.
    async fn end_browser_sessions_of(&self, caller: &Sha256) -> Result<u64>;

    /// Removes sessions that have ended by idleness at `now`, at most `most` and the oldest first, and returns their
    /// number. Does not wait for others that remove them.
    ///
    /// Example: of 5 sessions of which 3 have been unused for an hour, with `most` 2 two are removed; the next call
    /// removes one.
    async fn remove_idle_browser_sessions(&self, now: Timestamp, most: u32) -> Result<u64>;
}
