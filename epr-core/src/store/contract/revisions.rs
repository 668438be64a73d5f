//! Revisions: the incarnation of the ledger, and how far it and the registry have come.

use async_trait::async_trait;

use super::Result;
use crate::domain::{Incarnation, Revision, Timestamp};

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

    /// Returns every incarnation that the ledger has had, the oldest first. The last one is the present one.
    ///
    /// Example: on a new database, one that began with the `migration`.
    async fn incarnations(&self) -> Result<Vec<RecordedIncarnation>>;
}
