//! Limits the retries of a transaction that lost against another one.

use std::time::Duration;

use tokio::time::Instant;

/// Attempts in all, before the caller gets the error.
const MAX_ATTEMPTS: u32 = 6;
/// The time from the first attempt after which there is no further one. A transaction that waited this long for a lock
/// did not lose by chance.
const TIME_LIMIT: Duration = Duration::from_secs(4);

/// Counts the attempts of one transaction.
pub(crate) struct ContentionRetry {
    attempts: u32,
    begun: Instant,
}

impl ContentionRetry {
    /// Starts before the first attempt.
    pub(crate) fn begin() -> Self {
        Self { attempts: 0, begun: Instant::now() }
    }

    /// Called after an attempt that lost. Returns the number of attempts so far, or `None` when there may be no further
    /// one.
    pub(crate) fn next_attempt(&mut self) -> Option<u32> {
        self.attempts += 1;
        (self.attempts < MAX_ATTEMPTS && self.begun.elapsed() < TIME_LIMIT).then_some(self.attempts)
    }
}
