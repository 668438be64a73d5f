//! The bound on open connections, and the choice of a connection to close when there are too many.
//!
//! Without a bound, idle connections would use up the file descriptors of the process, and checks, health checks and
//! database connections would get none. Must never close a connection whose request is running.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::warn;

use crate::http::activity::Activity;

/// File descriptors that suffice for any setting.
const MAX_DESCRIPTORS: u64 = 1 << 17;
/// File descriptors for the database, caches, topics, files and the runtime.
const RESERVED_DESCRIPTORS: u64 = 128;
/// Connections beyond the bound: for those that are about to close, and for health checks while all others have running
/// requests.
const SPARE: usize = 32;
/// The interval at which the bound is checked again while a connection that was chosen to close is still open.
const RECHECK_INTERVAL: Duration = Duration::from_millis(20);

/// The open connections.
pub(crate) struct Connections {
    max: usize,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Activity>>>,
    closed: Notify,
}

/// An open connection, until it is dropped.
pub(crate) struct Connection {
    connections: Arc<Connections>,
    id: u64,
}

impl Connections {
    /// At most `wanted` connections, or fewer if the process has not enough file descriptors.
    pub(crate) fn new(wanted: usize) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(MAX_DESCRIPTORS);
        let max = usize::try_from(possible(descriptors)).unwrap_or(usize::MAX).min(wanted);
        if max < wanted {
            warn!(max_connections = max, wanted, descriptors, "connections_limited_by_descriptors");
        }
        Self { max, next: AtomicU64::new(0), open: Mutex::default(), closed: Notify::new() }
    }

    pub(crate) fn max(&self) -> usize {
        self.max
    }

    /// Waits until one more connection may open. If there are too many, closes the one whose caller has been silent for
    /// longest.
    pub(crate) async fn make_room(&self) {
        while self.is_full() {
            // `Notify` keeps the notice of a connection that closed before this wait began.
            let _ = timeout(RECHECK_INTERVAL, self.closed.notified()).await;
        }
    }

    fn is_full(&self) -> bool {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.len() < self.max {
            return false;
        }
        evict_silent(&open);
        open.len() >= self.max + SPARE
    }

    /// Closes the connection whose caller has been silent for longest, because the system has no more sockets.
    pub(crate) fn evict_one(&self) {
        evict_silent(&self.open.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Registers a connection.
    pub(crate) fn add(self: &Arc<Self>, activity: Arc<Activity>) -> Connection {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.open.lock().unwrap_or_else(PoisonError::into_inner).insert(id, activity);
        Connection { connections: Arc::clone(self), id }
    }
}

/// The number of connections for which there are file descriptors.
fn possible(descriptors: u64) -> u64 {
    descriptors.saturating_sub(RESERVED_DESCRIPTORS + SPARE as u64).max(descriptors / 4).max(1)
}

fn evict_silent(open: &HashMap<u64, Arc<Activity>>) {
    let silent = open.values().filter_map(|activity| Some((activity.silent_since()?, activity)));
    if let Some((_, activity)) = silent.min_by_key(|(since, _)| *since) {
        activity.evict();
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.connections.open.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
        self.connections.closed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_are_left_for_everything_else() {
        assert_eq!([16, 256, 1024, 65_536].map(possible), [4, 96, 864, 65_376]);
    }

    #[tokio::test]
    async fn the_longest_silent_connection_makes_room() {
        let connections =
            Arc::new(Connections { max: 2, next: AtomicU64::new(0), open: Mutex::default(), closed: Notify::new() });
        let mut open = Vec::new();
        for _ in 0..2 {
            let activity = Arc::new(Activity::new());
            open.push((connections.add(Arc::clone(&activity)), activity));
            // Gives them different ages.
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        connections.make_room().await;
        let evicted = |activity: Arc<Activity>| async move {
            timeout(Duration::from_millis(500), activity.evicted()).await.is_ok()
        };
        assert!(evicted(Arc::clone(&open[0].1)).await);
        assert!(!evicted(Arc::clone(&open[1].1)).await);
    }
}
