//! Connections checked out of the pool, and transactions on them, safe against cancellation and against a silent
//! server.
//!
//! The driver's own pool and transactions (sqlx 0.9.0, the newest release) are not:
//!
//! - *Silent server*: after a failover a connection may stay open without a peer. The driver pings each connection that
//!   is returned and waits until the kernel gives up, a quarter of an hour or more, with the pool's permit: one outage
//!   uses up the whole pool. Upstream: [sqlx#4349](https://github.com/transact-rs/sqlx/issues/4349), with the proposed
//!   fixes #4350, #4363 and #4407, all open. Here the ping has a deadline.
//! - *Cancelled `BEGIN`*: the driver counts a transaction only once the server has confirmed it. A caller that is
//!   cancelled before returns a connection with an open transaction to the pool, and the next statements on it are
//!   never committed. Upstream: [sqlx#4393](https://github.com/transact-rs/sqlx/issues/4393), fixed by #4394, which no
//!   release has yet. Here such a connection is closed.
//!
//! This file, `pool.rs` and the pin of `sqlx-core` can be replaced by the driver's pool when a release has #4394 and a
//! fix of
//! #4349, and its pool can retire connections by generation (`continuity.rs`). `sqlx-core` is pinned because `sqlx`
//! does not re-export `TransactionManager`, whose `start_rollback` queues a `ROLLBACK` without waiting for the
//! statement under way.
//!
//! Must never return a connection to the pool that may be inside a transaction.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::conn::Conn;
use super::deadline::{STEP_DEADLINE, with_deadline};
use super::dialect::classify;
use super::pool::Pool;
use super::pooling::Begin;
use crate::store::StoreError;

/// The least time that a returned connection has to finish what is under way, once its step has used up the deadline.
const MIN_RELEASE_TIME: Duration = Duration::from_secs(1);

/// A connection that returns to the pool when it is dropped, or is closed when it does not finish what is under way.
pub(in super::super) struct PooledConn {
    /// Present until the drop.
    conn: Option<Conn>,
    since: Instant,
    /// Whether the connection must not be used again.
    close_on_drop: bool,
}

impl PooledConn {
    pub(super) async fn acquire(pool: &Pool) -> Result<Self, StoreError> {
        let checkout = pool.acquire().await?;
        Ok(Self { conn: Some(Conn::new(checkout)), since: Instant::now(), close_on_drop: false })
    }

    /// Closes the connection when it is dropped.
    pub(super) fn close_on_drop(&mut self) {
        self.close_on_drop = true;
    }
}

impl Deref for PooledConn {
    type Target = Conn;

    #[expect(clippy::expect_used, reason = "only the drop takes it out")]
    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("a connection")
    }
}

impl DerefMut for PooledConn {
    #[expect(clippy::expect_used, reason = "only the drop takes it out")]
    fn deref_mut(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("a connection")
    }
}

impl Drop for PooledConn {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        // Dropped without being checked in, a connection is closed.
        if self.close_on_drop || conn.is_retired() {
            return;
        }
        if conn.open {
            if !conn.is_in_transaction() {
                // Whether the transaction has begun is unknown: the driver would roll back nothing.
                return;
            }
            // The task below sends it without waiting for the statement under way, so that a frozen process leaves no
            // lock behind.
            conn.start_rollback();
        }
        let limit = STEP_DEADLINE.saturating_sub(self.since.elapsed()).max(MIN_RELEASE_TIME);
        // A connection that does not finish in time is closed.
        tokio::spawn(timeout(limit, conn.into_checkout().check_in()));
    }
}

/// A transaction, which is rolled back when it is dropped.
pub(in super::super) struct Transaction(PooledConn);

impl Transaction {
    pub(super) async fn begin(pool: &Pool, how: Begin) -> Result<Self, StoreError> {
        let mut conn = PooledConn::acquire(pool).await?;
        with_deadline(STEP_DEADLINE, async { conn.begin(how).await.map_err(classify) }).await?;
        Ok(Self(conn))
    }

    /// Closes the connection when the transaction has ended.
    pub(super) fn close_on_drop(&mut self) {
        self.0.close_on_drop();
    }

    /// Commits. On an error it is unknown whether the transaction was committed.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        with_deadline(STEP_DEADLINE, async { self.0.commit().await.map_err(classify) }).await
    }
}

impl Deref for Transaction {
    type Target = Conn;

    fn deref(&self) -> &Conn {
        &self.0
    }
}

impl DerefMut for Transaction {
    fn deref_mut(&mut self) -> &mut Conn {
        &mut self.0
    }
}
