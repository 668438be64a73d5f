//! How the connections to a database are used.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// One pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// `all`, or `read` and `write` where these are apart.
    pub name: &'static str,
    /// Open connections.
    pub open: u32,
    /// Those that nobody uses.
    pub idle: u32,
    /// Most that may be open.
    pub most: u32,
    /// Connections taken since the start.
    pub acquires: u64,
    /// Time that callers have waited for them.
    pub waited: Duration,
}

/// Counts how often and how long callers waited for a connection.
#[derive(Debug, Default)]
pub(super) struct Waits {
    count: AtomicU64,
    micros: AtomicU64,
}

impl Waits {
    /// Waits for `acquiring`, which gives a connection.
    pub(super) async fn during<T>(&self, acquiring: impl Future<Output = T>) -> T {
        let begun = Instant::now();
        let acquired = acquiring.await;
        self.count.fetch_add(1, Ordering::Relaxed);
        self.micros.fetch_add(u64::try_from(begun.elapsed().as_micros()).unwrap_or(0), Ordering::Relaxed);
        acquired
    }

    pub(super) fn so_far(&self) -> (u64, Duration) {
        (self.count.load(Ordering::Relaxed), Duration::from_micros(self.micros.load(Ordering::Relaxed)))
    }
}
