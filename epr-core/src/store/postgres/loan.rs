//! Connections on loan from the pool, and transactions on them, for a server that may go silent.
//!
//! After a failover, connections may stay open with nobody at the other end. The driver would wait for an answer on them
//! until the kernel gives up, a quarter of an hour or more: in a statement, and in asking each connection that is given back
//! whether it is alive. Here both have an end. The driver also takes a transaction to be open only once the server has said
//! so: a caller that leaves during its own would put a connection with an open transaction back into the pool, where the next
//! statements would never be committed. Here such a connection is closed.

use std::io;
use std::ops::{Deref, DerefMut};
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::conn::Conn;
use super::dialect::classify;
use super::pool::Pool;
use super::pooling::Begin;
use crate::store::StoreError;

/// How long a step may take: a statement, or the few that belong together. Well above the limits that the server itself
/// keeps for one of them.
const SILENCE: Duration = Duration::from_secs(20);
/// How long a connection has to become quiet when all the time for its step was used up before.
const LAST_WORD: Duration = Duration::from_secs(1);

/// Waits for a step, unless the server has gone silent.
pub(in super::super) async fn unless_silent<T>(
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    within(SILENCE, step).await
}

/// Waits for a step as long as `limit`. Then it fails as on a connection that was cut.
pub(in super::super) async fn within<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, step).await.unwrap_or_else(|_| Err(classify(no_answer())))
}

pub(super) fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer"))
}

/// A connection that goes back to the pool when it is dropped, or is closed if it does not become quiet.
pub(in super::super) struct Loan {
    /// There until it is dropped.
    conn: Option<Conn>,
    since: Instant,
    /// Whether it is not to be used again.
    last: bool,
}

impl Loan {
    pub(super) async fn take(pool: &Pool) -> Result<Self, StoreError> {
        let lease = pool.acquire().await?;
        Ok(Self { conn: Some(Conn::new(lease)), since: Instant::now(), last: false })
    }

    /// Closes it when it is dropped.
    pub(super) fn close_on_drop(&mut self) {
        self.last = true;
    }
}

impl Deref for Loan {
    type Target = Conn;

    #[expect(clippy::expect_used, reason = "taken out where it is dropped, and nowhere else")]
    fn deref(&self) -> &Conn {
        self.conn.as_ref().expect("a connection")
    }
}

impl DerefMut for Loan {
    #[expect(clippy::expect_used, reason = "taken out where it is dropped, and nowhere else")]
    fn deref_mut(&mut self) -> &mut Conn {
        self.conn.as_mut().expect("a connection")
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        let Some(mut conn) = self.conn.take() else { return };
        // Dropped without being given back, a connection is closed.
        if self.last || conn.is_superseded() {
            return;
        }
        if conn.open {
            if conn.depth() == 0 {
                // Whether it has begun is not known: the driver would end nothing.
                return;
            }
            // Sent by the task below without waiting for what is under way: a process that is frozen then leaves no lock behind.
            conn.start_rollback();
        }
        let limit = SILENCE.saturating_sub(self.since.elapsed()).max(LAST_WORD);
        // What does not become quiet in time is closed.
        tokio::spawn(timeout(limit, conn.into_lease().give_back()));
    }
}

/// A transaction, which is rolled back when it is dropped.
pub(in super::super) struct Transaction(Loan);

impl Transaction {
    pub(super) async fn begin(pool: &Pool, how: Begin) -> Result<Self, StoreError> {
        let mut loan = Loan::take(pool).await?;
        unless_silent(async { loan.begin(how).await.map_err(classify) }).await?;
        Ok(Self(loan))
    }

    /// Closes its connection when it has ended.
    pub(super) fn close_on_drop(&mut self) {
        self.0.close_on_drop();
    }

    /// When it fails, it may be committed or not.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        unless_silent(async { self.0.commit().await.map_err(classify) }).await
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
