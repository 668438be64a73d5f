//! Continuity of the ledger: recognizes the database server that has the ledger this process knows.
//!
//! After a failover there may be two servers: the one that has the ledger, and one that lags behind, is in recovery, or
//! has diverged. Facts and appends report the server's newest registry change, which is compared with the one recorded
//! here. Must never wait: it is called in the middle of checks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Result, StoreError};
use crate::domain::Revision;
use crate::ledger::chain::Head;

/// The server that answered does not have the ledger. Its answer was not used.
#[derive(Debug, thiserror::Error)]
#[error("the database server that answered is not the one to use: {0}")]
pub struct WrongServer(String);

impl WrongServer {
    pub(super) fn error(why: impl Into<String>) -> StoreError {
        StoreError::Unavailable(Box::new(Self(why.into())))
    }
}

/// Returns whether `error` is a [`WrongServer`].
pub(super) fn is_wrong_server(error: &StoreError) -> bool {
    match error {
        StoreError::Unavailable(cause) => cause.is::<WrongServer>(),
        StoreError::Ledger(cause) => cause.downcast_ref::<StoreError>().is_some_and(is_wrong_server),
        _ => false,
    }
}

/// What this process has committed or read.
#[derive(Debug, Default)]
struct Newest {
    change: Option<Head>,
    revision: Option<Revision>,
}

/// The newest registry change that this process has committed or read, and the generation of usable connections.
///
/// Only entries that change what decisions depend on are compared: a server that was promoted may lack the last
/// decisions.
#[derive(Debug, Default)]
pub(super) struct LedgerContinuity {
    newest: Mutex<Newest>,
    /// A connection belongs to the generation in which its opening began. Connections of earlier generations are
    /// retired: they may lead to the wrong server.
    generation: watch::Sender<u64>,
}

impl LedgerContinuity {
    fn lock(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the newest registry change that this process knows.
    pub(super) fn newest_change(&self) -> Option<Head> {
        self.lock().change.clone()
    }

    /// Returns the newest revision that this process knows.
    pub(super) fn newest_revision(&self) -> Option<Revision> {
        self.lock().revision
    }

    /// Returns the generation of connections that are opened from now on.
    pub(super) fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Retires every connection that is open, because one of `generation` leads to the wrong server. Does nothing when
    /// a newer generation exists: those connections were opened since.
    pub(super) fn retire(&self, generation: u64) {
        self.generation.send_if_modified(|current| {
            let newest = *current == generation;
            *current += u64::from(newest);
            newest
        });
    }

    /// Returns whether connections of `generation` must not be used any more.
    pub(super) fn is_retired(&self, generation: u64) -> bool {
        generation < self.generation()
    }

    /// Waits until connections of `generation` are retired.
    pub(super) async fn retired(&self, generation: u64) {
        // The sender lives as long as `self`.
        let _ = self.generation.subscribe().wait_for(|current| generation < *current).await;
    }

    /// Waits for a step on a connection of `generation`, or until that generation is retired: a server that lost its
    /// standby may never answer a commit.
    pub(super) async fn while_current<T>(&self, generation: u64, step: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            outcome = step => outcome,
            () = self.retired(generation) =>
                Err(WrongServer::error("another one has taken over; \
                 whether the last statement took effect is not known")),
        }
    }

    /// Records an entry that changed what decisions depend on.
    pub(super) fn record(&self, entry: &Head) {
        let mut newest = self.lock();
        // The genesis is the same everywhere.
        if entry.sequence > newest.change.as_ref().map_or(0, |known| known.sequence) {
            newest.change = Some(entry.clone());
        }
    }

    /// Records a revision. That of a later incarnation has a higher sequence: it begins with an entry of its own.
    pub(super) fn record_revision(&self, revision: Revision) {
        let mut newest = self.lock();
        if newest.revision.is_none_or(|known| known.sequence < revision.sequence) {
            newest.revision = Some(revision);
        }
    }

    /// Records the state of a server from which facts were read.
    pub(super) fn record_read(&self, change: &Head, revision: Revision) {
        self.record(change);
        self.record_revision(revision);
    }
}

/// Compares the `known` entry with the hash that the database has `stored` at its sequence.
pub(super) fn verify(known: Option<&Head>, stored: Option<&str>) -> Result<()> {
    match (known, stored) {
        (None, _) => Ok(()),
        (Some(known), Some(hash)) if hash == known.entry_hash => Ok(()),
        (Some(known), Some(_)) => Err(WrongServer::error(format!(
            "its ledger has another entry {} than this process knows: two servers were written, \
             or the ledger was replaced \
             (if it was restored on purpose, restart this process)",
            known.sequence
        ))),
        (Some(known), None) => Err(WrongServer::error(format!(
            "its ledger lacks entry {}, which this process knows (if it was restored on purpose, restart this process)",
            known.sequence
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(sequence: i64) -> Head {
        Head { sequence, entry_hash: format!("{sequence:064}") }
    }

    #[test]
    fn the_newest_change_never_goes_back() {
        let continuity = LedgerContinuity::default();
        continuity.record(&Head::genesis());
        assert_eq!(continuity.newest_change(), None);
        continuity.record(&entry(3));
        continuity.record(&entry(2));
        assert_eq!(continuity.newest_change(), Some(entry(3)));
    }

    #[test]
    fn only_connections_opened_before_are_retired() {
        let continuity = LedgerContinuity::default();
        let before = continuity.generation();
        assert!(!continuity.is_retired(before));
        continuity.retire(before);
        assert!(continuity.is_retired(before));
        let after = continuity.generation();
        assert!(!continuity.is_retired(after));
        // Another one of the older connections is found out.
        continuity.retire(before);
        assert!(!continuity.is_retired(after));
    }

    #[tokio::test]
    async fn a_step_ends_when_another_server_takes_over() {
        let continuity = LedgerContinuity::default();
        assert_eq!(continuity.while_current(0, async { Ok(7) }).await.unwrap(), 7);
        let (outcome, ()) = tokio::join!(continuity.while_current(0, std::future::pending::<Result<()>>()), async {
            continuity.retire(0);
        });
        assert!(is_wrong_server(&outcome.unwrap_err()));
    }

    #[test]
    fn a_ledger_that_lacks_a_known_entry_or_has_another_is_refused() {
        let known = entry(7);
        assert!(verify(None, None).is_ok());
        assert!(verify(Some(&known), Some(&known.entry_hash)).is_ok());
        for stored in [None, Some(&*entry(8).entry_hash)] {
            assert!(is_wrong_server(&StoreError::Ledger(verify(Some(&known), stored).unwrap_err().into())));
        }
    }
}
