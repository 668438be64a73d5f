//! Appending to the ledger and reading it.

use async_trait::async_trait;

use super::super::cached_head::append_after_cached_head;
use super::super::{ledger_page, ledger_scan, rejections, verification};
use super::SqlStore;
use crate::domain::audit::{KeptRejection, LastVerification, Rejection};
use crate::domain::{AuditEntry, AuditFilter, AuditPage, Timestamp};
use crate::ledger::chain::Draft;
use crate::store::{Appended, LedgerStore, LedgerVisitor, Result, RowVisitor, ScanRange};

impl SqlStore {
    /// Appends after the remembered head; `None` when that is not possible, and nothing was written then.
    async fn append_optimistically(&self, drafts: &[Draft]) -> Result<Option<Vec<Appended>>> {
        let Some(mut head) = self.head.take_for(drafts) else { return Ok(None) };
        let appended = self.write(async |conn| append_after_cached_head(conn, &mut head, drafts).await).await?;
        if appended.is_none() {
            self.head.note_failure();
            return Ok(None);
        }
        if let Some(entry) = &head.decisive {
            self.continuity.record(entry);
        }
        self.continuity.record_revision(head.revision);
        self.head.set(head);
        Ok(appended)
    }
}

#[async_trait]
impl LedgerStore for SqlStore {
    async fn append(&self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        if let Some(appended) = self.append_optimistically(drafts).await? {
            return Ok(appended);
        }
        let mut tx = self.session(self.transaction().await?);
        let appended = tx.append_drafts(drafts).await?;
        tx.finish().await?;
        Ok(appended)
    }

    async fn audit_entries(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
        visit: RowVisitor<'_, AuditEntry>,
    ) -> Result<()> {
        self.list(async |conn| ledger_page::list(conn, filter, page, visit).await).await
    }

    async fn scan_ledger(&self, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()> {
        let _permit = self.limits.scan().await?;
        ledger_scan::scan(&self.read, range, visitor).await
    }

    async fn keep_rejections(&self, kept: &[Rejection], now: Timestamp) -> Result<()> {
        self.change(async |conn| rejections::keep(conn, kept, now).await).await
    }

    async fn rejections(&self, limit: u32, before: Option<i64>) -> Result<Vec<KeptRejection>> {
        self.list(async |conn| rejections::list(conn, limit, before).await).await
    }

    async fn keep_verification(&self, kept: &LastVerification) -> Result<()> {
        self.change(async |conn| verification::keep(conn, kept).await).await
    }

    async fn last_verification(&self) -> Result<Option<LastVerification>> {
        self.read(async |conn| verification::last(conn).await).await
    }
}
