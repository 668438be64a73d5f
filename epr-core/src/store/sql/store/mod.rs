//! The storage contract on this database: one file a trait.
//!
//! Owns how a call gets its connection: within the limits on lists and scans, with a deadline, and never again on a
//! connection that was cut or leads to the wrong server. Must never contain a statement.

mod access;
mod access_resources;
mod admin;
mod border;
mod browser_sessions;
mod changes;
mod checkpoints;
mod facts;
mod graph;
mod history;
mod idempotency;
mod identities;
mod ledger;
mod outbox;
mod past;
mod principals;
mod registry;
mod replica;
mod replica_reads;
mod revisions;
mod search;
mod takeover;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use super::cached_head::CachedHead;
use super::dialect::{
    Conn, Pool, PooledConn, STEP_DEADLINE, Transaction, acquire, acquire_timeout, begin, begin_access_list, begin_list,
    begin_list_snapshot, begin_probes, begin_snapshot, close_when_done, discard, end_list, explain_stopped,
    max_connections,
};
use super::schema::Target;
use super::step::{self, ends_connection};
use super::tx::SqlTx;
use crate::store::acquire_stats::AcquireStats;
use crate::store::continuity::LedgerContinuity;
use crate::store::read_limits::ReadLimits;
use crate::store::{Result, Transactions, Tx};
use replica::Replica;

/// The most time of one page of a list of access: its statements together, and the judging of what they find.
const PAGE_DEADLINE: Duration = Duration::from_secs(15);

/// A database with one pool for reading and one for writing, which may be the same.
pub struct SqlStore {
    read: Pool,
    write: Pool,
    limits: ReadLimits,
    read_stats: AcquireStats,
    write_stats: AcquireStats,
    target: Target,
    head: Arc<CachedHead>,
    continuity: Arc<LedgerContinuity>,
    replica: Option<Replica>,
}

impl SqlStore {
    /// A store. What may come from a replica is read on the connections of `replica`, unless it lags more than the
    /// given time.
    pub(in super::super) fn new(
        read: Pool,
        write: Pool,
        target: Target,
        continuity: Arc<LedgerContinuity>,
        replica: Option<(Pool, Duration)>,
    ) -> Self {
        Self {
            limits: ReadLimits::new(max_connections(&read), acquire_timeout(&read)),
            read,
            write,
            read_stats: AcquireStats::default(),
            write_stats: AcquireStats::default(),
            target,
            head: Arc::default(),
            continuity,
            replica: replica.map(|(pool, max_lag)| Replica::new(pool, max_lag)),
        }
    }

    async fn transaction(&self) -> Result<Transaction> {
        let generation = self.continuity.generation();
        let begun = self.write_stats.measure(begin(&self.write)).await;
        if let Err(error) = &begun {
            // The connection of this transaction is closed already.
            ends_connection(error, &self.continuity, generation);
        }
        begun
    }

    fn session(&self, tx: Transaction) -> SqlTx {
        SqlTx::new(tx, Arc::clone(&self.continuity), Arc::clone(&self.head))
    }

    async fn reader(&self) -> Result<PooledConn> {
        self.read_stats.measure(acquire(&self.read)).await
    }

    async fn writer(&self) -> Result<PooledConn> {
        self.write_stats.measure(acquire(&self.write)).await
    }

    /// Runs a step on `conn`. INVARIANT: a connection that was cut or leads to the wrong server is not used again.
    async fn run<T>(
        &self,
        mut conn: PooledConn,
        deadline: Duration,
        step: impl AsyncFnOnce(&mut Conn) -> Result<T>,
    ) -> Result<T> {
        let outcome = step::run(&mut conn, &self.continuity, deadline, step).await;
        if !outcome.reusable {
            discard(conn);
        }
        outcome.result
    }

    /// Runs a step on a connection for reading.
    async fn read<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let conn = self.reader().await?;
        self.run(conn, STEP_DEADLINE, step).await
    }

    /// Runs a step on a connection for writing.
    async fn write<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let conn = self.writer().await?;
        self.run(conn, STEP_DEADLINE, step).await
    }

    /// Reads a page of a list, on one of the connections that lists may use and within the time that they have.
    async fn list<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let _permit = self.limits.list().await?;
        let mut conn = self.read_stats.measure(begin_list(&self.read)).await?;
        let outcome = step::run(&mut conn, &self.continuity, STEP_DEADLINE, step).await;
        end_list(conn, outcome.result).await
    }

    /// Runs a step of several statements that see one snapshot and find what they read by keys.
    async fn probes<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let snapshot = self.read_stats.measure(begin_probes(&self.read)).await?;
        self.run_snapshot(snapshot, step).await
    }

    /// Runs a step of several statements that see one snapshot.
    async fn snapshot<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let snapshot = self.read_stats.measure(begin_snapshot(&self.read)).await?;
        self.run_snapshot(snapshot, step).await
    }

    async fn run_snapshot<T>(
        &self,
        mut snapshot: Transaction,
        step: impl AsyncFnOnce(&mut Conn) -> Result<T>,
    ) -> Result<T> {
        let outcome = step::run(&mut snapshot, &self.continuity, STEP_DEADLINE, step).await;
        if !outcome.reusable {
            close_when_done(&mut snapshot);
        }
        outcome.result
    }

    /// Reads a page of a list of access by several statements that see one snapshot, on one of the connections that
    /// these lists may use and within the time that they have. The facts in it are as current as those of a check.
    async fn list_snapshot<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let _permit = self.limits.access_list().await?;
        let mut snapshot = self.read_stats.measure(begin_access_list(&self.read)).await?;
        let outcome = step::run_page(&mut snapshot, &self.continuity, PAGE_DEADLINE, step).await;
        if !outcome.reusable {
            close_when_done(&mut snapshot);
        }
        explain_stopped(outcome.result)
    }

    /// Reads a page of a list by several statements that see one snapshot, as [`SqlStore::list`] does by one.
    async fn page_snapshot<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let _permit = self.limits.list().await?;
        let snapshot = self.read_stats.measure(begin_list_snapshot(&self.read)).await?;
        explain_stopped(self.run_snapshot(snapshot, step).await)
    }

    /// Runs a step in a transaction of its own.
    async fn change<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let mut tx = self.session(self.transaction().await?);
        let value = tx.step(step).await?;
        tx.finish().await?;
        Ok(value)
    }
}

#[async_trait]
impl Transactions for SqlStore {
    async fn begin(&self) -> Result<Box<dyn Tx>> {
        Ok(Box::new(self.session(self.transaction().await?)))
    }
}
