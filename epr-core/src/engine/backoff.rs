//! The delay before a retry: exponential, bounded, with random jitter. Pure; the caller counts the failures and waits.

use std::time::Duration;

use crate::clock::RandomSource;

/// The delays of one kind of retry.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    first: Duration,
    max: Duration,
    jitter: Jitter,
}

/// The random part of a delay, so that processes that failed together do not retry together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Jitter {
    /// None of it: for one process that retries by itself.
    None,
    /// The second half.
    Half,
    /// All of it: any delay from zero on.
    Full,
}

impl Backoff {
    /// Delays of at most `first` after the first failure and twice as long after each further one, up to `max`.
    #[must_use]
    pub const fn new(first: Duration, max: Duration, jitter: Jitter) -> Self {
        Self { first, max, jitter }
    }

    /// Delays of at most `delay` after every failure.
    #[must_use]
    pub const fn constant(delay: Duration, jitter: Jitter) -> Self {
        Self::new(delay, delay, jitter)
    }

    /// The longest possible delay after `failures` failures in a row, counted from 1.
    #[must_use]
    pub fn longest(&self, failures: u32) -> Duration {
        // 2^16 times the first delay is beyond every maximum in use.
        let doubled = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
        self.first.saturating_mul(doubled).min(self.max)
    }

    /// The delay after `failures` failures in a row, counted from 1.
    #[must_use]
    pub fn delay(&self, failures: u32, random: &dyn RandomSource) -> Duration {
        let longest = self.longest(failures);
        match self.jitter {
            Jitter::None => longest,
            Jitter::Half => longest.mul_f64(0.5 + random.fraction() / 2.0),
            Jitter::Full => longest.mul_f64(random.fraction()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SeededRandom;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn delays_double_up_to_their_maximum() {
        let backoff = Backoff::new(SECOND, 5 * SECOND, Jitter::None);
        let random = SeededRandom::new(1);
        let delays: Vec<_> = (0..6).map(|failures| backoff.delay(failures, &random).as_secs()).collect();
        assert_eq!(delays, [1, 1, 2, 4, 5, 5]);
        assert_eq!(backoff.delay(u32::MAX, &random), 5 * SECOND);
        assert_eq!(Backoff::constant(SECOND, Jitter::None).delay(9, &random), SECOND);
    }

    #[test]
    fn jitter_keeps_to_its_share_and_uses_all_of_it() {
        let random = SeededRandom::new(2);
        for (jitter, least) in [(Jitter::Half, 0.5), (Jitter::Full, 0.0)] {
            let backoff = Backoff::new(SECOND, 64 * SECOND, jitter);
            let shares: Vec<f64> = (0..1000).map(|_| backoff.delay(4, &random).as_secs_f64() / 8.0).collect();
            let (lowest, highest) =
                (shares.iter().copied().fold(1.0, f64::min), shares.iter().copied().fold(0.0, f64::max));
            assert!(least <= lowest && lowest < least + 0.02 && 0.98 < highest && highest < 1.0, "{lowest} {highest}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_delays() {
        let delays = |seed| {
            let random = SeededRandom::new(seed);
            [1, 2, 3].map(|failures| Backoff::new(SECOND, 64 * SECOND, Jitter::Full).delay(failures, &random))
        };
        assert_eq!(delays(3), delays(3));
        assert_ne!(delays(3), delays(4));
    }
}
