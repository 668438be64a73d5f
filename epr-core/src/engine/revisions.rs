//! Waiting until the database has reached a revision that a caller names.
//!
//! INVARIANT: a read that begins after [`reach`] has returned sees the named state or a later one. Must never answer
//! from a cache.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

use super::Engines;
use super::backoff::{Backoff, Jitter};
use crate::call::{AtLeast, Call, other_incarnation};
use crate::error::{Error, Result};

/// The delay before the database is asked again. A revision was committed before anybody could name it, so that only a
/// database that lost changes, or a revision that was made up, has to be waited for.
const RETRY: Backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500), Jitter::Half);

const NOT_REACHED: Error =
    Error::Busy("The registry has not reached the revision in `EPR-At-Least` within the time limit; retry later");

/// Waits until the database has reached the state that `call` names. An answer that is made of facts calls
/// [`Call::confirm_incarnation`] with their revision, which recognizes another incarnation.
///
/// # Errors
/// `Busy` when the database does not reach it in time; `Conflict` when it is of another incarnation; `Unavailable`.
pub(crate) async fn reach(engines: &Engines, call: &Call) -> Result<()> {
    let Some(at_least) = call.at_least else { return Ok(()) };
    // Every later read of this process sees at least what it has read or committed.
    if engines.store().newest_revision().is_some_and(|known| known >= at_least.revision) {
        return Ok(());
    }
    reach_in_database(engines, at_least).await
}

/// [`reach`] by what the database says now: for reads that do not return their revision.
///
/// # Errors
/// Those of [`reach`].
pub(crate) async fn reach_in_database(engines: &Engines, at_least: AtLeast) -> Result<()> {
    let deadline = Instant::now() + at_least.within;
    let mut attempts = 0;
    loop {
        let state = timeout_at(deadline, engines.store().registry_state()).await.map_err(|_| NOT_REACHED)??;
        if state.revision.incarnation != at_least.revision.incarnation {
            return Err(other_incarnation());
        }
        if at_least.revision.sequence <= state.head {
            return Ok(());
        }
        attempts += 1;
        let delay = RETRY.delay(attempts, &*engines.core.random);
        if Instant::now() + delay >= deadline {
            return Err(NOT_REACHED);
        }
        sleep(delay).await;
    }
}
