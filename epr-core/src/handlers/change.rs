//! How a mutation is carried out: one transaction, tried again when it loses against another one.

use std::sync::Arc;
use std::time::Duration;

use super::audit_log;
use super::events::Written;
use crate::Epr;
use crate::domain::Event;
use crate::engine::contention::Retry;
use crate::engine::ledger_writer::recorded;
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::store::{Claim, InsertedEvent, OutboxEvent, Renewal, StoreError, Tx};

/// The longest wait before the first retry; later ones may wait longer.
const RETRY: Duration = Duration::from_millis(10);

/// Why a mutation stopped: a fault of the database, or an answer for the caller.
pub(super) enum Stop {
    Store(StoreError),
    Answer(Error),
}

impl From<StoreError> for Stop {
    fn from(fault: StoreError) -> Self {
        Self::Store(fault)
    }
}

impl From<Error> for Stop {
    fn from(answer: Error) -> Self {
        Self::Answer(answer)
    }
}

/// What one step of a mutation gives.
pub(super) type Step<T> = std::result::Result<T, Stop>;

/// A mutation under way: its transaction, and what the ledger will say about it.
pub(super) struct Change {
    pub(super) tx: Box<dyn Tx>,
    /// The claim under which the events of this change may be delivered at once.
    claim: Claim,
    drafts: Vec<Draft>,
    events: Vec<OutboxEvent>,
}

impl Change {
    /// Has `event` written with this change, and delivered after it.
    pub(super) fn emit(&mut self, event: OutboxEvent) {
        self.events.push(event);
    }

    /// Has `draft` recorded with this change: both are kept, or neither.
    pub(super) fn record(&mut self, draft: Draft) {
        self.drafts.push(draft);
    }
}

/// One use case that changes something.
pub(super) trait Mutation: Sync {
    /// What it gives when it is committed.
    type Done: Send;

    /// Does it within `change`. Runs again from the start when the transaction lost against another one, so it must
    /// change nothing outside of it.
    fn apply(&self, change: &mut Change) -> impl Future<Output = Step<Self::Done>> + Send;

    /// Sees the event that was ingested before under the key of one that this mutation emitted, instead of which it stays.
    fn found_event(&self, done: Self::Done, first: Event) -> Self::Done {
        let _ = first;
        done
    }
}

impl Epr {
    /// Applies `mutation` in a transaction and commits.
    pub(super) async fn commit<M: Mutation>(&self, mutation: &M) -> Result<M::Done> {
        let mut retry = Retry::begin();
        loop {
            match self.attempt(mutation).await {
                Ok(done) => return Ok(done),
                Err(Stop::Store(fault)) => match retry.lost().filter(|_| matches!(fault, StoreError::Contention(_))) {
                    // Spread out, or the same two meet again.
                    Some(attempt) => tokio::time::sleep(RETRY.mul_f64(self.spread()) * attempt).await,
                    None => return Err(fault.into()),
                },
                Err(Stop::Answer(answer)) => return Err(answer),
            }
        }
    }

    async fn attempt<M: Mutation>(&self, mutation: &M) -> Step<M::Done> {
        let mut change =
            Change { tx: self.store().begin().await?, claim: self.new_claim(), drafts: Vec::new(), events: Vec::new() };
        let mut done = mutation.apply(&mut change).await?;
        let Change { mut tx, claim, drafts, events } = change;
        let mut written = Vec::new();
        // Before the ledger's lock, which is held for as short as can be.
        let renewals = tx.renewals().await?;
        let mut appended = Vec::new();
        if !drafts.is_empty() {
            // The ledger's lock comes last, so that it is held for as short as can be and never waited for while
            // another lock is still to be taken.
            appended = tx.append(&drafts).await.map_err(|fault| match fault {
                StoreError::Contention(_) => fault,
                other => StoreError::Ledger(other.into()),
            })?;
        }
        // Under the ledger's lock: the order in which events are written is the order in which changes are committed.
        for mut outgoing in events {
            outgoing.lease = Some(claim);
            match tx.insert_event(&outgoing).await? {
                InsertedEvent::New { position, claimed } => {
                    written.push(Written { event: outgoing.event, claim, position, claimed });
                }
                InsertedEvent::Existing(first) => done = mutation.found_event(done, *first),
            }
        }
        self.conclude(tx, renewals).await?;
        self.metrics().ledger.entries.inc_by(recorded(&appended));
        self.after_commit(written).await;
        audit_log::entries(&drafts, &appended);
        Ok(done)
    }

    /// Commits, and makes the cache forget what is no longer true.
    async fn conclude(&self, tx: Box<dyn Tx>, renewals: Vec<Renewal>) -> std::result::Result<(), StoreError> {
        if renewals.is_empty() {
            return tx.commit().await;
        }
        let cache = Arc::clone(self.cache());
        // In a task of its own: a caller that goes away must not leave a change that this process's cache knows nothing of.
        let task = tokio::spawn(async move {
            cache.expect(&renewals);
            #[cfg(test)]
            cache.before_commit(&renewals).await;
            let outcome = tx.commit().await;
            #[cfg(test)]
            cache.after_commit().await;
            cache.changed(&renewals, outcome.is_ok()).await;
            outcome
        });
        task.await.map_err(|fault| StoreError::Unavailable(fault.into()))?
    }
}
