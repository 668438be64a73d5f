//! Reads that may come from a replica: lists of the registry, of the ledger, of changes and of the past.
//!
//! Checks, explanations, reads by id, changes and everything that a change is based on come from the primary, by the
//! other traits. INVARIANT: an answer of a replica is one that the primary could have given at the state that the call
//! needs or later, and an error of a replica is no error of the call: then the primary answers, from where the replica
//! ended.

use std::time::Duration;

use async_trait::async_trait;

use super::{LedgerVisitor, RegistryList, Result, RowVisitor, ScanRange};
use crate::domain::{AuditEntry, AuditFilter, AuditPage, Change, Moment, PastMoment, Revision, Timestamp};
use crate::history::RegistryRow;
use crate::store::replica::{ReadNeed, ReplicaReads, ReplicaState};
use crate::store::{Cursor, Page};

/// The result of listing entries of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListedEntries {
    /// The position for the next page, if it is known.
    pub position: Option<i64>,
    /// The border of the ledger, read after the entries from the same server: an entry that is missing because it was
    /// dropped is not after it. 0 if no entry ever was.
    pub border: i64,
}

/// Reads that may come from a replica, each with the state that it needs.
///
/// The methods that return a position return the sequence of a ledger entry: a later page of the list needs this state
/// ([`NeededState::position`](crate::store::NeededState)). `None`: without a replica, or when it is not known.
#[async_trait]
pub trait ReplicaReadStore: Send + Sync {
    /// Lists rows of the registry as [`RegistryStore`](super::RegistryStore) and
    /// [`PrincipalStore`](super::PrincipalStore) do; `now` as there.
    ///
    /// Example: with `position: 7` in `need`, a replica that has replayed 6 entries does not answer.
    async fn registry_list(
        &self,
        need: ReadNeed,
        list: RegistryList<'_>,
        now: Timestamp,
        page: Page,
        visit: RowVisitor<'_, RegistryRow>,
    ) -> Result<Option<i64>>;

    /// Returns the last row of [`registry_list`](Self::registry_list) that fits into about `bytes` of JSON; `None` when
    /// the whole list fits.
    ///
    /// Example: with `i64::MAX`, `None`.
    async fn registry_list_end(
        &self,
        need: ReadNeed,
        list: RegistryList<'_>,
        now: Timestamp,
        bytes: i64,
    ) -> Result<Option<Cursor>>;

    /// Lists entries of the ledger as [`audit_entries`](super::LedgerStore::audit_entries) does.
    ///
    /// Example: an entry that a call has appended is in a list that needs its revision.
    async fn ledger_list(
        &self,
        need: ReadNeed,
        filter: &AuditFilter,
        page: AuditPage,
        visit: RowVisitor<'_, AuditEntry>,
    ) -> Result<ListedEntries>;

    /// Scans entries as [`scan_ledger`](super::LedgerStore::scan_ledger) does. When the replica ends the scan, the
    /// primary continues it after the last entry, up to the end that the replica had: entries never change.
    ///
    /// Example: `begin` is called once, whoever answers.
    async fn ledger_scan(&self, need: ReadNeed, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()>;

    /// Shows changes as [`changes`](super::RevisionStore::changes) does. Returns the state of the server that answered.
    ///
    /// Example: a replica that has not reached `after` does not answer.
    async fn change_list(
        &self,
        need: ReadNeed,
        after: Option<Revision>,
        limit: u32,
        visit: RowVisitor<'_, Change>,
    ) -> Result<Revision>;

    /// Lists rows of a past state as [`past_rows`](super::PastStore::past_rows) does. A replica answers for a time only
    /// if it has a later change: then nothing that it lacks can be of that time.
    ///
    /// Example: at a revision that the replica has replayed, the same rows on both.
    async fn past_list(
        &self,
        need: ReadNeed,
        list: RegistryList<'_>,
        moment: (Moment, Timestamp),
        page: Page,
        visit: RowVisitor<'_, RegistryRow>,
    ) -> Result<PastMoment>;

    /// Returns how many of these reads were answered where, and why; none without a replica.
    ///
    /// Example: `ReplicaReads { from: "primary", reason: "behind", count: 3 }`.
    fn replica_reads(&self) -> Vec<ReplicaReads>;

    /// Returns the state of the replica at this moment, if it can be known within `limit`; `None` when there is no
    /// replica.
    ///
    /// Example: `Some(Err(PrimaryReason::Unavailable))` while the replica is stopped.
    async fn replica_state(&self, limit: Duration) -> Option<ReplicaState>;

    /// Opens a connection to the replica outside its pool and closes it, to report why none can be opened.
    ///
    /// Example: on a port without a listener, `ConnectFailure { reason: "refused", .. }`.
    async fn probe_replica(&self) -> std::result::Result<(), crate::store::ConnectFailure>;
}
