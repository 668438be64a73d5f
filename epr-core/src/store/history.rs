//! What filling the tables of history found.

use crate::history::{RowKey, Unreplayable};

/// The most problems and rows that a report names; the others are only counted.
const MAX_NAMED: usize = 1_000;

/// The outcome of completing the tables of history from the ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HistoryReport {
    /// The entries that were replayed.
    pub entries: usize,
    /// The entries that could not be replayed: at most 1,000.
    pub unreplayable: Vec<Unreplayable>,
    /// The number of all entries that could not be replayed.
    pub unreplayable_count: usize,
    /// The rows that the ledger did not explain, and that have got a baseline: at most 1,000.
    pub baselines: Vec<RowKey>,
    /// The number of all rows that have got a baseline.
    pub baseline_count: usize,
}

impl HistoryReport {
    /// Adds an entry that could not be replayed.
    pub(super) fn add(&mut self, problem: Unreplayable) {
        self.unreplayable_count += 1;
        if self.unreplayable.len() < MAX_NAMED {
            self.unreplayable.push(problem);
        }
    }

    /// Adds a row that has got a baseline.
    pub(super) fn unexplained(&mut self, key: &RowKey) {
        self.baseline_count += 1;
        if self.baselines.len() < MAX_NAMED {
            self.baselines.push(key.clone());
        }
    }

    /// Whether there was nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries == 0 && self.unreplayable_count == 0 && self.baseline_count == 0
    }
}
