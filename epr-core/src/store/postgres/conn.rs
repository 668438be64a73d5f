//! One connection to PostgreSQL as the statements of the store see it, with or without a pooler that assigns another
//! server session for each transaction.
//!
//! Behind such a pooler a named prepared statement may be missing, or be another program's, on the next session, and
//! even the two halves of one call (parse; bind and execute) can reach two sessions. So every statement there is
//! unnamed and runs inside a transaction: the caller's, or one for itself. Must never be bypassed by code that binds
//! parameters: use [`Conn::driver`] for statements without parameters only.

use futures_util::future::BoxFuture;
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTransactionManager, PgTypeInfo};
use sqlx::{Connection as _, Either, Execute, Executor, PgConnection, SqlSafeStr as _, SqlStr};
use sqlx_core::transaction::TransactionManager as _;

use super::dialect::Db;
use super::pool::Checkout;
use super::pooling::{Begin, Pooling};

/// A connection of the pool.
pub(in super::super) struct Conn {
    checkout: Checkout,
    /// Whether the server may hold an open transaction.
    pub(super) open: bool,
}

impl Conn {
    pub(super) fn new(checkout: Checkout) -> Self {
        Self { checkout, open: false }
    }

    /// Returns the driver's connection, for statements without parameters.
    pub(in super::super) fn driver(&mut self) -> &mut PgConnection {
        self.checkout.conn()
    }

    /// Returns the generation of connections in which it was opened.
    pub(super) fn generation(&self) -> u64 {
        self.checkout.generation
    }

    /// Returns whether another server has taken over since it was opened.
    pub(super) fn is_retired(&self) -> bool {
        self.checkout.is_retired()
    }

    /// Returns whether it leads to a replica.
    pub(super) fn is_replica(&self) -> bool {
        self.checkout.is_replica()
    }

    pub(super) fn into_checkout(self) -> Checkout {
        self.checkout
    }

    /// Returns whether the driver counts a transaction as open.
    pub(super) fn is_in_transaction(&self) -> bool {
        self.checkout.conn_ref().is_in_transaction()
    }

    /// Begins a transaction, in one round trip.
    pub(super) async fn begin(&mut self, how: Begin) -> Result<(), sqlx::Error> {
        self.open = true;
        let statement = self.checkout.pooling.begin(how).into_sql_str();
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

    /// Returns whether a statement needs a transaction for itself.
    fn needs_transaction(&self) -> bool {
        self.checkout.pooling == Pooling::Transactions && !self.is_in_transaction()
    }

    /// Runs `query` in a transaction for itself.
    async fn run_in_transaction<'q, E: Execute<'q, Db> + 'q>(
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
            Err(error) => {
                // A failed rollback shows when the connection is returned.
                if PgTransactionManager::rollback(self.driver()).await.is_ok() {
                    self.open = false;
                }
                Err(error)
            }
        }
    }
}

impl std::fmt::Debug for Conn {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Conn").field("pooling", &self.checkout.pooling).finish_non_exhaustive()
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
        if self.needs_transaction() {
            let all = async move {
                Ok::<_, sqlx::Error>(stream::iter(self.run_in_transaction(query).await?.into_iter().map(Ok)))
            };
            return stream::once(all).try_flatten().boxed();
        }
        match self.checkout.pooling {
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
        if self.needs_transaction() {
            return Box::pin(
                async move { Ok(self.run_in_transaction(query).await?.into_iter().find_map(Either::right)) },
            );
        }
        match self.checkout.pooling {
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

/// A statement that is not prepared under a name.
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
