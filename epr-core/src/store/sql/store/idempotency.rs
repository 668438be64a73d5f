//! Reading the first answers of creations.

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
}
