//! How many bytes may be in memory for one purpose at a time: a semaphore whose permits are KiB.
//!
//! Must never be waited for without an end, and budgets are waited for in one order (bodies, documents, answers): calls that hold
//! parts of several never wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long a call waits for its share before it is turned away.
const WAIT: Duration = Duration::from_secs(2);
/// An answer up to this size is not counted: the number of connections bounds what such answers take together.
pub(crate) const UNCOUNTED: usize = 16 << 10;

/// The bytes of one purpose.
#[derive(Clone)]
pub(crate) struct Budget {
    shares: Arc<Semaphore>,
    total: u32,
    /// Calls that got no share.
    refused: Arc<AtomicU64>,
}

/// A part of a budget, until it is dropped.
pub(crate) struct Share(OwnedSemaphorePermit);

/// The budget is used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exhausted;

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let total = kibibytes(bytes).min(u32::MAX >> 1);
        Self { shares: Arc::new(Semaphore::new(total as usize)), total, refused: Arc::default() }
    }

    /// A share of `bytes`, now or within 2 s. What is more than the whole budget gets all of it.
    pub(crate) async fn share(&self, bytes: usize) -> Result<Share, Exhausted> {
        if let Some(share) = self.try_share(bytes) {
            return Ok(share);
        }
        let waiting = Arc::clone(&self.shares).acquire_many_owned(kibibytes(bytes).min(self.total));
        match tokio::time::timeout(WAIT, waiting).await {
            Ok(Ok(permit)) => Ok(Share(permit)),
            _ => Err(self.refuse()),
        }
    }

    /// A share of `bytes`, if there is one now; a call that gets none is refused.
    pub(crate) fn share_now(&self, bytes: usize) -> Result<Share, Exhausted> {
        self.try_share(bytes).ok_or_else(|| self.refuse())
    }

    /// A share of `bytes`, if there is one now.
    pub(crate) fn try_share(&self, bytes: usize) -> Option<Share> {
        let wanted = kibibytes(bytes).min(self.total);
        Arc::clone(&self.shares).try_acquire_many_owned(wanted).map(Share).ok()
    }

    fn refuse(&self) -> Exhausted {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Exhausted
    }

    /// Bytes in use.
    pub(crate) fn used(&self) -> usize {
        (self.total as usize).saturating_sub(self.shares.available_permits()) << 10
    }

    /// The number of calls that got no share.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Share {
    /// Gives back what is more than `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.0.num_permits().saturating_sub(kibibytes(bytes) as usize);
        drop(self.0.split(surplus));
    }

    /// `bytes` that give their share back when the last reader of them is gone, which is when they are sent.
    pub(crate) fn cover(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Covered { bytes, _share: self })
    }
}

struct Covered<T> {
    bytes: T,
    _share: Share,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Covered<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_share_comes_back_when_its_bytes_are_gone() {
        let budget = Budget::new(8 << 10);
        let mut share = budget.share(6 << 10).await.unwrap();
        assert!(budget.share_now(4 << 10).is_err());
        share.shrink(3 << 10);
        let other = budget.share_now(4 << 10).unwrap();
        let bytes = share.cover(vec![0; 3 << 10]);
        let part = bytes.slice(..1);
        drop((bytes, other));
        assert!(budget.share_now(6 << 10).is_err());
        drop(part);
        // More than there is at all is all there is.
        assert!(budget.share_now(1 << 20).is_ok());
    }
}
