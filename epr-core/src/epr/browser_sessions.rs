//! Sessions of browsers in the console, which decides what a session may see: it verifies the session's credential.

use super::Epr;
use crate::domain::browser_session::{BrowserSession, MAX_PER_CALLER, Sha256};
use crate::error::Result;

/// Sessions of browsers.
///
/// Each of these methods fails with `Unavailable` when the database does not answer.
impl Epr {
    /// Begins a session. If its caller has too many, the one that has been idle for longest ends.
    ///
    /// # Errors
    /// See above.
    pub async fn begin_browser_session(&self, session: &BrowserSession) -> Result<()> {
        Ok(self.store().begin_browser_session(session, MAX_PER_CALLER).await?)
    }

    /// The session with this key; `None` if there is none or it has ended.
    ///
    /// # Errors
    /// See above.
    pub async fn browser_session(&self, key: &Sha256) -> Result<Option<BrowserSession>> {
        let session = self.store().browser_session(key).await?;
        Ok(session.filter(|session| !session.is_over(self.now())))
    }

    /// Records that a session is being used.
    ///
    /// # Errors
    /// See above.
    pub async fn mark_browser_session_used(&self, key: &Sha256) -> Result<()> {
        Ok(self.store().mark_browser_session_used(key, self.now()).await?)
    }

    /// Ends a session.
    ///
    /// # Errors
    /// See above.
    pub async fn end_browser_session(&self, key: &Sha256) -> Result<()> {
        Ok(self.store().end_browser_session(key).await?)
    }

    /// Ends every session of a caller; returns their number.
    ///
    /// # Errors
    /// See above.
    pub async fn end_browser_sessions_of(&self, caller: &Sha256) -> Result<u64> {
        Ok(self.store().end_browser_sessions_of(caller).await?)
    }
}
