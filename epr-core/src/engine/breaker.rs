//! The circuit breaker of the topic: after an outage nothing is published for a while, longer after each further one.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::backoff::{Backoff, Jitter};
use crate::clock::RandomSource;

/// The shortest time for which the breaker is open.
const MIN_OPEN: Duration = Duration::from_millis(250);
/// The time beyond [`MIN_OPEN`].
const OPEN: Backoff = Backoff::new(Duration::from_millis(250), Duration::from_millis(7500), Jitter::Full);

/// The breaker. A closed breaker lets messages pass.
#[derive(Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Default)]
struct State {
    outages: u32,
    closes_at: Option<Instant>,
}

impl Breaker {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The time that the breaker stays open; `None` when it is closed.
    pub(super) fn open_for(&self) -> Option<Duration> {
        let closes_at = self.state().closes_at?;
        Some(closes_at.saturating_duration_since(Instant::now())).filter(|left| !left.is_zero())
    }

    pub(super) fn is_open(&self) -> bool {
        self.open_for().is_some()
    }

    /// Closes the breaker: the topic took or refused a message.
    pub(super) fn close(&self) {
        *self.state() = State::default();
    }

    /// Opens the breaker after an outage.
    pub(super) fn open(&self, random: &dyn RandomSource) {
        let mut state = self.state();
        state.outages = state.outages.saturating_add(1);
        state.closes_at = Some(Instant::now() + MIN_OPEN + OPEN.delay(state.outages, random));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRandom;

    #[test]
    fn outages_open_it_for_longer_each_time_until_the_topic_answers() {
        let (breaker, random) = (Breaker::default(), SeededRandom::new(7));
        assert!(!breaker.is_open());
        let mut longest = Duration::ZERO;
        for outages in 1..50 {
            breaker.open(&random);
            let open_for = breaker.open_for().unwrap();
            assert!(open_for <= MIN_OPEN + OPEN.longest(outages));
            longest = longest.max(open_for);
        }
        assert!(longest > Duration::from_secs(7) && longest < Duration::from_secs(8));
        breaker.close();
        assert!(!breaker.is_open());
        breaker.open(&random);
        assert!(breaker.open_for().unwrap() <= Duration::from_millis(500));
    }
}
