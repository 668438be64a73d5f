//! Turns of lists of access: few pages are read at a time, and they leave time to checks.
//!
//! A page keeps one processor busy for tens of milliseconds, here or in the database, and a check for less than one.
//! Callers that walk through lists would otherwise take as many processors as they are.
//!
//! The share of checks: a page is one task that waits for one connection and never keeps more than one processor busy.
//! While half of the processors work at pages, checks have the other half. After a page comes a pause of twice its time
//! if checks were asked meanwhile, so that its place is taken for a third of the time at most. Pages thus take at most
//! a third of a half, a sixth of all processors, however many callers walk, on two processors as on many. Must never
//! hold up a check.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};

use crate::error::{Error, Result};

/// The time that a page waits for its turn.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// The time without a page that each check of the time of a page is worth: more than a check costs on any machine, so
/// that the pause is the longest one whenever checks could use all of it.
const PAUSE_PER_CHECK: Duration = Duration::from_millis(1);

/// The longest pause after a page, in times of that page.
const MAX_PAUSE: u32 = 2;

const BUSY: Error = Error::Busy("Too many lists of access are being read; try again later");

/// The turns of the pages of a service.
pub(crate) struct ListTurns {
    turns: Arc<Semaphore>,
    checks: Arc<AtomicU64>,
}

/// The turn of a page. The next page has to wait until it is dropped, and for a pause after it if checks were asked
/// meanwhile.
pub(crate) struct Turn {
    permit: Option<OwnedSemaphorePermit>,
    began: Instant,
    checks: Arc<AtomicU64>,
    checks_before: u64,
}

impl ListTurns {
    /// Half of the processors work at pages at a time, but at least one.
    pub(crate) fn new() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self::with((processors / 2).max(1))
    }

    fn with(turns: usize) -> Self {
        Self { turns: Arc::new(Semaphore::new(turns)), checks: Arc::default() }
    }

    /// Counts a check.
    pub(crate) fn count_check(&self) {
        self.checks.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for the turn of a page.
    ///
    /// # Errors
    /// `Busy` when too many pages are before it.
    pub(crate) async fn take(&self) -> Result<Turn> {
        self.take_within(MAX_WAIT).await
    }

    async fn take_within(&self, wait: Duration) -> Result<Turn> {
        let permit = timeout(wait, Arc::clone(&self.turns).acquire_owned()).await.map_err(|_| BUSY)?;
        Ok(Turn {
            // The semaphore is never closed.
            permit: Some(permit.map_err(|_| BUSY)?),
            began: Instant::now(),
            checks: Arc::clone(&self.checks),
            checks_before: self.checks.load(Ordering::Relaxed),
        })
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(permit) = self.permit.take() else { return };
        let checks = self.checks.load(Ordering::Relaxed).wrapping_sub(self.checks_before);
        let pause = pause_after(self.began.elapsed(), checks);
        if let (false, Ok(runtime)) = (pause.is_zero(), Handle::try_current()) {
            runtime.spawn(async move {
                sleep(pause).await;
                drop(permit);
            });
        }
    }
}

/// The pause after a page of this duration in whose time so many checks were asked.
fn pause_after(page: Duration, checks: u64) -> Duration {
    let owed = PAUSE_PER_CHECK.saturating_mul(u32::try_from(checks).unwrap_or(u32::MAX));
    owed.min(page.saturating_mul(MAX_PAUSE))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_in_proportion_to_the_checks_and_at_most_twice_the_page() {
        let page = Duration::from_millis(10);
        assert_eq!(pause_after(page, 0), Duration::ZERO);
        assert_eq!(pause_after(page, 5), Duration::from_millis(5));
        assert_eq!(pause_after(page, 20), Duration::from_millis(20));
        assert_eq!(pause_after(page, 1_000_000), Duration::from_millis(20));
        assert_eq!(pause_after(page, u64::MAX), Duration::from_millis(20));
    }

    #[tokio::test]
    async fn the_next_page_begins_at_once_or_after_the_pause_for_checks() {
        let turns = ListTurns::with(1);
        drop(turns.take().await.unwrap());
        assert_eq!(turns.turns.available_permits(), 1, "no checks, no pause");
        let turn = turns.take().await.unwrap();
        turns.count_check();
        drop(turn);
        assert_eq!(turns.turns.available_permits(), 0);
        turns.take().await.unwrap();
    }

    #[tokio::test]
    async fn however_many_walk_pages_take_at_most_a_third_of_the_time_of_their_place_while_checks_are_asked() {
        let turns = Arc::new(ListTurns::with(1));
        let begun = Instant::now();
        let walkers = (0..10).map(|_| {
            let turns = Arc::clone(&turns);
            tokio::spawn(async move {
                let mut read = Duration::ZERO;
                for _ in 0..3 {
                    let turn = turns.take().await.unwrap();
                    let page = Instant::now();
                    sleep(Duration::from_millis(2)).await;
                    // More than the pause is long, however slow the machine is.
                    turns.checks.fetch_add(100_000, Ordering::Relaxed);
                    read += page.elapsed();
                    drop(turn);
                }
                read
            })
        });
        let mut read = Duration::ZERO;
        for walker in walkers.collect::<Vec<_>>() {
            read += walker.await.unwrap();
        }
        // Until the pause of the last page is over.
        turns.take().await.unwrap();
        let all = begun.elapsed();
        assert!(read * 3 <= all, "{read:?} of {all:?}");
    }

    #[tokio::test]
    async fn a_page_that_waits_too_long_is_refused() {
        let turns = ListTurns::with(1);
        let turn = turns.take().await.unwrap();
        assert!(matches!(turns.take_within(Duration::from_millis(1)).await, Err(Error::Busy(_))));
        drop(turn);
        turns.take_within(Duration::ZERO).await.unwrap();
    }
}
