//! Opening the connections of a pool in the background, and watching where the database's name leads.

use std::sync::Arc;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::super::deadline::no_answer;
use super::super::dialect::classify;
use super::super::pooling::{Opened, Pooling};
use super::super::server::is_refused;
use super::checkout::Idle;
use super::{ConnectError, PING_TIMEOUT, Pool, State};
use crate::store::StoreError;

/// The time that one attempt to connect may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The wait after a failed attempt, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// The interval at which a serving process opens a connection only to see which server the database's name leads to.
pub(super) const SERVER_PROBE_INTERVAL: Duration = Duration::from_secs(2);
/// The most connections that are opened at the same time.
const MAX_OPENING: u32 = 2;

impl Pool {
    /// Opens all connections in the background, keeps them open, and probes where the database's name leads.
    pub(in super::super) fn fill(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.keep_full, true) {
            let pool = Arc::downgrade(&self.0);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(SERVER_PROBE_INTERVAL).await;
                    match pool.upgrade().map(Self) {
                        Some(pool) if !pool.is_closed() => pool.probe_server().await,
                        _ => return,
                    }
                }
            });
        }
        self.open_if_needed(&mut state);
    }

    pub(super) fn open_if_needed(&self, state: &mut State) {
        let max = self.0.max_connections;
        let wanted = if state.keep_full { max } else { u32::try_from(state.waiting.len()).unwrap_or(max) };
        // While the server refuses, one attempt at a time.
        let at_once = if state.last_error.is_some() || state.open == 0 { 1 } else { MAX_OPENING };
        while state.opening < at_once.min(wanted) && state.open + state.opening < max && !state.closed {
            state.opening += 1;
            tokio::spawn(self.clone().open());
        }
    }

    /// Opens one connection, in as many attempts as it takes.
    async fn open(self) {
        let mut backoff = BACKOFF.0;
        loop {
            let error = match self.connect().await {
                Ok((opened, generation)) => return self.opened(opened, generation),
                Err(error) => error,
            };
            if self.failed(&error) {
                return;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    /// Opens a connection to the server that is the one to use; returns it with its generation.
    async fn connect(&self) -> Result<(Opened, u64), sqlx::Error> {
        let begun = (Instant::now(), self.continuity().generation());
        // A process that serves does not read from a standby.
        let standby = !self.state().keep_full;
        let connecting = async {
            let mut opened = self.0.server.connect().await?;
            let generation = match opened.pooling {
                Pooling::Sessions if !self.is_replica() => {
                    self.0.servers.identify(&mut opened.conn, begun, standby).await?
                }
                // The next transaction may be on another server, and a read from a replica verifies it.
                Pooling::Sessions | Pooling::Transactions => begun.1,
            };
            Ok((opened, generation))
        };
        timeout(CONNECT_TIMEOUT, connecting).await.unwrap_or_else(|_| Err(no_answer()))
    }

    /// Finds out whether the database's name leads to another server than before, whatever the open connections do.
    async fn probe_server(&self) {
        match self.connect().await {
            Ok((opened, _)) => drop(timeout(PING_TIMEOUT, opened.conn.close()).await),
            Err(error) => debug!(error = crate::error::chain(&error), "database_look_failed"),
        }
        // Retired connections in use are closed when they are returned.
        let retired: Vec<_> = {
            let mut state = self.state();
            state.idle.extract_if(.., |idle| self.continuity().is_retired(idle.generation)).collect()
        };
        for idle in retired {
            drop(idle);
            self.closed_one();
        }
    }

    fn opened(&self, Opened { conn, pooling }: Opened, generation: u64) {
        let mut state = self.state();
        state.opening -= 1;
        state.open += 1;
        if state.last_error.take().is_some() {
            info!(open = state.open, "database_connections_open_again");
        }
        drop(state);
        self.hand_over(Idle { conn, pooling, generation, answered_at: Instant::now(), rested_at: None });
        self.open_if_needed(&mut self.state());
    }

    /// Notes why an attempt failed; returns `true` when no other is to be made for now.
    fn failed(&self, error: &sqlx::Error) -> bool {
        let mut state = self.state();
        let first = state.last_error.is_none();
        let connect_error = ConnectError {
            why: crate::error::chain(error).into(),
            lasting: matches!(error, sqlx::Error::Configuration(_)),
        };
        if first && state.open > 0 {
            warn!(error = &*connect_error.why, open = state.open, "database_connection_refused");
        }
        state.last_error = Some(connect_error.clone());
        // While others are open, callers wait for those.
        if state.open == 0 && !is_transient(error) {
            for waiter in state.waiting.drain(..) {
                let _ = waiter.send(Err(connect_error.clone()));
            }
        }
        state.waiting.retain(|waiter| !waiter.is_closed());
        let over = state.closed || (!state.keep_full && state.waiting.is_empty());
        if over {
            state.opening -= 1;
            self.0.closed_one.notify_waiters();
        }
        over
    }

    /// Opens a connection outside the pool. Where its session is its own, it has no time limits and sees one schema.
    pub(in super::super) async fn connect_outside_pool(&self) -> Result<PgConnection, StoreError> {
        const NO_LIMITS: &str = "SET lock_timeout = 0; SET statement_timeout = 0; \
         SET idle_in_transaction_session_timeout = 0; \
             SELECT set_config('search_path', quote_ident(current_schema()), false)";
        let connecting = timeout(CONNECT_TIMEOUT, self.0.server.connect()).await;
        let Opened { mut conn, pooling } = connecting.unwrap_or_else(|_| Err(no_answer())).map_err(classify)?;
        if pooling == Pooling::Sessions {
            sqlx::raw_sql(NO_LIMITS).execute(&mut conn).await.map_err(classify)?;
        }
        Ok(conn)
    }
}

/// Returns whether the reason passes by itself, so that callers wait.
fn is_transient(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => error.kind() == std::io::ErrorKind::ConnectionRefused,
        // Too many connections, or starting up.
        sqlx::Error::Database(db_error) => matches!(db_error.code().as_deref(), Some("53300" | "57P03")),
        // A failover is under way.
        error => is_refused(error),
    }
}
