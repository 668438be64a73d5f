//! Runs a mutation: one transaction, which is repeated when it loses against another one.
//!
//! Must take the ledger's lock last, and must never call the network with a transaction open.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream;
use tracing::{Span, info};

use super::audit_log;
use crate::AnsweredAt;
use crate::domain::Event;
use crate::domain::event::DeliveryState;
use crate::engine::Engines;
use crate::engine::backoff::{Backoff, Jitter};
use crate::engine::contention::ContentionRetry;
use crate::engine::ledger_writer::count_recorded;
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::store::{Appended, InsertedEvent, Invalidation, Lease, LeasedEvent, OutboxEvent, StoreError, Tx};

/// The delay before a transaction that lost is repeated.
const RETRY: Backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50), Jitter::Full);

/// The most events of one change that its process delivers itself. Relays deliver those of a larger change, which would
/// outlast their leases. A bulk change has at most 1,000 steps with two events each.
const MAX_DELIVERED_AT_ONCE: usize = 2_000;
/// The most events of one change that are on their way to the topic at the same time. Those of a larger change are
/// delivered one after the other, so that it does not take all connections to the database.
const MAX_DELIVERED_SIDE_BY_SIDE: usize = 64;

/// Why a mutation was not applied.
pub(super) enum ChangeError {
    /// The database failed; contention is retried.
    Store(StoreError),
    /// The input does not fit the registry: the error for the caller.
    Caller(Error),
}

impl From<StoreError> for ChangeError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Error> for ChangeError {
    fn from(error: Error) -> Self {
        Self::Caller(error)
    }
}

/// The result of applying a mutation, or a part of it.
pub(super) type ChangeResult<T> = std::result::Result<T, ChangeError>;

/// A mutation in progress: its transaction, and the entries and events to write before the commit.
pub(super) struct Change {
    pub(super) tx: Box<dyn Tx>,
    /// The claim under which the events of this change may be delivered at once.
    claim: Lease,
    drafts: Vec<Draft>,
    events: Vec<OutboxEvent>,
    /// The span of each draft and of each event: the lines about it belong to its caller, and a transaction may have
    /// several.
    draft_spans: Vec<Span>,
    event_spans: Vec<Span>,
}

impl Change {
    /// Adds `event` to this change. It is written with the change and delivered after the commit.
    pub(super) fn emit(&mut self, event: OutboxEvent) {
        self.events.push(event);
        self.event_spans.push(Span::current());
    }

    /// Adds an entry to this change: the transaction keeps both, or neither. Returns the index of its outcome in
    /// [`Mutation::recorded`].
    pub(super) fn record(&mut self, draft: Draft) -> usize {
        self.drafts.push(draft);
        self.draft_spans.push(Span::current());
        self.drafts.len() - 1
    }
}

/// One use case that changes the registry.
pub(super) trait Mutation: Sync {
    /// The value that a commit returns.
    type Done: Send;

    /// Makes the change within `change`. It runs again from the start when the transaction loses against another one,
    /// so it must have no effect outside of `change`.
    fn apply(&self, change: &mut Change) -> impl Future<Output = ChangeResult<Self::Done>> + Send;

    /// Called when everything that this mutation adds has been written. The ledger's lock may be held.
    fn before_commit(&self, tx: &mut dyn Tx, done: &Self::Done) -> impl Future<Output = ChangeResult<()>> + Send {
        let _ = (tx, done);
        std::future::ready(Ok(()))
    }

    /// Called with the outcomes of the entries that this mutation recorded, in their order, if there are any.
    fn recorded(&self, done: Self::Done, outcomes: &[Appended]) -> Self::Done {
        let _ = outcomes;
        done
    }

    /// Called when the key of an event that this mutation emitted is taken: `first` is the stored event, which stays.
    fn found_event(&self, done: Self::Done, first: Event) -> Self::Done {
        let _ = first;
        done
    }
}

/// Applies `mutation` in a transaction and commits it, up to the limits of [`ContentionRetry`] under contention.
/// `answered_at` receives the revision of the change; of a change that changed nothing, the present one.
pub(super) async fn commit<M: Mutation>(
    engines: &Engines,
    answered_at: Option<&AnsweredAt>,
    mutation: &M,
) -> Result<M::Done> {
    let mut retry = ContentionRetry::begin();
    loop {
        match attempt(engines, answered_at, mutation).await {
            Ok(done) => return Ok(done),
            Err(ChangeError::Store(error)) => {
                match retry.next_attempt().filter(|_| matches!(error, StoreError::Contention(_))) {
                    // With a random delay: otherwise the same two transactions meet again.
                    Some(attempt) => {
                        tokio::time::sleep(RETRY.delay(attempt, &*engines.core.random)).await;
                    }
                    None => return Err(error.into()),
                }
            }
            Err(ChangeError::Caller(error)) => return Err(error),
        }
    }
}

/// Applies `mutation` in a transaction and commits it. It is not repeated when it loses against another one.
///
/// # Errors
/// Those of [`commit`], and [`StoreError::Contention`].
pub(super) async fn attempt<M: Mutation>(
    engines: &Engines,
    answered_at: Option<&AnsweredAt>,
    mutation: &M,
) -> ChangeResult<M::Done> {
    let mut change = Change {
        tx: engines.store().begin().await?,
        claim: engines.delivery.new_lease(),
        drafts: Vec::new(),
        events: Vec::new(),
        draft_spans: Vec::new(),
        event_spans: Vec::new(),
    };
    let mut done = mutation.apply(&mut change).await?;
    let Change { mut tx, claim, drafts, events, draft_spans, event_spans } = change;
    let mut written = Vec::new();
    // Before the ledger's lock, which is held as briefly as possible.
    let renewals = tx.invalidations().await?;
    let mut appended = Vec::new();
    if !drafts.is_empty() {
        // The ledger's lock comes last: it is held briefly, and no transaction waits for it before it takes another
        // lock.
        appended = tx.append(&drafts).await.map_err(|error| match error {
            StoreError::Contention(_) => error,
            other => StoreError::Ledger(other.into()),
        })?;
        done = mutation.recorded(done, &appended);
    }
    let revision = if answered_at.is_some() { Some(tx.revision().await?) } else { None };
    // Under the ledger's lock: events are written in the order in which changes are committed.
    let left_to_relay = events.len() > MAX_DELIVERED_AT_ONCE;
    let only_kept = events.iter().all(OutboxEvent::is_only_kept);
    if left_to_relay || only_kept {
        tx.insert_events(&events).await?;
    }
    for (mut outgoing, span) in events.into_iter().zip(event_spans).filter(|_| !left_to_relay) {
        if only_kept {
            written.push(Written { event: outgoing.event, claimed: None, span });
            continue;
        }
        outgoing.lease = Some(claim);
        match tx.insert_event(&outgoing).await? {
            InsertedEvent::New { position, claimed } => {
                let claimed = claimed.then_some((claim, position));
                written.push(Written { event: outgoing.event, claimed, span });
            }
            InsertedEvent::Existing(first) => done = mutation.found_event(done, *first),
        }
    }
    mutation.before_commit(&mut *tx, &done).await?;
    conclude(engines, tx, renewals).await?;
    if let Some(newest) = engines.store().newest_revision() {
        engines.changes.reached(newest);
    }
    if let (Some(answered_at), Some(revision)) = (answered_at, revision) {
        answered_at.set(revision);
    }
    engines.core.metrics.ledger.entries.inc_by(count_recorded(&appended));
    if left_to_relay {
        engines.delivery.leave_to_relay();
    }
    deliver(engines, written).await;
    for ((draft, outcome), span) in drafts.iter().zip(&appended).zip(draft_spans) {
        span.in_scope(|| audit_log::entry(draft, outcome));
    }
    Ok(done)
}

/// Commits, and invalidates the cached decisions that the change makes outdated.
async fn conclude(
    engines: &Engines,
    tx: Box<dyn Tx>,
    renewals: Vec<Invalidation>,
) -> std::result::Result<(), StoreError> {
    if renewals.is_empty() {
        tx.commit().await?;
        engines.graph.changed();
        return Ok(());
    }
    let (cache, graph) = (Arc::clone(&engines.cache), Arc::clone(&engines.graph));
    let probe = engines.core.commit_probe.clone();
    // In a task of its own: a change must invalidate this process's cache even if its caller goes away.
    let task = tokio::spawn(async move {
        cache.expect(&renewals);
        let renewals = match &probe {
            Some(probe) => probe.before_commit(renewals).await,
            None => renewals,
        };
        let outcome = tx.commit().await;
        if let Some(probe) = &probe {
            probe.after_commit().await;
        }
        cache.changed(&renewals, outcome.is_ok()).await;
        graph.changed();
        outcome
    });
    task.await.map_err(|error| StoreError::Unavailable(error.into()))?
}

/// An event that a committed transaction wrote.
struct Written {
    event: Event,
    /// The claim under which this process delivers it, and its position.
    claimed: Option<(Lease, i64)>,
    span: Span,
}

/// Delivers the events of a committed change, or leaves them to the relay. No two that are claimed have an ordering key
/// in common.
async fn deliver(engines: &Engines, written: Vec<Written>) {
    let one = async |Written { event, claimed, span }| {
        if event.delivery_state != DeliveryState::Pending {
            span.in_scope(|| {
                info!(event_id = %event.event_id, event_type = event.event_type, "events_engine_publish_skipped");
            });
        } else if let Some((claim, position)) = claimed {
            engines.delivery.deliver_now(claim, LeasedEvent { position, event }).await;
        } else {
            engines.delivery.leave_to_relay();
        }
    };
    let side_by_side = if written.len() > MAX_DELIVERED_SIDE_BY_SIDE { 1 } else { MAX_DELIVERED_SIDE_BY_SIDE };
    stream::iter(written).for_each_concurrent(side_by_side, one).await;
}
