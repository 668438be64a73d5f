//! The takeover of an older implementation's tables, and the way back.

use async_trait::async_trait;

use super::super::schema;
use super::super::takeover::hand_back;
use super::SqlStore;
use crate::store::{Result, RowVisitor, SinceTakeover, TableRow, TakeoverReport, TakeoverStore};

#[async_trait]
impl TakeoverStore for SqlStore {
    async fn plan_takeover(&self) -> Result<Option<TakeoverReport>> {
        schema::plan_takeover(&self.write, &self.target).await
    }

    async fn since_takeover(&self) -> Result<Option<SinceTakeover>> {
        hand_back::since_takeover(&mut *self.reader().await?).await
    }

    async fn scan_since_takeover(&self, visit: RowVisitor<'_, TableRow>) -> Result<()> {
        let _permit = self.limits.scan().await?;
        hand_back::scan(&self.read, visit).await
    }

    async fn hand_back(&self, seen: &SinceTakeover) -> Result<()> {
        hand_back::hand_back(&self.write, seen).await
    }
}
