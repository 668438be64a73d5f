//! Memory budgets: how many bytes one purpose may use at a time, as a semaphore whose permits are KiB.
//!
//! INVARIANT: waits are bounded, and the budgets are waited for in one order (bodies, documents, answers), so that
//! calls that hold reservations of several never wait for each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The longest that a call waits for its reservation.
const RESERVE_TIMEOUT: Duration = Duration::from_secs(2);
/// Bodies and responses up to this size are not counted: the number of connections bounds their sum.
pub(crate) const UNCOUNTED_BYTES: usize = 16 << 10;

/// The memory of one purpose.
#[derive(Clone)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    total_kibibytes: u32,
    /// The number of calls that got no reservation.
    refused: Arc<AtomicU64>,
}

/// A part of a budget, returned when it is dropped.
pub(crate) struct Reservation(OwnedSemaphorePermit);

/// The budget is used up.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Exhausted;

fn kibibytes(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        let total_kibibytes = kibibytes(bytes).min(u32::MAX >> 1);
        Self { free: Arc::new(Semaphore::new(total_kibibytes as usize)), total_kibibytes, refused: Arc::default() }
    }

    /// Reserves `bytes`, waiting up to 2 s. A reservation larger than the whole budget takes all of it.
    pub(crate) async fn reserve(&self, bytes: usize) -> Result<Reservation, Exhausted> {
        if let Some(reservation) = self.try_reserve(bytes) {
            return Ok(reservation);
        }
        let waiting = Arc::clone(&self.free).acquire_many_owned(kibibytes(bytes).min(self.total_kibibytes));
        match tokio::time::timeout(RESERVE_TIMEOUT, waiting).await {
            Ok(Ok(permit)) => Ok(Reservation(permit)),
            _ => Err(self.refuse()),
        }
    }

    /// Reserves `bytes` without waiting; a failure is counted as a refused call.
    pub(crate) fn reserve_now(&self, bytes: usize) -> Result<Reservation, Exhausted> {
        self.try_reserve(bytes).ok_or_else(|| self.refuse())
    }

    fn try_reserve(&self, bytes: usize) -> Option<Reservation> {
        let wanted = kibibytes(bytes).min(self.total_kibibytes);
        Arc::clone(&self.free).try_acquire_many_owned(wanted).map(Reservation).ok()
    }

    fn refuse(&self) -> Exhausted {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Exhausted
    }

    /// Reserved bytes.
    pub(crate) fn used(&self) -> usize {
        (self.total_kibibytes as usize).saturating_sub(self.free.available_permits()) << 10
    }

    /// The number of calls that got no reservation.
    pub(crate) fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

impl Reservation {
    /// Returns what exceeds `bytes` to the budget.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let surplus = self.0.num_permits().saturating_sub(kibibytes(bytes) as usize);
        drop(self.0.split(surplus));
    }

    /// `bytes` that hold the reservation until their last reference is dropped, which is when they have been sent.
    pub(crate) fn attach(self, bytes: impl AsRef<[u8]> + Send + 'static) -> Bytes {
        Bytes::from_owner(Reserved { bytes, _reservation: self })
    }
}

struct Reserved<T> {
    bytes: T,
    _reservation: Reservation,
}

impl<T: AsRef<[u8]>> AsRef<[u8]> for Reserved<T> {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reservation_returns_when_its_bytes_are_dropped() {
        let budget = Budget::new(8 << 10);
        let mut reservation = budget.reserve(6 << 10).await.unwrap();
        assert!(budget.reserve_now(4 << 10).is_err());
        reservation.shrink(3 << 10);
        let other = budget.reserve_now(4 << 10).unwrap();
        let bytes = reservation.attach(vec![0; 3 << 10]);
        let part = bytes.slice(..1);
        drop((bytes, other));
        assert!(budget.reserve_now(6 << 10).is_err());
        drop(part);
        // A reservation that exceeds the whole budget takes all of it.
        assert!(budget.reserve_now(1 << 20).is_ok());
    }
}
