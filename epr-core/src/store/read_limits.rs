//! Limits on the connections that lists and scans use at a time, so that checks, changes and the ledger writer always
//! find one.
//!
//! INVARIANT: a permit is acquired before a connection. Must never be waited for while a connection is checked out.

use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use super::{Result, StoreError};

/// The time that a scan waits for its permit; each scan may take minutes.
const SCAN_WAIT: Duration = Duration::from_secs(20);

/// The shares of a pool.
#[derive(Debug)]
pub(super) struct ReadLimits {
    lists: Semaphore,
    access_lists: Semaphore,
    scans: Semaphore,
    batches: Semaphore,
    /// The time that a list waits for its permit.
    list_wait: Duration,
}

impl ReadLimits {
    /// Of `connections`, lists may use a third, scans a third, batches of checks a third, and lists of access a fifth,
    /// at least one each. The statements of a list of access keep the server busy all the time: more of them would slow
    /// down checks.
    pub(super) fn new(connections: u32, list_wait: Duration) -> Self {
        let share = |part| Semaphore::new(usize::try_from(connections / part).unwrap_or(1).max(1));
        Self { lists: share(3), access_lists: share(5), scans: share(3), batches: share(3), list_wait }
    }

    /// Acquires the permit of a list.
    pub(super) async fn list(&self) -> Result<SemaphorePermit<'_>> {
        acquire(&self.lists, self.list_wait, "Too many lists are being read; try again later").await
    }

    /// Acquires the permit of a page of a list of access.
    pub(super) async fn access_list(&self) -> Result<SemaphorePermit<'_>> {
        acquire(&self.access_lists, self.list_wait, "Too many lists of access are being read; try again later").await
    }

    /// Acquires the permit of a batch of checks.
    pub(super) async fn batch(&self) -> Result<SemaphorePermit<'_>> {
        acquire(&self.batches, self.list_wait, "Too many batches of checks are being read; try again later").await
    }

    /// Acquires the permit of a scan.
    pub(super) async fn scan(&self) -> Result<SemaphorePermit<'_>> {
        acquire(&self.scans, SCAN_WAIT, "Too many exports, reports and verifications are running; try again later")
            .await
    }
}

async fn acquire<'a>(share: &'a Semaphore, limit: Duration, busy: &'static str) -> Result<SemaphorePermit<'a>> {
    match tokio::time::timeout(limit, share.acquire()).await {
        Ok(Ok(permit)) => Ok(permit),
        // The semaphore is never closed.
        Ok(Err(_)) | Err(_) => Err(StoreError::Busy(busy)),
    }
}
