//! The ledger: appending entries, reading them, and the messages that did not become entries.

use async_trait::async_trait;

use super::{Result, RowVisitor};
use crate::domain::audit::{KeptRejection, LastVerification, Rejection};
use crate::domain::{AuditEntry, AuditFilter, AuditPage, Timestamp};
use crate::ledger::chain::{Draft, Head, HexHash};
use crate::ledger::verify::{StoredEntry, UnreadableRow};

/// Appends to the ledger and reads from it.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// Appends `drafts` in their order, all or none, in one transaction. Returns one outcome a draft.
    ///
    /// INVARIANT: duplicates are found under the ledger's lock and before hashing, so that the sequence has no gap. On
    /// a broken connection the outcome is unknown; drafts with an `event_id` are safe to repeat.
    ///
    /// Example: appending the same event with an `event_id` twice returns `Recorded { sequence: 1 }`, then `Duplicate {
    /// sequence: 1 }`. A decision whose facts are older than the newest registry change returns `Outdated`.
    async fn append(&self, drafts: &[Draft]) -> Result<Vec<Appended>>;

    /// Lists entries that match `filter`, in batches, in the order of their sequence.
    ///
    /// Example: `AuditPage { ascending: true, after: Some(5), limit: 2 }` visits the entries 6 and 7.
    async fn audit_entries(
        &self,
        filter: &AuditFilter,
        page: AuditPage,
        visit: RowVisitor<'_, AuditEntry>,
    ) -> Result<()>;

    /// Scans the entries of `range` in the order of their sequence, in one snapshot and constant memory.
    ///
    /// Rows beyond the head, without a sequence, or unreadable are reported rather than skipped: a verifier has to see
    /// them. Entries that were dropped are reported by their hashes, in their place.
    ///
    /// Example: `ScanRange { from: 3, to: 4 }` begins with the hash of entry 2 as `anchor`, then visits 3 and 4.
    async fn scan_ledger(&self, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()>;

    /// Stores messages that did not become entries. A message that was stored before gets the new reason and one more
    /// `times_seen`.
    ///
    /// Example: storing `m1` twice leaves one row with `times_seen: 2` and the first `first_seen_at`.
    async fn keep_rejections(&self, rejections: &[Rejection], now: Timestamp) -> Result<()>;

    /// Returns at most `limit` stored messages, newest first; only those with an id below `before`, if given.
    ///
    /// Example: `rejections(10, Some(5))` returns the ids 4, 3, 2, 1.
    async fn rejections(&self, limit: u32, before: Option<i64>) -> Result<Vec<KeptRejection>>;

    /// Stores the result of a verification in place of the former one.
    ///
    /// Example: after two of them, [`last_verification`](Self::last_verification) returns the second.
    async fn keep_verification(&self, verification: &LastVerification) -> Result<()>;

    /// Returns the stored verification; `None` when the ledger was never verified.
    ///
    /// Example: `finding: None` when the chain held.
    async fn last_verification(&self) -> Result<Option<LastVerification>>;
}

/// The outcome of appending one draft.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// The draft is in the ledger now.
    Recorded {
        /// The sequence of the entry.
        sequence: i64,
        /// The hash of the entry before it.
        previous_hash: HexHash,
        /// The hash of the entry.
        entry_hash: HexHash,
    },
    /// The ledger has this event with this key already. Nothing was appended.
    Duplicate {
        /// The sequence of the entry recorded before.
        sequence: i64,
    },
    /// Another event with the same key was recorded before. Nothing was appended.
    Conflict {
        /// The sequence of the other entry.
        sequence: i64,
    },
    /// The facts of the decision are older than the newest registry change. Nothing was appended.
    Outdated,
}

/// The entries to scan, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanRange {
    /// The first sequence, from 1.
    pub from: i64,
    /// The last sequence; `i64::MAX` scans to the end of the ledger.
    pub to: i64,
}

impl ScanRange {
    /// The whole ledger.
    pub const ALL: Self = Self { from: 1, to: i64::MAX };

    /// Returns the last sequence when the range names one; `None` when it extends to the end of the ledger.
    #[must_use]
    pub fn end(self) -> Option<i64> {
        (self.to < i64::MAX).then_some(self.to)
    }
}

/// The facts that are known before a scan reads its first entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanStart {
    /// The hash stored with the entry just before the range, if that entry exists.
    pub anchor: Option<String>,
    /// The head of the chain as stored.
    pub head: Option<Head>,
    /// The highest sequence in the table; 0 when it is empty.
    pub last: i64,
    /// Whether the table has rows without a sequence.
    pub unplaced: bool,
    /// The border up to which entries may have been dropped; 0 if none ever was.
    pub border: i64,
    /// The last entry that may have numbers in the form of an earlier version ([`crate::ledger::number`]).
    pub former_numbers_up_to: i64,
}

/// Receives the entries of a scan.
pub trait LedgerVisitor: Send {
    /// The scan begins; `false` ends it at once.
    fn begin(&mut self, start: ScanStart) -> bool;

    /// The next row; `false` ends the scan.
    fn entry(&mut self, row: std::result::Result<StoredEntry<'_>, UnreadableRow>) -> bool;

    /// The next entry, which was dropped: the database has only its hash, in hex. `false` ends the scan.
    fn dropped(&mut self, sequence: i64, entry_hash: &str) -> bool;
}
