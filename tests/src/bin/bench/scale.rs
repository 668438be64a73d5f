//! How much of everything.

use std::time::Duration;

/// The size of the world and of the measurements.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scale {
    /// Entities, in trees four deep.
    pub(crate) entities: usize,
    pub(crate) roles: usize,
    pub(crate) principals: usize,
    pub(crate) assignments: usize,
    /// Different questions that are asked.
    pub(crate) questions: usize,
    /// Assignments of the one principal who has many.
    pub(crate) many: usize,
    /// Rows in the ledger and among the events, for the lists.
    pub(crate) rows: usize,
    /// Each thing is measured this often, in turn with what it is held against.
    pub(crate) rounds: usize,
    /// For so long each time.
    pub(crate) span: Duration,
    /// Starts of each program.
    pub(crate) starts: usize,
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
        rounds: 5,
        span: Duration::from_secs(3),
        starts: 15,
    };

    /// Enough to see that all of it runs; its figures say nothing.
    pub(crate) const SMOKE: Self = Self {
        entities: 2_000,
        roles: 50,
        principals: 1_000,
        assignments: 3_000,
        questions: 500,
        many: 200,
        rows: 2_000,
        rounds: 1,
        span: Duration::from_millis(300),
        starts: 2,
    };
}
