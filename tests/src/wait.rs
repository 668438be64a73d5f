//! Waits for a condition that another process or task brings about: as long as the observed value changes, and with a
//! message when it has not changed for three minutes. No test sleeps instead of waiting for a condition.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use epr_core::clock::{Clock as _, SystemClock};

/// A value that does not change for this long is stuck. Longer than any outage that a test causes.
const STALL_TIMEOUT: Duration = Duration::from_mins(3);

/// Evaluates `condition` until it holds. `what` names the condition in the panic.
///
/// # Panics
/// When it does not hold after three minutes.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let polling = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    let held = tokio::time::timeout(STALL_TIMEOUT, polling).await;
    assert!(held.is_ok(), "{what}: not after {STALL_TIMEOUT:?}");
}

/// Waits until the next millisecond has begun: the clock of SQLite has whole ones.
pub async fn next_millisecond() {
    let millisecond = || SystemClock.now().unix_micros() / 1000;
    let begun = millisecond();
    until("a clock that runs", async || millisecond() > begun).await;
}

/// Reads a value every `interval` until it is `enough`, and returns it. `what` names the value in the panic.
///
/// # Panics
/// When the value did not change for three minutes: a run that waits for ever does not say what it waits for.
pub async fn until_value<T, Reading>(
    what: &str,
    interval: Duration,
    mut read: impl FnMut() -> Reading,
    enough: impl Fn(&T) -> bool,
) -> T
where
    T: PartialEq + Debug,
    Reading: Future<Output = T>,
{
    let mut read =
        async || tokio::time::timeout(STALL_TIMEOUT, read()).await.unwrap_or_else(|_| panic!("{what}: no answer"));
    let (mut last, mut since) = (read().await, Instant::now());
    while !enough(&last) {
        tokio::time::sleep(interval).await;
        let seen = read().await;
        if seen != last {
            (last, since) = (seen, Instant::now());
        }
        assert!(since.elapsed() < STALL_TIMEOUT, "{what}: it has been {last:?} for {STALL_TIMEOUT:?}");
    }
    last
}
