//! The change feed: what has changed in the registry, in the order of the ledger.

use super::Epr;
use crate::call::Call;
use crate::domain::{Change, Revision, StatedReason};
use crate::error::Result;
use crate::handlers::reincarnation::{self, Reincarnated};
use crate::store::RowVisitor;

/// The change feed.
impl Epr {
    /// Shows the ledger entries that changed the registry after a revision to `take`, oldest first and at most `limit`,
    /// until it returns `false`; from the first entry on without a revision. Returns the revision of the registry at
    /// this moment: a reader that took every entry up to it goes on after it.
    ///
    /// A reader that always goes on after the last entry that it took gets each entry once, in the order of the
    /// commits, whichever processes it asks.
    ///
    /// # Errors
    /// `Conflict` when the revision is of another incarnation of the ledger; `Refused` when the ledger has not reached
    /// it; `Busy` when too many lists are being read.
    pub async fn changes(&self, after: Option<Revision>, limit: u32, take: RowVisitor<'_, Change>) -> Result<Revision> {
        let registry = self.store().changes(after, limit, take).await?;
        self.engines.changes.reached(registry);
        Ok(registry)
    }

    /// Waits until the registry has changed after `seen`, for a read by [`Epr::changes`]. Changes of this process and,
    /// with a cache, of others are known at once; those of others within a second otherwise. May return without a
    /// change.
    pub async fn changed_since(&self, seen: Revision) {
        self.engines.changes.beyond(self.store(), seen).await;
    }

    /// Begins a new incarnation of the ledger, after the database was restored from a backup: changes that came after
    /// the backup are gone, and their sequences will name other ones. Revisions and page tokens of the former
    /// incarnation are refused from then on, in every process, and every cached decision is invalid. The entry
    /// `ledger.reincarnate` says why.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn reincarnate(&self, call: &Call, why: &StatedReason) -> Result<Reincarnated> {
        reincarnation::reincarnate(&self.engines, call, why).await
    }
}
