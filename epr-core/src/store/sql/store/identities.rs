//! Reading for batches, by ids and by the names of other systems.

use async_trait::async_trait;

use super::super::identities;
use super::SqlStore;
use super::facts::ReadRetry;
use crate::store::{
    Appended, BatchQuestion, DraftIdentifiedDecision, ExternalName, IdentifiedFactsRead, IdentitiesRead, IdentityStore,
    Result,
};

impl SqlStore {
    async fn read_identities(&self, principals: &[ExternalName], entities: &[ExternalName]) -> Result<IdentitiesRead> {
        // Before the statement: what it sees is not older.
        let known = self.continuity.newest_change();
        let read = async |conn: &mut _| identities::read(conn, principals, entities, known.as_ref()).await;
        let ((principals, entities), accepted) = self.read(read).await?;
        self.continuity.record(&accepted.decisive);
        Ok(IdentitiesRead { principals, entities, read_at: accepted.read_at() })
    }

    async fn read_identified_facts(&self, questions: &[BatchQuestion]) -> Result<IdentifiedFactsRead> {
        let _permit = self.limits.batch().await?;
        let known = self.continuity.newest_change();
        let read = async |conn: &mut _| identities::facts(conn, questions, known.as_ref()).await;
        let (facts, accepted) = self.probes(read).await?;
        self.continuity.record(&accepted.decisive);
        Ok(IdentifiedFactsRead { facts, read_at: accepted.read_at() })
    }
}

#[async_trait]
impl IdentityStore for SqlStore {
    async fn identities(&self, principals: &[ExternalName], entities: &[ExternalName]) -> Result<IdentitiesRead> {
        let mut retry = ReadRetry::begin();
        loop {
            match self.read_identities(principals, entities).await {
                Err(error) if retry.is_due(&error) => {}
                outcome => return outcome,
            }
        }
    }

    async fn identified_facts(&self, questions: &[BatchQuestion]) -> Result<IdentifiedFactsRead> {
        let mut retry = ReadRetry::begin();
        loop {
            match self.read_identified_facts(questions).await {
                Err(error) if retry.is_due(&error) => {}
                outcome => return outcome,
            }
        }
    }

    async fn ledger_name_key(&self, proposed: &[u8; 32]) -> Result<[u8; 32]> {
        if let Some(key) = self.read(async |conn| identities::ledger_name_key(conn).await).await? {
            return Ok(key);
        }
        self.change(async |conn| identities::store_ledger_name_key(conn, proposed).await).await
    }

    async fn append_identified_decisions(
        &self,
        questions: &[BatchQuestion],
        draft: DraftIdentifiedDecision<'_>,
    ) -> Result<Vec<Option<Appended>>> {
        let mut tx = self.session(self.transaction().await?);
        let appended = tx.append_identified_decisions(questions, draft).await?;
        tx.finish().await?;
        Ok(appended)
    }
}
