//! The change feed.

use async_trait::async_trait;

use super::super::dialect::changes;
use super::super::invalidations;
use super::SqlStore;
use crate::store::{ChangeFeed, FeedEvent, Result};

#[async_trait]
impl ChangeFeed for SqlStore {
    async fn follow_changes(&self, report: &(dyn Fn(FeedEvent) + Send + Sync)) {
        changes::follow(&self.read, &self.target, report).await;
    }

    async fn mark_applied(&self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() { Ok(()) } else { self.write(async |conn| invalidations::delete(conn, ids).await).await }
    }

    async fn purge_invalidations(&self) -> Result<u64> {
        self.write(async |conn| invalidations::purge(conn).await).await
    }
}
