//! Searches in the names of other systems.

use async_trait::async_trait;

use super::super::search;
use super::SqlStore;
use crate::store::{AccessEnd, Result, SearchQuery, SearchStore, SearchVisitor};

#[async_trait]
impl SearchStore for SqlStore {
    async fn search(&self, query: &SearchQuery<'_>, visitor: &mut dyn SearchVisitor) -> Result<AccessEnd<String>> {
        let known = self.continuity.newest_change();
        let visit = async |conn: &mut _| search::visit(conn, query, known.as_ref(), visitor).await;
        let (end, accepted) = self.list_snapshot(visit).await?;
        self.continuity.record(&accepted.decisive);
        Ok(end)
    }
}
