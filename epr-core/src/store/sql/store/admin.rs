//! The database itself: schema, connections, readiness.

use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::super::dialect::{self, Conn, Pool, classify, max_connections};
use super::super::step::is_lock_timeout;
use super::super::{ledger, schema};
use super::SqlStore;
use crate::domain::Timestamp;
use crate::store::{AdminStore, ConnectFailure, Connections, PoolState, Result, SchemaState, StoreError, grants};

/// The interval at which a process that is about to be frozen looks at its connections.
const REST_POLL_INTERVAL: Duration = Duration::from_millis(1);

#[async_trait]
impl AdminStore for SqlStore {
    async fn schema(&self) -> Result<SchemaState> {
        schema::state(&self.write).await
    }

    async fn migrate(&self) -> Result<SchemaState> {
        schema::migrate(&self.write, &self.target).await
    }

    async fn ping(&self) -> Result<()> {
        self.read(async |conn| sqlx::query("SELECT 1").execute(conn).await.map_err(classify)).await?;
        Ok(())
    }

    async fn ready(&self) -> Result<()> {
        let known = self.continuity.newest_change();
        let tx = match self.transaction().await {
            // Another transaction is writing.
            Err(StoreError::Contention(_)) => return Ok(()),
            begun => begun?,
        };
        // Rolled back when it is dropped.
        let mut tx = self.session(tx);
        let probe = async |conn: &mut Conn| {
            dialect::limit_lock_waits(&mut *conn, true).await?;
            ledger::ready(conn, known.as_ref()).await
        };
        match tx.step(probe).await {
            // Another transaction has locked a table, as a migration does: that passes.
            Err(error) if is_lock_timeout(&error) => Ok(()),
            outcome => outcome,
        }
    }

    async fn probe_connection(&self) -> std::result::Result<(), ConnectFailure> {
        dialect::probe_connection(&self.write).await
    }

    async fn server_time(
        &self,
        now: &(dyn Fn() -> Timestamp + Send + Sync),
    ) -> Result<Option<(Timestamp, Timestamp, Timestamp)>> {
        // The clock is read on the connection: waiting for one is not a difference between clocks.
        self.read(async |conn| {
            let before = now();
            Ok(dialect::server_time(conn).await?.map(|time| (before, time, now())))
        })
        .await
    }

    async fn connections(&self) -> Result<Option<Connections>> {
        self.read(async |conn| dialect::connections(conn).await).await
    }

    async fn missing_privileges(&self) -> Result<Vec<String>> {
        self.read(async |conn| dialect::missing_privileges(conn, grants::TABLES).await).await
    }

    fn pools(&self) -> Vec<PoolState> {
        let state = |name, pool: &Pool, (acquires, waited): (u64, Duration)| PoolState {
            name,
            open: pool.size(),
            idle: u32::try_from(pool.num_idle()).unwrap_or(u32::MAX),
            max: max_connections(pool),
            acquires,
            waited,
        };
        let (reads, writes) = (self.read_stats.total(), self.write_stats.total());
        let mut states = if dialect::is_same_pool(&self.read, &self.write) {
            vec![state("all", &self.read, (reads.0 + writes.0, reads.1 + writes.1))]
        } else {
            vec![state("read", &self.read, reads), state("write", &self.write, writes)]
        };
        states.extend(self.replica.as_ref().map(|one| state("replica", &one.pool, one.stats.total())));
        states
    }

    fn pooler(&self) -> Option<&'static str> {
        dialect::pooler(&self.read)
    }

    fn keep_open(&self) {
        dialect::keep_open(&self.read);
    }

    async fn rest(&self, within: Duration) {
        let deadline = Instant::now() + within;
        let is_used = || self.pools().iter().any(|pool| pool.idle < pool.open);
        while is_used() && Instant::now() < deadline {
            tokio::time::sleep(REST_POLL_INTERVAL).await;
        }
        dialect::distrust_idle(&self.read);
        if let Some(replica) = &self.replica {
            dialect::distrust_idle(&replica.pool);
            replica.forget();
        }
    }

    async fn close(&self) {
        let replica = async {
            if let Some(replica) = &self.replica {
                replica.pool.close().await;
            }
        };
        // A replica that does not answer keeps the others open for no longer.
        tokio::join!(self.read.close(), self.write.close(), replica);
    }
}
