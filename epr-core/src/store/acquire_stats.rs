//! Counts how often, and how long, callers waited for a connection.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Counts acquisitions of connections and the time that they took.
#[derive(Debug, Default)]
pub(super) struct AcquireStats {
    count: AtomicU64,
    micros: AtomicU64,
}

impl AcquireStats {
    /// Waits for `acquiring`, which returns a connection, and counts it.
    pub(super) async fn measure<T>(&self, acquiring: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let acquired = acquiring.await;
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(begun.elapsed().as_micros()).unwrap_or(0), Ordering::Relaxed);
        acquired
    }

    /// Returns the number of acquisitions and their total time.
    pub(super) fn total(&self) -> (u64, Duration) {
        (self.count.load(Ordering::Relaxed), Duration::from_micros(self.micros.load(Ordering::Relaxed)))
    }
}
