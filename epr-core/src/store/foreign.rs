//! Rows of `audit_logs` beyond the head of the chain, which another program has written: the summary of those that are
//! set aside.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// The most ranges of sequences that are listed.
const MAX_RANGES: usize = 1000;

/// Rows beyond the head, in the order of their sequences.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ForeignRows {
    /// The sequence of the head of the chain.
    pub head: i64,
    /// The number of foreign entries.
    pub count: u64,
    /// Their sequences as ranges, first and last included: `3-5`, or `7` for one. The first 1000 ranges.
    pub sequences: Vec<String>,
    /// SHA-256 of the rows as they are kept in `audit_logs_set_aside`, each followed by a line feed.
    pub sha256: String,
}

/// Summarises rows one by one, in constant memory.
pub(super) struct Tally {
    count: u64,
    ranges: Vec<(i64, i64)>,
    hash: Sha256,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { count: 0, ranges: Vec::new(), hash: Sha256::new() }
    }

    pub(super) fn add(&mut self, sequence: i64, entry: &str) {
        self.count += 1;
        let has_room = self.ranges.len() < MAX_RANGES;
        match self.ranges.last_mut() {
            Some((_, last)) if *last + 1 == sequence => *last = sequence,
            _ if has_room => self.ranges.push((sequence, sequence)),
            _ => {}
        }
        self.hash.update(entry.as_bytes());
        self.hash.update(b"\n");
    }

    pub(super) fn finish(self, head: i64) -> ForeignRows {
        let range =
            |(first, last): (i64, i64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
        ForeignRows {
            head,
            count: self.count,
            sequences: self.ranges.into_iter().map(range).collect(),
            sha256: crate::ledger::canonical::hex(&self.hash.finalize()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_named_by_ranges_and_by_their_hash() {
        let mut tally = Tally::new();
        for sequence in [3, 4, 5, 9] {
            tally.add(sequence, "row");
        }
        let rows = tally.finish(2);
        assert_eq!((rows.head, rows.count), (2, 4));
        assert_eq!(rows.sequences, ["3-5", "9"]);
        // printf 'row\nrow\nrow\nrow\n' | sha256sum
        assert_eq!(rows.sha256, "2460537a171c3f399805338819fb1345ab642d2a8b34f0586756dcda128fdf5d");
    }
}
