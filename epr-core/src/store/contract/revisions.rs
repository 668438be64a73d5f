//! Revisions: the incarnation of the ledger, and how far it and the registry have come.

use async_trait::async_trait;

use super::{Result, RowVisitor, StoredCheckpoint};
use crate::domain::{Change, Incarnation, Revision, Timestamp};
use crate::ledger::chain::Head;

/// How far a database has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RegistryState {
    /// The newest entry that changed the registry.
    pub revision: Revision,
    /// The sequence of the head of the ledger. Every revision of the incarnation up to it has been reached.
    pub head: i64,
}

/// An incarnation of the ledger, as the database has recorded it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordedIncarnation {
    /// The incarnation.
    pub incarnation: Incarnation,
    /// When it began.
    pub started_at: Timestamp,
    /// The first entry whose revision names it.
    pub first_sequence: i64,
    /// What began it: `migration`, `takeover` or `reincarnate`.
    pub why: String,
}

/// The incarnation that ended, with the head of the ledger at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerIncarnation {
    /// The incarnation.
    pub incarnation: Incarnation,
    /// The last entry of the ledger under it.
    pub head: Head,
    /// Its last checkpoint in this database.
    pub checkpoint: Option<StoredCheckpoint>,
}

/// Reads of revisions.
#[async_trait]
pub trait RevisionStore: Send + Sync {
    /// Returns how far the database has come, in one snapshot. A read that begins afterwards sees at least this state.
    ///
    /// INVARIANT: never from a server whose facts would be refused ([`FactsStore::facts`](super::FactsStore::facts)).
    ///
    /// Example: after the entries `entity.create` and `authorization.evaluate`, the sequence of `revision` is 1 and
    /// `head` is 2.
    async fn registry_state(&self) -> Result<RegistryState>;

    /// Returns the newest revision that this process has read or committed, without asking the database; `None` before
    /// the first. Every read of facts that begins afterwards sees at least this state.
    ///
    /// Example: after a transaction that appended `entity.create` as entry 7 has committed, a revision with sequence 7.
    fn newest_revision(&self) -> Option<Revision>;

    /// Shows the entries that changed the registry after a revision to `visit`, oldest first, at most `limit`, until it
    /// says `false`; all of the ledger without a revision. Returns the state of the registry in the same snapshot: a
    /// reader that has taken every entry up to it goes on from there.
    ///
    /// INVARIANT: an entry that commits later comes after every entry that was shown.
    ///
    /// # Errors
    /// `NotAskable` for a revision of another incarnation, or one that the ledger has not reached.
    ///
    /// Example: after the entries 1 `entity.create`, 2 `authorization.evaluate` and 3 `entity.update`, and the revision
    /// of entry 1: entry 3, and a state with sequence 3.
    async fn changes(&self, after: Option<Revision>, limit: u32, visit: RowVisitor<'_, Change>) -> Result<Revision>;

    /// Returns every incarnation that the ledger has had, the oldest first. The last one is the present one.
    ///
    /// Example: on a new database, one that began with the `migration`.
    async fn incarnations(&self) -> Result<Vec<RecordedIncarnation>>;
}
