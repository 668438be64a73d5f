//! The change feed: how caches learn that facts have changed, in this process or another one.
//!
//! The database's triggers write an invalidation in the transaction that changes facts, regardless of the program that
//! makes the change. Must say nothing about caches.

use async_trait::async_trait;
use tokio::time::Instant;
use uuid::Uuid;

use super::Result;
use crate::domain::Revision;

/// The end of validity of decisions that were made before a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Invalidation {
    /// The id of the row in the table, where it remains until [`ChangeFeed::mark_applied`].
    pub id: i64,
    /// The principal whose decisions are invalid; `None` for all principals.
    pub principal: Option<Uuid>,
}

/// An event of the change feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FeedEvent {
    /// No other process can change this database, so the feed stays empty.
    SingleProcess,
    /// The feed is connected: every later change is reported. Changes before `at` are not, except those in `pending`.
    Connected {
        /// A moment at which the feed was complete.
        at: Instant,
        /// The identity of the database, the same for every process on it.
        database: String,
        /// Invalidations that no process has marked as applied.
        pending: Vec<Invalidation>,
    },
    /// A change was committed.
    Changed(Invalidation),
    /// Every invalidation up to this revision has been reported.
    Reached(Revision),
    /// A heartbeat: every change that was committed and answered before this moment has been reported.
    Heartbeat(Instant),
    /// The feed is cut: changes may go unreported until the next [`FeedEvent::Connected`].
    Disconnected,
}

/// The change feed of a database.
#[async_trait]
pub trait ChangeFeed: Send + Sync {
    /// Reports every change of facts to `report` until the future is dropped or the database is closed. Returns when
    /// there is nothing to report, after [`FeedEvent::SingleProcess`].
    ///
    /// INVARIANT: no [`FeedEvent::Connected`] before a change of another process would have been reported.
    ///
    /// Example: `Connected { pending: [] }`, then another process revokes an assignment: `Changed(_)`, then
    /// `Heartbeat(_)`.
    async fn follow_changes(&self, report: &(dyn Fn(FeedEvent) + Send + Sync));

    /// Removes invalidations that every shared cache has applied.
    ///
    /// Example: after `mark_applied(&[7])`, the next `Connected` has no pending invalidation 7.
    async fn mark_applied(&self, ids: &[i64]) -> Result<()>;

    /// Removes invalidations older than any cache entry can be (25 hours); returns how many.
    ///
    /// Example: on a database without invalidations, 0.
    async fn purge_invalidations(&self) -> Result<u64>;
}
