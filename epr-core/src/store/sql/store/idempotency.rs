//! Reading the first answers of creations, and removing old ones.

use async_trait::async_trait;

use super::super::idempotency;
use super::SqlStore;
use crate::domain::Timestamp;
use crate::domain::idempotency::{KeyState, KeyedRequest};
use crate::store::{IdempotencyStore, Result};

#[async_trait]
impl IdempotencyStore for SqlStore {
    async fn key_state(&self, request: &KeyedRequest, now: Timestamp) -> Result<KeyState> {
        self.read(async |conn| idempotency::state(conn, request, now).await).await
    }

    async fn remove_outdated_answers(&self, now: Timestamp, most: u32) -> Result<u64> {
        // Looked for first: a transaction that writes excludes all others on SQLite.
        if !self.read(async |conn| idempotency::has_outdated(conn, now).await).await? {
            return Ok(0);
        }
        self.change(async |conn| idempotency::remove_outdated(conn, now, most).await).await
    }
}
