//! The takeover of an older implementation's tables, and the way back.

use async_trait::async_trait;

use super::{Result, RowVisitor};
use crate::store::{SinceTakeover, TableRow, TakeoverReport};

/// Plans a takeover and undoes one. [`AdminStore::migrate`](super::AdminStore::migrate) performs it.
#[async_trait]
pub trait TakeoverStore: Send + Sync {
    /// Returns the problems that a migration would find in the older tables; `None` when there are no such tables.
    /// Changes nothing, but holds the locks of the older tables while it reads.
    ///
    /// Example: on an empty database, `None`.
    async fn plan_takeover(&self) -> Result<Option<TakeoverReport>>;

    /// Returns what was written since the older tables were taken over; `None` when none are set aside.
    ///
    /// Example: on a database that was never taken over, `None`.
    async fn since_takeover(&self) -> Result<Option<SinceTakeover>>;

    /// Scans the rows that the older tables lack, ledger entries excepted, in one snapshot.
    ///
    /// Example: the registry is visited whole, because the older tables store it in another form.
    async fn scan_since_takeover(&self, visit: RowVisitor<'_, TableRow>) -> Result<()>;

    /// Removes EPR's tables and restores the older ones.
    ///
    /// # Errors [`NotHandedBack`](crate::store::StoreError::NotHandedBack) when more was written than `seen` says, or
    /// no older tables are set aside. Nothing is changed then.
    async fn hand_back(&self, seen: &SinceTakeover) -> Result<()>;
}
