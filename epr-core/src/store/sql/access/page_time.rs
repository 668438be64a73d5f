//! The time that a page of a list may take.

use std::time::{Duration, Instant};

/// When a page ends although the list goes on; never if `None`.
#[derive(Debug, Clone, Copy)]
pub(super) struct PageTime(Option<Instant>);

impl PageTime {
    /// Begins now.
    pub(super) fn of(limit: Duration) -> Self {
        Self(Instant::now().checked_add(limit))
    }

    pub(super) fn is_over(self) -> bool {
        self.0.is_some_and(|end| end <= Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_time_is_never_over() {
        assert!(PageTime::of(Duration::ZERO).is_over());
        assert!(!PageTime::of(Duration::from_mins(1)).is_over());
        assert!(!PageTime::of(Duration::MAX).is_over());
    }
}
