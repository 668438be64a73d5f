//! Lists of access.

use async_trait::async_trait;

use super::super::access::{actions, keys, principals};
use super::SqlStore;
use crate::domain::Timestamp;
use crate::store::{
    AccessEnd, AccessStore, AccessVisitor, ActionCandidate, ActionsQuery, ListKey, PrincipalCandidate, PrincipalKey,
    PrincipalsQuery, Result,
};

#[async_trait]
impl AccessStore for SqlStore {
    async fn principal_candidates(
        &self,
        query: &PrincipalsQuery<'_>,
        visitor: &mut dyn AccessVisitor<PrincipalCandidate>,
    ) -> Result<Option<AccessEnd<PrincipalKey>>> {
        let known = self.continuity.newest_change();
        let visit = async |conn: &mut _| principals::visit(conn, query, known.as_ref(), visitor).await;
        let (end, accepted) = self.list_snapshot(visit).await?;
        self.continuity.record(&accepted.decisive);
        Ok(end)
    }

    async fn action_candidates(
        &self,
        query: &ActionsQuery<'_>,
        visitor: &mut dyn AccessVisitor<ActionCandidate>,
    ) -> Result<Option<AccessEnd<String>>> {
        let known = self.continuity.newest_change();
        let visit = async |conn: &mut _| actions::visit(conn, query, known.as_ref(), visitor).await;
        let (end, accepted) = self.list_snapshot(visit).await?;
        self.continuity.record(&accepted.decisive);
        Ok(end)
    }

    async fn list_keys(&self) -> Result<Vec<ListKey>> {
        self.read(async |conn| keys::list(conn).await).await
    }

    async fn rotate_list_key(
        &self,
        key: &[u8; 32],
        now: Timestamp,
        unless_after: Timestamp,
        obsolete: Timestamp,
    ) -> Result<Vec<ListKey>> {
        self.change(async |conn| keys::rotate(conn, key, now, (unless_after, obsolete)).await).await
    }
}
