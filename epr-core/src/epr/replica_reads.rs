//! Lists and exports that may come from a replica, each with the state that it needs. Each method delegates to its
//! handler, or to the store where there is nothing to decide.
//!
//! The lists return a position for the next page ([`crate::store::NeededState::position`]), if it is known: without a
//! replica there is none.

use std::time::Duration;

use super::Epr;
use crate::domain::{AuditEntry, AuditFilter, AuditPage, Change, Revision};
use crate::error::Result;
use crate::handlers::audit::{self, ExportedEntry};
use crate::handlers::ledger_reader::{self, EntriesListed};
use crate::history::RegistryRow;
use crate::store::{
    Cursor, NeededState, Page, ReadNeed, RegistryList, ReplicaReads, ReplicaState, RowVisitor, ScanRange,
};

/// Reads from a replica.
impl Epr {
    /// Passes at most `page.limit` rows of `list` at the present time to `take`, newest first, until it returns
    /// `false`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn show_list(
        &self,
        need: ReadNeed,
        list: RegistryList<'_>,
        page: Page,
        take: RowVisitor<'_, RegistryRow>,
    ) -> Result<Option<i64>> {
        Ok(self.store().registry_list(need, list, self.now(), page, take).await?)
    }

    /// The last row of `list`, from its beginning, that fits into about `bytes` of JSON; `None` when all of them fit.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn list_end(&self, need: ReadNeed, list: RegistryList<'_>, bytes: i64) -> Result<Option<Cursor>> {
        Ok(self.store().registry_list_end(need, list, self.now(), bytes).await?)
    }

    /// Lists entries of the ledger, perhaps from a replica. A list by sequence alone has every entry: those that were
    /// dropped come from the archive. A list with other filters has the entries of the database, and says so.
    ///
    /// # Errors
    /// The database is unavailable, or entries were dropped and their archive is not known or cannot be read.
    pub async fn list_audit_entries(
        &self,
        need: ReadNeed,
        filter: &AuditFilter,
        page: AuditPage,
        take: RowVisitor<'_, AuditEntry>,
    ) -> Result<EntriesListed> {
        ledger_reader::list(&self.engines, need, filter, page, take).await
    }

    /// Lists entries of the ledger as [`Epr::list_audit_entries`] does, from the primary.
    ///
    /// # Errors
    /// The database is unavailable, or entries were dropped and their archive is not known or cannot be read.
    pub async fn show_audit_entries(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
        take: RowVisitor<'_, AuditEntry>,
    ) -> Result<EntriesListed> {
        ledger_reader::list(&self.engines, ReadNeed::Primary, filter, page, take).await
    }

    /// [`Epr::export_ledger`], perhaps from a replica: a range without an end ends with the last entry that the server
    /// has which answers.
    ///
    /// # Errors
    /// The database is unavailable, or a row cannot be read.
    pub async fn copy_ledger(
        &self,
        range: ScanRange,
        take: &mut (dyn FnMut(ExportedEntry<'_>) -> bool + Send),
    ) -> Result<()> {
        let need = ReadNeed::State(NeededState { revision: None, position: range.end().unwrap_or(0) });
        audit::export_from(&self.engines, need, range, take).await
    }

    /// [`Epr::changes`] with the state that it needs besides what this process knows: it is never older than that.
    ///
    /// # Errors
    /// Those of [`Epr::changes`].
    pub async fn changes_since(
        &self,
        need: ReadNeed,
        after: Option<Revision>,
        limit: u32,
        take: RowVisitor<'_, Change>,
    ) -> Result<Revision> {
        let need = [after, self.engines.changes.newest()].into_iter().flatten().fold(need, ReadNeed::with_revision);
        let registry = self.store().change_list(need, after, limit, take).await?;
        self.engines.changes.reached(registry);
        Ok(registry)
    }

    /// How many reads the replica and the primary have answered, and why; none without a replica.
    #[must_use]
    pub fn replica_reads(&self) -> Vec<ReplicaReads> {
        self.store().replica_reads()
    }

    /// The replica at this moment: the state that its answers would rest on, or why the primary answers, which is
    /// [`PrimaryReason::Unavailable`](crate::store::PrimaryReason) when neither is known within `limit`. `None` when
    /// there is no replica.
    pub async fn replica_state(&self, limit: Duration) -> Option<ReplicaState> {
        self.store().replica_state(limit).await
    }

    /// Opens a connection of its own to the replica, to learn why none can be opened.
    ///
    /// # Errors
    /// The reason.
    pub async fn reach_replica(&self) -> Result<()> {
        Ok(self.store().probe_replica().await?)
    }
}
