//! The sizes of the seeded data and of the measurements.

use std::time::Duration;

/// The sizes of one run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Entities, in trees four deep.
    pub(crate) entities: usize,
    pub(crate) roles: usize,
    pub(crate) principals: usize,
    pub(crate) assignments: usize,
    /// Different questions.
    pub(crate) questions: usize,
    /// Assignments of the one principal that has many.
    pub(crate) many: usize,
    /// Rows in the ledger and among the events, for the lists.
    pub(crate) rows: usize,
    /// Changes of the history in which the past is asked.
    pub(crate) changes: usize,
    /// Entries of the ledger that is verified with its tree.
    pub(crate) entries_verified: usize,
    /// New entries of each checkpoint of a large ledger.
    pub(crate) entries_checkpointed: usize,
    /// Repetitions of each measurement, in turn with its yardstick.
    pub(crate) rounds: usize,
    /// Duration of each repetition.
    pub(crate) span: Duration,
    /// Starts of each program.
    pub(crate) starts: usize,
    /// First pages that are read of each list of access.
    pub(crate) list_reads: usize,
    /// Assignments of the one principal whose subtrees are listed.
    pub(crate) held: usize,
    /// Trees whose entities are walked.
    pub(crate) walked_trees: usize,
    /// Entities, and assignments, of the worlds that are kept in memory.
    pub(crate) graph_sizes: [usize; 3],
    /// Entities, and assignments, of the world that the peers have, too.
    pub(crate) peer_assignments: usize,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        entities: 100_000,
        roles: 1_000,
        principals: 100_000,
        assignments: 300_000,
        questions: 50_000,
        many: 10_000,
        rows: 100_000,
        changes: 1_000_000,
        entries_verified: 1_000_000,
        entries_checkpointed: 10_000,
        rounds: 5,
        span: Duration::from_secs(3),
        starts: 15,
        list_reads: 2_000,
        held: 1_000,
        // About 100,000 entities.
        walked_trees: 437,
        graph_sizes: [10_000, 100_000, 1_000_000],
        peer_assignments: 10_000,
    };

    /// Enough to show that every part runs; its measurements mean nothing.
    pub(crate) const SMOKE: Self = Self {
        entities: 2_000,
        roles: 50,
        principals: 1_000,
        assignments: 3_000,
        questions: 500,
        many: 200,
        rows: 2_000,
        changes: 30_000,
        entries_verified: 3_000,
        entries_checkpointed: 600,
        rounds: 1,
        span: Duration::from_millis(300),
        starts: 2,
        list_reads: 50,
        held: 50,
        walked_trees: 5,
        graph_sizes: [1_000, 2_000, 4_000],
        peer_assignments: 500,
    };

    /// The sizes of the world that the peers have, too: as many roles as people write policies for.
    pub(crate) fn of_peers(&self) -> Self {
        let size = self.peer_assignments;
        Self { entities: size, roles: 50, principals: size / 3, assignments: size, questions: size / 2, ..*self }
    }

    /// The sizes of the world of the lists of access.
    pub(crate) fn of_lists(&self) -> Self {
        Self { entities: self.entities * 10, assignments: self.assignments * 10 / 3, ..*self }
    }
}
