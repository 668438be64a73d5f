//! Where time and ids come from. The only place that reads the system clock or makes an id.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

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
    #[allow(clippy::disallowed_methods, reason = "the one place where the time is read")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let micros = i64::try_from(since.as_micros()).unwrap_or(i64::MAX);
        // Beyond the year 9999 the machine is broken, and no answer would be right.
        Timestamp::from_unix_micros(micros).unwrap_or_else(|_| epoch())
    }
}

/// A clock that stands still until it is moved: for tests that need no sleeping.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Stands at `at`.
    #[must_use]
    pub fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.unix_micros()))
    }

    /// Moves by microseconds, forward or back.
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

/// A source of ids that nobody had before.
pub trait IdSource: Send + Sync {
    /// The next id.
    fn next(&self) -> Uuid;
}

/// UUIDs of version 7: in the order of their making, which keeps indexes compact.
#[derive(Debug, Clone, Copy, Default)]
pub struct TimeOrderedIds;

impl IdSource for TimeOrderedIds {
    #[allow(clippy::disallowed_methods, reason = "the one place where ids are made")]
    fn next(&self) -> Uuid {
        Uuid::now_v7()
    }
}
