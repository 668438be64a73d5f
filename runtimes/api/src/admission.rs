//! How many calls are worked on at a time. One more is turned away at once instead of waiting in a line that only grows.
//!
//! A call that waits for its caller (to send the body) gives its place away meanwhile: slow callers take none.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::budget::Share;

/// The places.
#[derive(Clone)]
pub(crate) struct Places(Arc<Semaphore>);

/// One call's place; in the request's extensions, so that reading its body can give it away for a while.
#[derive(Clone)]
pub(crate) struct Place {
    places: Places,
    held: Arc<Mutex<Option<OwnedSemaphorePermit>>>,
    /// The share of the document that the call is about.
    document: Arc<Mutex<Option<Share>>>,
}

/// Every place is taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Full;

impl Places {
    pub(crate) fn new(count: usize) -> Self {
        Self(Arc::new(Semaphore::new(count)))
    }

    fn take(&self) -> Result<OwnedSemaphorePermit, Full> {
        Arc::clone(&self.0).try_acquire_owned().map_err(|_| Full)
    }

    /// A place, if there is one. It is free again when the last clone of it is dropped.
    pub(crate) fn enter(&self) -> Result<Place, Full> {
        let permit = self.take()?;
        Ok(Place { places: self.clone(), held: Arc::new(Mutex::new(Some(permit))), document: Arc::default() })
    }
}

impl Place {
    /// Gives it away.
    pub(crate) fn leave(&self) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Keeps the share of the call's document until the call is over.
    pub(crate) fn keep(&self, share: Share) {
        *self.document.lock().unwrap_or_else(PoisonError::into_inner) = Some(share);
    }

    /// Takes the share of the call's document.
    pub(crate) fn take_document(&self) -> Option<Share> {
        self.document.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Takes one again.
    pub(crate) fn resume(&self) -> Result<(), Full> {
        let permit = self.places.take()?;
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = Some(permit);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_call_is_over_or_waits() {
        let places = Places::new(1);
        let first = places.enter().unwrap();
        assert!(places.enter().is_err());
        first.leave();
        let second = places.enter().unwrap();
        assert!(first.resume().is_err());
        drop(second);
        assert!(first.resume().is_ok());
        assert!(places.enter().is_err());
        drop(first);
        assert!(places.enter().is_ok());
    }
}
