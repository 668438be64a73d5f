//! Which checkpoints show that their entries are as old as a moment, although clocks of signers may have been wrong.
//!
//! INVARIANT: a checkpoint counts only if no earlier one has a later time. Must never take a time in the future as
//! true.

use crate::domain::Timestamp;

/// What the checkpoints so far show.
#[derive(Debug)]
pub(super) struct Age {
    moment: Timestamp,
    now: Timestamp,
    /// The latest time so far that is not in the future.
    latest: Option<Timestamp>,
    /// The size of the last checkpoint that counts: its entries are as old as the moment.
    pub(super) entries: i64,
}

impl Age {
    pub(super) fn new(moment: Timestamp, now: Timestamp) -> Self {
        Self { moment, now, latest: None, entries: 0 }
    }

    /// Sees the next checkpoint in the order of their sizes. `false` when no later one can count.
    pub(super) fn see(&mut self, size: i64, signed_at: Timestamp) -> bool {
        // The clock of its signer was wrong: nothing is known about its age.
        if signed_at > self.now || self.latest.is_some_and(|latest| signed_at < latest) {
            return true;
        }
        if signed_at > self.moment {
            return false;
        }
        (self.latest, self.entries) = (Some(signed_at), size);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_unix_micros(1_700_000_000_000_000 + second * 1_000_000).unwrap()
    }

    /// The entries as old as `moment` at second 100, of checkpoints with these sizes and times.
    fn entries(checkpoints: &[(i64, i64)], moment: i64) -> i64 {
        let mut age = Age::new(at(moment), at(100));
        let _ = checkpoints.iter().all(|(size, second)| age.see(*size, at(*second)));
        age.entries
    }

    #[test]
    fn the_last_checkpoint_that_was_signed_by_the_moment_counts() {
        let checkpoints = [(3, 10), (5, 20), (8, 30)];
        for (moment, expected) in [(9, 0), (10, 3), (19, 3), (20, 5), (30, 8), (99, 8)] {
            assert_eq!(entries(&checkpoints, moment), expected, "second {moment}");
        }
        assert_eq!(entries(&[], 50), 0);
    }

    #[test]
    fn a_clock_that_was_set_back_makes_no_checkpoint_old() {
        let checkpoints = [(3, 10), (5, 20), (8, 5), (9, 6), (12, 30)];
        for (moment, expected) in [(5, 0), (10, 3), (20, 5), (29, 5), (30, 12)] {
            assert_eq!(entries(&checkpoints, moment), expected, "second {moment}");
        }
    }

    #[test]
    fn a_clock_that_was_ahead_delays_no_later_checkpoint_beyond_its_time() {
        let checkpoints = [(3, 10), (5, 500), (8, 20), (9, 60), (12, 30), (15, 70)];
        for (moment, expected) in [(19, 3), (20, 8), (59, 8), (60, 9), (69, 9), (70, 15)] {
            assert_eq!(entries(&checkpoints, moment), expected, "second {moment}");
        }
    }
}
