//! The incarnation of the ledger, and how far it and the registry have come.

use async_trait::async_trait;

use super::super::revisions;
use super::SqlStore;
use crate::store::{RecordedIncarnation, RegistryState, Result, RevisionStore};

#[async_trait]
impl RevisionStore for SqlStore {
    async fn registry_state(&self) -> Result<RegistryState> {
        let known = self.continuity.newest_change();
        let (accepted, head) = self.read(async |conn| revisions::read(conn, known.as_ref()).await).await?;
        self.continuity.record(&accepted.decisive);
        Ok(RegistryState { revision: accepted.revision, head })
    }

    async fn incarnations(&self) -> Result<Vec<RecordedIncarnation>> {
        self.read(async |conn| revisions::incarnations(conn).await).await
    }
}
