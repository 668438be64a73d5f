//! Wakes readers of the change feed when the registry has changed.
//!
//! Three sources say how far the registry has come: commits of this process, the feed that the cache follows, and a
//! look at the database every second, which all waiting readers share. Must never be the reason to answer anything: a
//! reader that is woken reads the database.

use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::{Instant, sleep};

use crate::domain::Revision;
use crate::store::Store;

/// The interval at which waiting readers look at the database: for changes of other processes when the cache is off or
/// its feed is cut, and of programs that notify nobody.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The pause before a reader reads again that has read everything and yet is not up to date.
const PAUSE: Duration = Duration::from_millis(100);

/// The newest revision that this process knows of.
pub(crate) struct ChangeSignal {
    newest: watch::Sender<Option<Revision>>,
    /// The time of the last look at the database; locked during a look.
    looked: Mutex<Option<Instant>>,
}

impl Default for ChangeSignal {
    fn default() -> Self {
        Self { newest: watch::Sender::new(None), looked: Mutex::default() }
    }
}

/// Whether a reader that has everything up to `seen` has more to read. A revision of another incarnation is more.
fn is_beyond(newest: Option<&Revision>, seen: Revision) -> bool {
    newest.is_some_and(|newest| newest.incarnation != seen.incarnation || newest.sequence > seen.sequence)
}

impl ChangeSignal {
    /// Returns the newest revision that this process knows of.
    pub(crate) fn newest(&self) -> Option<Revision> {
        *self.newest.borrow()
    }

    /// The registry has come to `revision`.
    pub(crate) fn reached(&self, revision: Revision) {
        self.newest.send_if_modified(|newest| {
            let is_newer = newest.is_none_or(|known| is_beyond(Some(&revision), known));
            if is_newer {
                *newest = Some(revision);
            }
            is_newer
        });
    }

    /// Waits until the registry has come beyond `seen`, as far as this process can know.
    ///
    /// A database that lost entries in a failover can be behind what this process knows. Then it is asked, after a
    /// pause, and what it says holds: no reader reads without pause.
    pub(crate) async fn beyond(&self, store: &dyn Store, seen: Revision) {
        let mut newest = self.newest.subscribe();
        if is_beyond(newest.borrow().as_ref(), seen) {
            sleep(PAUSE).await;
            let known = *self.newest.borrow();
            if let Ok(state) = store.registry_state().await {
                self.correct(known, state.revision);
            }
        }
        loop {
            let is_known = async {
                // The sender lives as long as `self`.
                let _ = newest.wait_for(|newest| is_beyond(newest.as_ref(), seen)).await;
            };
            tokio::select! {
                biased;
                () = is_known => return,
                () = sleep(POLL_INTERVAL) => self.look(store).await,
            }
        }
    }

    /// Replaces what was `known` by what the database says, unless more has become known meanwhile.
    fn correct(&self, known: Option<Revision>, revision: Revision) {
        self.newest.send_if_modified(|newest| {
            let is_same = *newest == known;
            if is_same {
                *newest = Some(revision);
            }
            is_same
        });
    }

    /// Asks the database, unless another reader does or just did. An error shows when the reader reads.
    async fn look(&self, store: &dyn Store) {
        let Ok(mut looked) = self.looked.try_lock() else { return };
        if looked.is_some_and(|at| at.elapsed() < POLL_INTERVAL / 2) {
            return;
        }
        if let Ok(state) = store.registry_state().await {
            self.reached(state.revision);
        }
        *looked = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::Incarnation;

    fn revision(incarnation: u128, sequence: i64) -> Revision {
        Revision { incarnation: Incarnation(Uuid::from_u128(incarnation)), sequence }
    }

    #[test]
    fn a_later_revision_and_one_of_another_incarnation_are_more_to_read() {
        let signal = ChangeSignal::default();
        let newest = || *signal.newest.borrow();
        assert!(!is_beyond(newest().as_ref(), revision(1, 5)));
        signal.reached(revision(1, 5));
        assert!(!is_beyond(newest().as_ref(), revision(1, 5)) && is_beyond(newest().as_ref(), revision(1, 4)));
        // Reports of several sources arrive in any order.
        signal.reached(revision(1, 4));
        assert_eq!(newest(), Some(revision(1, 5)));
        // The database has lost an entry; unless more has become known meanwhile, it is right.
        signal.correct(Some(revision(1, 4)), revision(1, 3));
        assert_eq!(newest(), Some(revision(1, 5)));
        signal.correct(Some(revision(1, 5)), revision(1, 3));
        assert!(!is_beyond(newest().as_ref(), revision(1, 3)));
        signal.reached(revision(2, 1));
        assert!(is_beyond(newest().as_ref(), revision(1, 5)));
    }
}
