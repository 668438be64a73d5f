//! The takeover of an older implementation's tables, as far as no statement is involved: what was found, and what was
//! written since. The statements are in `sql/takeover`.

mod report;

pub use report::{TakeoverProblem, TakeoverReport};

/// Counts of the rows that EPR has written since it took the database over. The older tables lack them.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SinceTakeover {
    /// The sequence of the last ledger entry that was taken over; 0 when the older ledger was empty.
    pub last_older_entry: i64,
    /// The sequence of the ledger's newest entry.
    pub last_entry: i64,
    /// Events that the older table lacks, or has in another state of delivery.
    pub events: i64,
    /// Messages of the queue that were rejected.
    pub rejections: i64,
}

impl SinceTakeover {
    /// Returns the number of ledger entries after those that were taken over.
    #[must_use]
    pub fn entries(&self) -> i64 {
        self.last_entry - self.last_older_entry
    }

    /// Returns whether nothing would be lost if the older tables replaced EPR's.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries() == 0 && self.events == 0 && self.rejections == 0
    }
}

/// A row of one of EPR's tables, for a file that outlives the table.
#[derive(Debug, Clone)]
pub struct TableRow {
    /// The name of the table.
    pub table: &'static str,
    /// The row as one JSON object with a member for each column.
    pub json: String,
}
