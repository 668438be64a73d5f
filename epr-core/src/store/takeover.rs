//! What lies between a database that was taken over and the tables of the older service.

/// What EPR has written since it took the database over. The older tables hold none of it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct SinceTakeover {
    /// The sequence of the last ledger entry that was taken over; 0 when the older ledger was empty.
    pub last_older_entry: i64,
    /// The sequence of the ledger's newest entry.
    pub last_entry: i64,
    /// Events that the older table lacks, or holds in another state of delivery.
    pub events: i64,
    /// Messages of the queue that were rejected.
    pub rejections: i64,
}

impl SinceTakeover {
    /// How many ledger entries there are behind those that were taken over.
    #[must_use]
    pub fn entries(&self) -> i64 {
        self.last_entry - self.last_older_entry
    }

    /// Whether nothing would be lost if the older tables took the place of EPR's.
    #[must_use]
    pub fn is_nothing(&self) -> bool {
        self.entries() == 0 && self.events == 0 && self.rejections == 0
    }
}

/// A row of one of EPR's tables, for a file that outlives the table.
#[derive(Debug, Clone)]
pub struct TableRow {
    /// The table's name.
    pub table: &'static str,
    /// The row as one JSON object with a member for each column.
    pub json: String,
}
