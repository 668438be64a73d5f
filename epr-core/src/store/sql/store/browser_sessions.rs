//! Sessions of browsers in the console.

use async_trait::async_trait;

use super::super::browser_sessions;
use super::SqlStore;
use crate::domain::Timestamp;
use crate::domain::browser_session::{BrowserSession, Sha256};
use crate::store::{BrowserSessionStore, Result};

#[async_trait]
impl BrowserSessionStore for SqlStore {
    async fn begin_browser_session(&self, session: &BrowserSession, most: u32) -> Result<()> {
        self.change(async |conn| browser_sessions::begin(conn, session, most).await).await
    }

    async fn browser_session(&self, key: &Sha256) -> Result<Option<BrowserSession>> {
        self.read(async |conn| browser_sessions::get(conn, key).await).await
    }

    async fn mark_browser_session_used(&self, key: &Sha256, now: Timestamp) -> Result<()> {
        self.write(async |conn| browser_sessions::mark_used(conn, key, now).await).await
    }

    async fn end_browser_session(&self, key: &Sha256) -> Result<()> {
        self.write(async |conn| browser_sessions::end(conn, key).await).await
    }

    async fn end_browser_sessions_of(&self, caller: &Sha256) -> Result<u64> {
        self.write(async |conn| browser_sessions::end_of(conn, caller).await).await
    }

    async fn remove_idle_browser_sessions(&self, now: Timestamp, most: u32) -> Result<u64> {
        // Looked for first: a transaction that writes excludes all others on SQLite.
        if !self.read(async |conn| browser_sessions::has_idle(conn, now).await).await? {
            return Ok(0);
        }
        self.change(async |conn| browser_sessions::remove_idle(conn, now, most).await).await
    }
}
