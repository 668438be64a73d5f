//! One connection to PostgreSQL as the statements of the store see it, whether or not a pooler lends another server session for
//! each transaction.
//!
//! Behind such a pooler a named prepared statement may be missing, or be another program's, on the next session, and even the two
//! halves of one call (parse; bind and execute) can reach two sessions. So every statement there is unnamed and runs inside a
//! transaction: the caller's, or one of its own. Must never be bypassed by code that binds parameters: use [`Conn::driver`] for
//! statements without parameters only.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTransactionManager, PgTypeInfo};
use sqlx::{Either, Executor, PgConnection, SqlStr};
use sqlx_core::executor::Execute;
use sqlx_core::sql_str::SqlSafeStr as _;
use sqlx_core::transaction::TransactionManager as _;

use super::dialect::Db;
use super::pool::Lease;
use super::pooling::{Begin, Pooling};

/// A connection of the pool.
pub(in super::super) struct Conn {
    lease: Lease,
    /// Whether the server may hold an open transaction.
    pub(super) open: bool,
}

impl Conn {
    pub(super) fn new(lease: Lease) -> Self {
        Self { lease, open: false }
    }

    /// The driver's connection, for statements without parameters.
    pub(in super::super) fn driver(&mut self) -> &mut PgConnection {
        self.lease.conn()
    }

    /// In which generation of connections it was opened.
    pub(super) fn generation(&self) -> u64 {
        self.lease.generation
    }

    /// Whether another server has taken over since it was opened.
    pub(super) fn is_superseded(&self) -> bool {
        self.lease.is_superseded()
    }

    pub(super) fn into_lease(self) -> Lease {
        self.lease
    }

    /// How many transactions the driver takes to be open: 0 or 1.
    pub(super) fn depth(&self) -> usize {
        PgTransactionManager::get_transaction_depth(self.lease.conn_ref())
    }

    /// Begins a transaction, in one round trip.
    pub(super) async fn begin(&mut self, how: Begin) -> Result<(), sqlx::Error> {
        self.open = true;
        let statement = self.lease.reach.begin(how).into_sql_str();
        PgTransactionManager::begin(self.driver(), Some(statement)).await
    }

    pub(super) async fn commit(&mut self) -> Result<(), sqlx::Error> {
        PgTransactionManager::commit(self.driver()).await?;
        self.open = false;
        Ok(())
    }

    pub(super) fn start_rollback(&mut self) {
        PgTransactionManager::start_rollback(self.driver());
    }

    /// Whether a statement needs a transaction of its own.
    fn alone(&self) -> bool {
        self.lease.reach == Pooling::Transactions && self.depth() == 0
    }

    /// Runs `query` in a transaction of its own.
    async fn run_alone<'q, E: Execute<'q, Db> + 'q>(
        &mut self,
        query: E,
    ) -> Result<Vec<Either<PgQueryResult, PgRow>>, sqlx::Error> {
        self.begin(Begin::Change).await?;
        let outcome = self.driver().fetch_many(Unnamed(query)).try_collect().await;
        match outcome {
            Ok(all) => {
                self.commit().await?;
                Ok(all)
            }
            Err(fault) => {
                // What fails here shows when the connection is given back.
                if PgTransactionManager::rollback(self.driver()).await.is_ok() {
                    self.open = false;
                }
                Err(fault)
            }
        }
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Conn").field("reach", &self.lease.reach).finish_non_exhaustive()
    }
}

impl<'c> Executor<'c> for &'c mut Conn {
    type Database = Db;

    fn fetch_many<'e, 'q, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        'q: 'e,
        E: 'q + Execute<'q, Db>,
    {
        if self.alone() {
            let all =
                async move { Ok::<_, sqlx::Error>(stream::iter(self.run_alone(query).await?.into_iter().map(Ok))) };
            return stream::once(all).try_flatten().boxed();
        }
        match self.lease.reach {
            Pooling::Sessions => self.driver().fetch_many(query),
            Pooling::Transactions => self.driver().fetch_many(Unnamed(query)),
        }
    }

    fn fetch_optional<'e, 'q, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        'q: 'e,
        E: 'q + Execute<'q, Db>,
    {
        if self.alone() {
            return Box::pin(async move { Ok(self.run_alone(query).await?.into_iter().find_map(Either::right)) });
        }
        match self.lease.reach {
            Pooling::Sessions => self.driver().fetch_optional(query),
            Pooling::Transactions => self.driver().fetch_optional(Unnamed(query)),
        }
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        self.driver().prepare_with(sql, parameters)
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<sqlx::Describe<Db>, sqlx::Error>>
    where
        'c: 'e,
    {
        self.driver().describe(sql)
    }
}

/// A statement that is not kept under a name.
struct Unnamed<E>(E);

impl<'q, E: Execute<'q, Db>> Execute<'q, Db> for Unnamed<E> {
    fn sql(self) -> SqlStr {
        self.0.sql()
    }

    fn statement(&self) -> Option<&PgStatement> {
        self.0.statement()
    }

    fn take_arguments(
        &mut self,
    ) -> Result<Option<<Db as sqlx::Database>::Arguments>, Box<dyn std::error::Error + Send + Sync>> {
        self.0.take_arguments()
    }

    fn persistent(&self) -> bool {
        false
    }
}
