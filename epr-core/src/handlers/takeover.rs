//! Going back to the older service whose database was taken over.

use crate::Epr;
use crate::error::Result;
use crate::store::{SinceTakeover, TableRow, Take};

impl Epr {
    /// What was written since the older service's tables were taken over; `None` when no such tables are set aside.
    ///
    /// # Errors
    /// The database is not available, its schema is not this program's, or the tables that are set aside are others than those
    /// that were taken over.
    pub async fn since_takeover(&self) -> Result<Option<SinceTakeover>> {
        Ok(self.store().since_takeover().await?)
    }

    /// Shows what the older tables do not hold, ledger entries aside, to `take` until it says `false`: the registry as it is now,
    /// events, and rejected messages. All rows are of one moment; one is in memory at a time.
    ///
    /// # Errors
    /// The database is not available.
    pub async fn scan_since_takeover(&self, take: Take<'_, TableRow>) -> Result<()> {
        Ok(self.store().scan_since_takeover(take).await?)
    }

    /// Removes EPR's tables and gives the older ones their names back, in one transaction. `seen` is the last answer of
    /// [`Epr::since_takeover`].
    ///
    /// # Errors
    /// More was written than `seen`, a process of EPR is running, or another application's object depends on EPR's tables;
    /// nothing was changed.
    pub async fn hand_back(&self, seen: &SinceTakeover) -> Result<()> {
        Ok(self.store().hand_back(seen).await?)
    }
}
