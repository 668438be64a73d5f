//! Candidates of lists of resources.

use async_trait::async_trait;

use super::super::access::{resources, subtrees};
use super::SqlStore;
use crate::store::{
    AccessEnd, AccessResourceStore, AccessVisitor, ResourceCandidate, ResourcesEnd, ResourcesPage, ResourcesQuery,
    Result, SubtreePosition, SubtreeVisitor,
};

#[async_trait]
impl AccessResourceStore for SqlStore {
    async fn resource_candidates(
        &self,
        query: &ResourcesQuery<'_>,
        page: ResourcesPage,
        visitor: &mut dyn AccessVisitor<ResourceCandidate>,
    ) -> Result<Option<ResourcesEnd>> {
        let known = self.continuity.newest_change();
        let visit = async |conn: &mut _| resources::visit(conn, query, page, known.as_ref(), visitor).await;
        let (end, accepted) = self.list_snapshot(visit).await?;
        self.continuity.record(&accepted.decisive);
        Ok(end)
    }

    async fn subtrees(
        &self,
        query: &ResourcesQuery<'_>,
        after: Option<SubtreePosition>,
        visitor: &mut dyn SubtreeVisitor,
    ) -> Result<Option<AccessEnd<SubtreePosition>>> {
        let known = self.continuity.newest_change();
        let visit = async |conn: &mut _| subtrees::visit(conn, query, after, known.as_ref(), visitor).await;
        let (end, accepted) = self.list_snapshot(visit).await?;
        self.continuity.record(&accepted.decisive);
        Ok(end)
    }
}
