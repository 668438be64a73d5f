//! How many connections lists and scans may take at a time, so that checks, changes and the ledger's writer always find others.
//!
//! Must never be waited for with a connection in hand.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Result, StoreError};

/// How long a scan, of which each may take minutes, waits for its turn.
const SCAN_WAIT: Duration = Duration::from_secs(20);

/// The shares of a pool.
#[derive(Debug)]
pub(super) struct Lanes {
    lists: Semaphore,
    scans: Semaphore,
    /// How long a list waits for its turn.
    list_wait: Duration,
}

impl Lanes {
    /// Of `size` connections, lists take a third and scans a third, at least one each.
    pub(super) fn new(size: u32, list_wait: Duration) -> Self {
        let share = usize::try_from(size / 3).unwrap_or(1).max(1);
        Self { lists: Semaphore::new(share), scans: Semaphore::new(share), list_wait }
    }

    pub(super) async fn list(&self) -> Result<SemaphorePermit<'_>> {
        enter(&self.lists, self.list_wait, "Too many lists are being read; try again later").await
    }

    pub(super) async fn scan(&self) -> Result<SemaphorePermit<'_>> {
        enter(&self.scans, SCAN_WAIT, "Too many exports, reports and verifications are running; try again later").await
    }
}

async fn enter<'a>(lane: &'a Semaphore, limit: Duration, busy: &'static str) -> Result<SemaphorePermit<'a>> {
    match tokio::time::timeout(limit, lane.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        // It is never closed.
        Ok(Err(_)) | Err(_) => Err(StoreError::Busy(busy)),
    }
}
