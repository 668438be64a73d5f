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

use sqlx::pool::PoolConnection;
use sqlx::postgres::PgTransactionManager;
use sqlx_core::sql_str::SqlSafeStr as _;
use sqlx_core::transaction::TransactionManager as _;
use tokio::time::{Instant, timeout};

use super::{Conn, Db, classify};
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
    conn: Option<PoolConnection<Db>>,
    since: Instant,
    /// Whether the server may hold an open transaction.
    open: bool,
    /// Whether it is not to be used again.
    last: bool,
}

impl Loan {
    pub(super) async fn take(pool: &sqlx::Pool<Db>) -> Result<Self, StoreError> {
        let conn = pool.acquire().await.map_err(classify)?;
        Ok(Self { conn: Some(conn), since: Instant::now(), open: false, last: false })
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
        if self.last {
            conn.close_on_drop();
            return;
        }
        if self.open {
            if PgTransactionManager::get_transaction_depth(&conn) == 0 {
                // Whether it has begun is not known: the driver would end nothing.
                conn.close_on_drop();
                return;
            }
            // Sent by the task below without waiting for what is under way: a process that is frozen then leaves no lock behind.
            PgTransactionManager::start_rollback(&mut conn);
        }
        let limit = SILENCE.saturating_sub(self.since.elapsed()).max(LAST_WORD);
        // What the driver does when a connection is dropped, but with an end; then the connection is closed.
        tokio::spawn(timeout(limit, conn.return_to_pool()));
    }
}

/// A transaction, which is rolled back when it is dropped.
pub(in super::super) struct Transaction(Loan);

impl Transaction {
    pub(super) async fn begin(pool: &sqlx::Pool<Db>, statement: &'static str) -> Result<Self, StoreError> {
        let mut loan = Loan::take(pool).await?;
        loan.open = true;
        let begin =
            async { PgTransactionManager::begin(&mut loan, Some(statement.into_sql_str())).await.map_err(classify) };
        unless_silent(begin).await?;
        Ok(Self(loan))
    }

    /// Closes its connection when it has ended.
    pub(super) fn close_on_drop(&mut self) {
        self.0.close_on_drop();
    }

    /// When it fails, it may be committed or not.
    pub(super) async fn commit(mut self) -> Result<(), StoreError> {
        unless_silent(async { PgTransactionManager::commit(&mut self.0).await.map_err(classify) }).await?;
        self.0.open = false;
        Ok(())
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
