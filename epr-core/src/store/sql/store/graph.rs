//! The whole registry, and what has changed in it.

use async_trait::async_trait;

use super::super::graph;
use super::SqlStore;
use crate::store::{
    GraphChange, GraphChanges, GraphCompared, GraphKey, GraphPosition, GraphRow, GraphStore, Result, RowVisitor,
};

#[async_trait]
impl GraphStore for SqlStore {
    async fn read_graph(&self, visit: RowVisitor<'_, GraphRow>) -> Result<GraphPosition> {
        let known = self.continuity.newest_change();
        let _permit = self.limits.scan().await?;
        let (position, decisive) = graph::read(&self.read, known.as_ref(), visit).await?;
        self.continuity.record(&decisive);
        Ok(position)
    }

    async fn graph_changes(&self, since: &GraphPosition) -> Result<Option<GraphChanges>> {
        let known = self.continuity.newest_change();
        let read = async |conn: &mut _| graph::changes(conn, since, known.as_ref()).await;
        let (changes, decisive) = self.snapshot(read).await?;
        self.continuity.record(&decisive);
        Ok(changes)
    }

    async fn show_unchanged_rows(
        &self,
        since: &GraphPosition,
        keys: Vec<GraphKey>,
        visit: RowVisitor<'_, GraphChange>,
    ) -> Result<Option<bool>> {
        let known = self.continuity.newest_change();
        let read = async |conn: &mut _| graph::show_unchanged(conn, since, keys, known.as_ref(), visit).await;
        let (shown, decisive) = self.snapshot(read).await?;
        self.continuity.record(&decisive);
        Ok(shown)
    }

    async fn compare_graph(&self, since: &GraphPosition, visit: RowVisitor<'_, GraphCompared>) -> Result<Option<bool>> {
        let known = self.continuity.newest_change();
        let _permit = self.limits.scan().await?;
        let (shown, decisive) = graph::compare(&self.read, since, known.as_ref(), visit).await?;
        self.continuity.record(&decisive);
        Ok(shown)
    }

    async fn purge_changed_rows(&self) -> Result<()> {
        self.change(async |conn| graph::purge_foreign(conn).await).await?;
        while self.change(async |conn| graph::purge(conn).await).await? {}
        Ok(())
    }
}
