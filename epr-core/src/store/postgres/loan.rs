//! Connections on loan from the pool, and transactions on them, for a server that may go silent.
//!
//! After a failover, connections may stay open with nobody at the other end. The driver would wait for an answer on them
//! until the kernel gives up, a quarter of an hour or more: in a statement, and in asking each connection that is given back
//! whether it is alive. Here both have an end. The driver also takes a transaction to be open only once the server has said
//! so: a caller that leaves during its own would put a connection with an open transaction back into the pool, where the next
//! statements would never be committed. Here it is open as soon as it is asked for.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

use sqlx::pool::PoolConnection;
use tokio::time::timeout;

use super::{Conn, Db, classify};
use crate::store::StoreError;

/// How long a statement may take. Above the limits that the server itself keeps: only a server that has gone silent meets it.
const SILENCE: Duration = Duration::from_secs(20);

/// Waits for `work`, unless the server has gone silent.
pub(in super::super) async fn unless_silent<T>(
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    let done = timeout(SILENCE, work).await;
    done.unwrap_or_else(|_| Err(StoreError::Unavailable("the database does not answer".into())))
}

/// A connection that goes back to the pool when it is dropped, quiet, or is closed.
pub(in super::super) struct Loan {
    /// There until it is dropped.
    conn: Option<PoolConnection<Db>>,
    /// Whether the server may hold an open transaction.
    open: bool,
}

impl Loan {
    pub(super) async fn take(pool: &sqlx::Pool<Db>) -> Result<Self, StoreError> {
        Ok(Self { conn: Some(pool.acquire().await.map_err(classify)?), open: false })
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
        if let Some(conn) = self.conn.take() {
            tokio::spawn(give_back(conn, self.open));
        }
    }
}

async fn give_back(mut conn: PoolConnection<Db>, open: bool) {
    if open {
        // Waits for what is under way before.
        let ended = timeout(SILENCE, sqlx::raw_sql("ROLLBACK").execute(&mut *conn)).await;
        if !matches!(ended, Ok(Ok(_))) {
            conn.close_on_drop();
            return;
        }
    }
    // What the driver does when a connection is dropped, but in here, where it can be left: it is closed then.
    let _ = timeout(SILENCE, conn.return_to_pool()).await;
}

/// A transaction, which is rolled back when it is dropped.
pub(in super::super) struct Transaction(Loan);

impl Transaction {
    pub(super) async fn begin(pool: &sqlx::Pool<Db>, statement: &'static str) -> Result<Self, StoreError> {
        let mut loan = Loan::take(pool).await?;
        loan.open = true;
        unless_silent(async { sqlx::raw_sql(statement).execute(&mut *loan).await.map_err(classify) }).await?;
        Ok(Self(loan))
    }

    /// When it fails, it may be committed or not.
    pub(in super::super) async fn commit(mut self) -> Result<(), StoreError> {
        unless_silent(async { sqlx::raw_sql("COMMIT").execute(&mut *self.0).await.map_err(classify) }).await?;
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
