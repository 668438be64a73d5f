//! The sources of time, ids and chance. The only file that reads the system clock or makes an id.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use uuid::Uuid;

use crate::domain::Timestamp;

/// A source of the current time.
pub trait Clock: Send + Sync {
    /// Now, in UTC, in microseconds.
    fn now(&self) -> Timestamp;
}

/// The system's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods, reason = "the one function that reads the time")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        // Beyond the year 9999 the machine is broken, and no answer would be right.
        Timestamp::from_unix_micros(micros).unwrap_or_else(|_| epoch())
    }
}

/// A clock that a test moves by hand, so that it need not sleep.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// A clock that shows `at`.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.unix_micros()))
    }

    /// Moves the clock by `micros` microseconds; a negative number moves it back.
    pub fn advance_micros(&self, micros: i64) {
        self.0.fetch_add(micros, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_unix_micros(self.0.load(Ordering::SeqCst)).unwrap_or_else(|_| epoch())
    }
}

fn epoch() -> Timestamp {
    Timestamp::from_unix_micros(0).unwrap_or_else(|_| unreachable!("1970 is within the years 1 to 9999"))
}

/// A source of unique ids.
pub trait IdSource: Send + Sync {
    /// A new id.
    fn next(&self) -> Uuid;
}

/// UUIDs of version 7. They ascend with time, which keeps indexes compact.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeOrderedIds;

impl IdSource for TimeOrderedIds {
    #[allow(clippy::disallowed_methods, reason = "the one function that makes ids")]
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}

/// A source of random numbers, for delays that must differ between processes. Not for secrets.
pub trait RandomSource: Send + Sync {
    /// A number from 0 (included) to 1 (excluded), uniformly distributed.
    fn fraction(&self) -> f64;
}

/// The generator of this process, seeded by the operating system.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemRandom;

impl RandomSource for SystemRandom {
    fn fraction(&self) -> f64 {
        PROCESS_RANDOM.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}

static PROCESS_RANDOM: LazyLock<Mutex<SmallRng>> =
    LazyLock::new(|| Mutex::new(SmallRng::seed_from_u64(getrandom::u64().unwrap_or(0))));

/// A generator that a test seeds: the same seed gives the same numbers.
#[derive(Debug)]
pub struct SeededRandom(Mutex<SmallRng>);

impl SeededRandom {
    /// The generator of `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(SmallRng::seed_from_u64(seed)))
    }
}

impl RandomSource for SeededRandom {
    fn fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).random()
    }
}
