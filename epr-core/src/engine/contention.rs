//! How often a transaction that lost against another one is started again.

use std::time::Duration;

use tokio::time::Instant;

/// Most attempts before the caller is told to come back.
const ATTEMPTS: u32 = 6;
/// How long it may go on. One that waited this long for a lock did not lose by bad luck.
const PATIENCE: Duration = Duration::from_secs(4);

/// The attempts made so far.
pub(crate) struct Retry {
    attempt: u32,
    begun: Instant,
}

impl Retry {
    /// Before the first attempt.
    pub(crate) fn begin() -> Self {
        Self { attempt: 0, begun: Instant::now() }
    }

    /// After an attempt that lost: how many there were, if there may be another.
    pub(crate) fn lost(&mut self) -> Option<u32> {
        self.attempt += 1;
        (self.attempt < ATTEMPTS && self.begun.elapsed() < PATIENCE).then_some(self.attempt)
    }
}
