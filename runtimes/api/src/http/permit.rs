//! Concurrency permits: a bounded number of calls runs at a time, and a call beyond that is refused at once instead of
//! queued.
//!
//! A request holds no permit while its body is arriving, so that slow callers do not use up the permits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::budget::Reservation;

/// All permits of the process.
#[derive(Clone)]
pub(crate) struct Permits {
    free: Arc<Semaphore>,
    count: usize,
}

/// The permit of one call. It is in the request's extensions, so that the reader of the body can release it meanwhile.
#[derive(Clone)]
pub(crate) struct Permit(Arc<CallPermit>);

struct CallPermit {
    permits: Permits,
    held: Mutex<Option<OwnedSemaphorePermit>>,
    /// The memory reservation of the call's document.
    document: Mutex<Option<Reservation>>,
    /// What the call adds to its time limit, in milliseconds.
    extension: AtomicU64,
}

/// No permit is free.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Overloaded;

impl Permits {
    pub(crate) fn new(count: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(count)), count }
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, Overloaded> {
        Arc::clone(&self.free).try_acquire_owned().map_err(|_| Overloaded)
    }

    /// Waits until no permit is taken.
    pub(crate) async fn all_free(&self) {
        let _ = self.free.acquire_many(u32::try_from(self.count).unwrap_or(u32::MAX)).await;
    }

    /// Acquires a permit if one is free. It is released when its last clone is dropped.
    pub(crate) fn acquire(&self) -> Result<Permit, Overloaded> {
        let permit = self.take()?;
        Ok(Permit(Arc::new(CallPermit {
            permits: self.clone(),
            held: Mutex::new(Some(permit)),
            document: Mutex::default(),
            extension: AtomicU64::default(),
        })))
    }
}

impl Permit {
    /// Releases the permit until [`Permit::reacquire`].
    pub(crate) fn release(&self) {
        self.0.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Releases the permit for good, and extends the time limit of the call: it waits for `wait`, and has permits of
    /// another kind.
    pub(crate) fn release_for(&self, wait: Duration) {
        self.release();
        self.0.extension.store(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// What the call adds to its time limit.
    pub(crate) fn extension(&self) -> Duration {
        Duration::from_millis(self.0.extension.load(Ordering::Relaxed))
    }

    /// Acquires a permit again if one is free.
    pub(crate) fn reacquire(&self) -> Result<(), Overloaded> {
        let permit = self.0.permits.take()?;
        *self.0.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
        Ok(())
    }

    /// Keeps the reservation of the call's document until the call ends.
    pub(crate) fn keep_document(&self, reservation: Reservation) {
        *self.0.document.lock().unwrap_or_else(PoisonError::into_inner) = Some(reservation);
    }

    /// Takes the reservation of the call's document.
    pub(crate) fn take_document(&self) -> Option<Reservation> {
        self.0.document.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_is_free_again_when_its_call_ends_or_waits() {
        let permits = Permits::new(1);
        let first = permits.acquire().unwrap();
        assert!(permits.acquire().is_err());
        first.release();
        let second = permits.acquire().unwrap();
        assert!(first.reacquire().is_err());
        drop(second);
        assert!(first.reacquire().is_ok());
        assert!(permits.acquire().is_err());
        drop(first);
        assert!(permits.acquire().is_ok());
    }
}
