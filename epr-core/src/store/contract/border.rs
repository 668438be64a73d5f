//! The border of the ledger: up to it, entries that are archived may have been dropped.

use async_trait::async_trait;

use super::Result;
use crate::domain::{Incarnation, Timestamp};
use crate::ledger::merkle::Hash;

/// The border of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerBorder {
    /// The last entry of the range from which entries were dropped. All later entries are in the database.
    pub sequence: i64,
    /// The archive that has every entry up to the border.
    pub archive: String,
    /// The incarnation whose folder in the archive has them.
    pub incarnation: Incarnation,
    /// The time of the last drop.
    pub dropped_at: Timestamp,
}

/// Consecutive entries to drop.
#[derive(Debug, Clone, Copy)]
pub struct DropStep<'a> {
    /// The border so far: the first entry is the next one.
    pub after: i64,
    /// The hashes of the entries in the archive, in their order.
    pub archived: &'a [Hash],
    /// The place of the archive.
    pub archive: &'a str,
    /// The folder of the archive.
    pub incarnation: Incarnation,
    /// The time.
    pub now: Timestamp,
}

/// The outcome of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepDropped {
    /// This many entries were dropped; the others of the range are about the registry and stay.
    Dropped(u64),
    /// Another process has moved the border, to this entry. Nothing was changed.
    Moved(i64),
    /// The database has no entry with this sequence, or another one than the archive. The transaction must be dropped.
    Differs(i64),
}

/// Reads the border.
#[async_trait]
pub trait BorderStore: Send + Sync {
    /// Returns the border; `None` before the first drop.
    ///
    /// Example: `None` on a ledger of which nothing was ever dropped.
    async fn ledger_border(&self) -> Result<Option<LedgerBorder>>;

    /// Returns the privileges that the database user lacks for [`BorderTx::drop_entries`]; none where the database has
    /// no users.
    ///
    /// Example: `["DELETE on audit_logs"]`.
    async fn missing_drop_privileges(&self) -> Result<Vec<String>>;
}

/// Moves the border.
#[async_trait]
pub trait BorderTx: Send {
    /// Moves the border over the entries of `step` and deletes those that the registry does not need, keeping their
    /// hashes, and of entries with an `event_id` what recognises a repeated event. From the first call on, a program
    /// that does not know the border cannot start on this database.
    ///
    /// INVARIANT: nothing is deleted unless the database has every entry of the range with the hash in the archive.
    /// Only one transaction moves the border at a time.
    ///
    /// Example: a second call with the same `after` returns `Moved`.
    async fn drop_entries(&mut self, step: &DropStep<'_>) -> Result<StepDropped>;
}
