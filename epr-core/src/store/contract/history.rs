//! History: the versions of the registry's rows, and how they are completed from the ledger.

use async_trait::async_trait;

use super::{Result, RowVisitor};
use crate::decision::{Facts, NamedFacts, Question};
use crate::domain::{Moment, PastMoment, Revision, Timestamp};
use crate::history::reconcile::Joined;
use crate::history::verify::HistoryItem;
use crate::store::HistoryReport;

/// The tables of history. Appends write them: [`Draft::with_row`](crate::ledger::chain::Draft::with_row).
#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// Returns up to which entry history is complete, and from which on it can be asked.
    ///
    /// Example: on an empty database, `complete_to: 0` and `registry_sequence: 0`.
    async fn history_state(&self) -> Result<HistoryState>;

    /// Completes history from the ledger, in short transactions; changes of others go on meanwhile. The first time,
    /// rows that the ledger does not explain get a baseline: an entry with the whole row. [`migrate`] does the same.
    ///
    /// Example: after entries of a program that writes no history, `entries` counts them, and a second call returns an
    /// empty report.
    ///
    /// [`migrate`]: super::AdminStore::migrate
    async fn complete_history(&self) -> Result<HistoryReport>;

    /// Returns the state that `moment` names, and the facts of `question` in it; `None` when the resource did not
    /// exist. `now` is the present time: a later one is about the present registry.
    ///
    /// INVARIANT: never from an incomplete history, nor from a server whose facts would be refused
    /// ([`FactsStore::facts`](super::FactsStore::facts)).
    ///
    /// Example: after the entries 1 (`entity.create`) and 2 (`role_assignment.create`), the facts at revision 1 have no
    /// assignment.
    ///
    /// # Errors [`NotAskable`](crate::store::StoreError::NotAskable).
    async fn past_facts(
        &self,
        question: &Question,
        moment: Moment,
        now: Timestamp,
    ) -> Result<(PastMoment, Option<Facts>)>;

    /// [`past_facts`](Self::past_facts) with the names of that time, as
    /// [`named_facts`](super::FactsStore::named_facts) has those of the present.
    ///
    /// Example: an entity that was renamed by entry 3 has its former name at revision 2.
    ///
    /// # Errors [`NotAskable`](crate::store::StoreError::NotAskable).
    async fn past_named_facts(
        &self,
        question: &Question,
        moment: Moment,
        now: Timestamp,
    ) -> Result<(PastMoment, Option<NamedFacts>)>;

    /// Shows every row of the registry, joined with the entries about it in their order, to `visit` until it says
    /// `false`; also entries whose row the registry lacks. All of it is one snapshot, of the revision that is returned.
    ///
    /// Example: an entity with the entries `entity.create` and `entity.update` is shown twice, with the same row.
    async fn registry_and_ledger(&self, visit: RowVisitor<'_, Joined>) -> Result<Revision>;

    /// Shows every version of history, joined with the entry that made it, to `visit` until it says `false`, in the
    /// order of the rows and then of the entries: also entries without a version, and versions without an entry; then
    /// what does not fit in the tables that have no versions. All of it is one snapshot, of the state that is returned.
    ///
    /// Example: of an entity with the entries `entity.create` and `entity.update`, the two entries with a version each.
    async fn versions_and_ledger(&self, visit: RowVisitor<'_, HistoryItem>) -> Result<HistoryState>;

    /// Deletes history and recreates it from the ledger. Meanwhile the past cannot be asked.
    ///
    /// Example: the tables have the same rows as before, if the ledger explains the registry.
    async fn rebuild_history(&self) -> Result<HistoryReport>;
}

/// Up to which entry history is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryState {
    /// History has everything up to this registry entry.
    pub complete_to: i64,
    /// The first sequence whose state can be asked; 0: every one from the first entry on.
    pub began: i64,
    /// The newest entry that changed the registry.
    pub registry_sequence: i64,
    /// Whether the registry has been compared with history, so that every row that the ledger does not explain has its
    /// baseline.
    pub is_filled: bool,
}

impl HistoryState {
    /// Whether every revision from the first one on can be asked.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.is_filled && !self.is_behind()
    }

    /// Whether history lacks entries: a program that writes none has changed the registry, or history is being made.
    #[must_use]
    pub fn is_behind(&self) -> bool {
        self.complete_to < self.registry_sequence
    }
}
