//! What this process knows of the ledger, by which it recognizes the database that has it.
//!
//! After a failover there may be two servers: one that has the ledger, and one that stayed behind, is in recovery, or went
//! on by itself. Facts and appends say where they were read or written, and that is compared with what is known here.
//! Must never wait: it is asked in the middle of checks.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::{Result, StoreError};
use crate::ledger::chain::Head;

/// The server that answered is not the one that has the ledger. Its answer was not used.
#[derive(Debug, thiserror::Error)]
#[error("the database server that answered is not the one to use: {0}")]
pub struct WrongServer(String);

impl WrongServer {
    pub(super) fn error(why: impl Into<String>) -> StoreError {
        StoreError::Unavailable(Box::new(Self(why.into())))
    }
}

/// Whether `fault` is a [`WrongServer`].
pub(super) fn is_wrong_server(fault: &StoreError) -> bool {
    match fault {
        StoreError::Unavailable(cause) => cause.is::<WrongServer>(),
        StoreError::Ledger(cause) => cause.downcast_ref::<StoreError>().is_some_and(is_wrong_server),
        _ => false,
    }
}

/// The newest entry that changed what decisions depend on, of those that this process has committed, or has read from the server
/// that has the ledger. Entries of decisions are not held against a server: one that was promoted may lack the last of them.
#[derive(Debug, Default)]
pub(super) struct Lineage {
    known: Mutex<Option<Head>>,
    /// Connections belong to the generation in which their opening began. Those of earlier ones are not used: they may lead to a
    /// server that was found to be the wrong one.
    generation: watch::Sender<u64>,
}

impl Lineage {
    fn lock(&self) -> MutexGuard<'_, Option<Head>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn known(&self) -> Option<Head> {
        self.lock().clone()
    }

    /// The generation of connections that are opened from now on.
    pub(super) fn generation(&self) -> u64 {
        *self.generation.borrow()
    }

    /// Ends the use of every connection that is open by now, if one of `generation` leads to a wrong server. That an earlier one
    /// does says nothing about those that were opened since.
    pub(super) fn suspect(&self, generation: u64) {
        self.generation.send_if_modified(|current| {
            let newest = *current == generation;
            *current += u64::from(newest);
            newest
        });
    }

    /// Whether connections of `generation` are not to be used any more.
    pub(super) fn is_suspected(&self, generation: u64) -> bool {
        generation < self.generation()
    }

    /// Waits until connections of `generation` are not to be used any more.
    pub(super) async fn superseded(&self, generation: u64) {
        // The sender lives as long as `self`.
        let _ = self.generation.subscribe().wait_for(|current| generation < *current).await;
    }

    /// Waits for a step on a connection of `generation`, or until that is not to be used any more. A server that lost its standby
    /// may never answer a commit.
    pub(super) async fn while_current<T>(&self, generation: u64, step: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            outcome = step => outcome,
            () = self.superseded(generation) =>
                Err(WrongServer::error("another one has taken over; whether the last statement took effect is not known")),
        }
    }

    /// Notes an entry that changed what decisions depend on.
    pub(super) fn learn(&self, entry: &Head) {
        let mut known = self.lock();
        // The genesis is the same everywhere.
        if entry.sequence > known.as_ref().map_or(0, |known| known.sequence) {
            *known = Some(entry.clone());
        }
    }
}

/// Compares what is `known` with the hash that the database has `stored` at that sequence.
pub(super) fn check(known: Option<&Head>, stored: Option<&str>) -> Result<()> {
    match (known, stored) {
        (None, _) => Ok(()),
        (Some(known), Some(hash)) if hash == known.entry_hash => Ok(()),
        (Some(known), Some(_)) => Err(WrongServer::error(format!(
            "its ledger has another entry {} than this process knows: two servers were written, or the ledger was replaced \
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
    fn what_is_known_only_grows() {
        let lineage = Lineage::default();
        lineage.learn(&Head::genesis());
        assert_eq!(lineage.known(), None);
        lineage.learn(&entry(3));
        lineage.learn(&entry(2));
        assert_eq!(lineage.known(), Some(entry(3)));
    }

    #[test]
    fn only_what_was_open_before_is_suspected() {
        let lineage = Lineage::default();
        let before = lineage.generation();
        assert!(!lineage.is_suspected(before));
        lineage.suspect(before);
        assert!(lineage.is_suspected(before));
        let after = lineage.generation();
        assert!(!lineage.is_suspected(after));
        // Another one of the older connections is found out.
        lineage.suspect(before);
        assert!(!lineage.is_suspected(after));
    }

    #[tokio::test]
    async fn a_step_ends_when_another_server_takes_over() {
        let lineage = Lineage::default();
        assert_eq!(lineage.while_current(0, async { Ok(7) }).await.unwrap(), 7);
        let (outcome, ()) =
            tokio::join!(lineage.while_current(0, std::future::pending::<Result<()>>()), async { lineage.suspect(0) });
        assert!(is_wrong_server(&outcome.unwrap_err()));
    }

    #[test]
    fn a_ledger_that_lacks_what_is_known_or_has_another_is_refused() {
        let known = entry(7);
        assert!(check(None, None).is_ok());
        assert!(check(Some(&known), Some(&known.entry_hash)).is_ok());
        for stored in [None, Some(&*entry(8).entry_hash)] {
            assert!(is_wrong_server(&StoreError::Ledger(check(Some(&known), stored).unwrap_err().into())));
        }
    }
}
