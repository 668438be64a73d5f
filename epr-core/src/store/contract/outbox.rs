//! The outbox: events that are to be delivered, who may deliver them, and what became of each attempt.

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use super::{Result, RowVisitor};
use crate::domain::Timestamp;
use crate::domain::event::{DeliveryState, Event, EventFilter};
use crate::store::Page;

/// Reads events and leases them for delivery. They are written by [`Tx::insert_event`](super::Tx::insert_event).
#[async_trait]
pub trait OutboxStore: Send + Sync {
    /// Returns one event by its `event_id`.
    ///
    /// Example: `None` for an id that was never written.
    async fn event(&self, event_id: Uuid) -> Result<Option<Event>>;

    /// Lists events that match `filter`, newest first by `occurred_at`, in batches. The page's cursor has that time.
    ///
    /// Example: with `delivery_state: Some(Failed)` only events that were given up are visited.
    async fn events(&self, filter: &EventFilter, page: Page, visit: RowVisitor<'_, Event>) -> Result<()>;

    /// Leases up to `limit` events that are due and have no earlier pending event with the same ordering key: one step
    /// of a walk over the ordering keys, from `from` on. A step looks at a bounded number of keys, whatever the backlog
    /// of each.
    ///
    /// INVARIANT: two callers never have a lease on the same event at the same time, unless the lease of one has
    /// expired.
    ///
    /// Example: of two pending events with the key `k`, only the first is returned, leased or not.
    async fn lease_events(&self, claim: Lease, now: Timestamp, limit: u32, from: OutboxCursor) -> Result<LeasedEvents>;

    /// Stores the outcomes of events leased under `token`; events no longer leased under it are left alone. Returns
    /// `true` when later events with the same key are pending, which may be deliverable now.
    ///
    /// Example: an outcome under a token whose lease another relay has replaced changes nothing.
    async fn complete_events(&self, token: Uuid, now: Timestamp, completions: &[Completion]) -> Result<bool>;

    /// Makes failed events pending again, with no attempts: one, or the first `limit`. Returns how many.
    ///
    /// Example: `requeue_events(None, now, 2)` after three failures returns 2, and then 1.
    async fn requeue_events(&self, event_id: Option<Uuid>, now: Timestamp, limit: u32) -> Result<u64>;

    /// Returns whether any event is pending. Costs the same whatever the backlog is.
    ///
    /// Example: `false` once every event is published or failed.
    async fn any_event_pending(&self) -> Result<bool>;

    /// Counts what is pending and failed, up to [`Backlog::MAX_COUNT`] each.
    ///
    /// Example: `Backlog { pending: 0, failed: 0, oldest_pending: None }` on an empty outbox.
    async fn event_backlog(&self) -> Result<Backlog>;

    /// Signals whenever a process has written an event for the relays. Signals may be lost: poll as well. The stream
    /// ends when the database has no notifications.
    ///
    /// Example: on SQLite the stream is empty.
    fn outbox_signals(&self) -> BoxStream<'static, ()>;
}

/// The right to deliver events for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The fence: results count only under it.
    pub token: Uuid,
    /// The time at which the lease ends.
    pub until: Timestamp,
}

/// An event that the caller may deliver.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedEvent {
    /// The position of the event in the outbox.
    pub position: i64,
    /// The event.
    pub event: Event,
}

/// The position in a walk over pending events: first over the ordering keys, then over the events without one. A walk
/// starts at the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OutboxCursor {
    /// The keys after this one are next.
    Key(String),
    /// The walk has passed all keys; the events without a key after this position are next.
    Unordered(i64),
}

impl Default for OutboxCursor {
    fn default() -> Self {
        Self::Key(String::new())
    }
}

/// Events claimed by one step of a walk.
#[derive(Debug, Clone, PartialEq)]
pub struct LeasedEvents {
    /// The events, in the order in which they were written.
    pub events: Vec<LeasedEvent>,
    /// The start of the next step.
    pub next: OutboxCursor,
    /// Whether the walk has reached its end, so that `next` is its start.
    pub ended: bool,
}

/// The result of the delivery of a claimed event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Completion {
    /// The position of the event in the outbox.
    pub position: i64,
    /// The new state of the event.
    pub state: DeliveryState,
    /// Attempts to add.
    pub attempts: i32,
    /// The error of the attempt.
    pub last_error: Option<String>,
    /// When it is due again, if it is pending.
    pub next_attempt_at: Timestamp,
}

/// The events that are still to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Events that are pending, at most [`Backlog::MAX_COUNT`].
    pub pending: i64,
    /// Events that were given up, at most [`Backlog::MAX_COUNT`].
    pub failed: i64,
    /// When the oldest pending one was written.
    pub oldest_pending: Option<Timestamp>,
}

impl Backlog {
    /// Events beyond this many are not counted: the cost of a look is bounded.
    pub const MAX_COUNT: i64 = 100_000;
}
