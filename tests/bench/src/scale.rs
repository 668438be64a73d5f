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
    /// Repetitions of each measurement, in turn with its yardstick.
    pub(crate) rounds: usize,
    /// Duration of each repetition.
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

    /// Enough to show that every part runs; its measurements mean nothing.
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
