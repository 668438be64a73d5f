//! Reads of past states of the registry.

use async_trait::async_trait;

use super::super::history;
use super::SqlStore;
use crate::domain::{Moment, PastMoment, Timestamp};
use crate::history::{RegistryRow, RowKey};
use crate::store::{Page, PastStore, RegistryList, Result, RowVisitor};

#[async_trait]
impl PastStore for SqlStore {
    async fn past_row(
        &self,
        key: &RowKey,
        moment: Moment,
        now: Timestamp,
    ) -> Result<(PastMoment, Option<RegistryRow>)> {
        let known = self.continuity.newest_change();
        let read = async |conn: &mut _| {
            let (past, accepted) = history::resolve(&mut *conn, known.as_ref(), moment, now).await?;
            Ok((past, history::row(conn, key, past.revision.sequence).await?, accepted))
        };
        let (past, row, accepted) = self.probes(read).await?;
        self.continuity.record(&accepted.decisive);
        Ok((past, row))
    }

    async fn past_rows(
        &self,
        list: RegistryList<'_>,
        (moment, now): (Moment, Timestamp),
        page: Page,
        visit: RowVisitor<'_, RegistryRow>,
    ) -> Result<PastMoment> {
        let known = self.continuity.newest_change();
        let _permit = self.limits.list().await?;
        let read = async |conn: &mut _| {
            let (past, accepted) = history::resolve(&mut *conn, known.as_ref(), moment, now).await?;
            history::rows(conn, list, past, page, visit).await?;
            Ok((past, accepted))
        };
        let (past, accepted) = self.snapshot(read).await?;
        self.continuity.record(&accepted.decisive);
        Ok(past)
    }
}
