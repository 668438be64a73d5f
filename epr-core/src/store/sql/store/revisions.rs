//! The incarnation of the ledger, and how far it and the registry have come.

use async_trait::async_trait;

use super::super::{changes, revisions};
use super::SqlStore;
use super::facts::ReadRetry;
use crate::domain::{Change, Revision};
use crate::store::{RecordedIncarnation, RegistryState, Result, RevisionStore, RowVisitor};

impl SqlStore {
    async fn read_state(&self) -> Result<RegistryState> {
        let known = self.continuity.newest_change();
        let (accepted, head) = self.read(async |conn| revisions::read(conn, known.as_ref()).await).await?;
        self.continuity.record_read(&accepted.decisive, accepted.revision);
        Ok(RegistryState { revision: accepted.revision, head })
    }
}

#[async_trait]
impl RevisionStore for SqlStore {
    async fn registry_state(&self) -> Result<RegistryState> {
        let mut retry = ReadRetry::begin();
        loop {
            match self.read_state().await {
                Err(error) if retry.is_due(&error) => {}
                outcome => return outcome,
            }
        }
    }

    fn newest_revision(&self) -> Option<Revision> {
        self.continuity.newest_revision()
    }

    async fn changes(&self, after: Option<Revision>, limit: u32, visit: RowVisitor<'_, Change>) -> Result<Revision> {
        let known = self.continuity.newest_change();
        let step = async |conn: &mut _| changes::visit(conn, known.as_ref(), (after, limit), visit).await;
        let accepted = self.page_snapshot(step).await?;
        self.continuity.record_read(&accepted.decisive, accepted.revision);
        Ok(accepted.revision)
    }

    async fn incarnations(&self) -> Result<Vec<RecordedIncarnation>> {
        self.read(async |conn| revisions::incarnations(conn).await).await
    }
}
