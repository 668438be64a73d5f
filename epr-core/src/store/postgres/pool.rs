//! The pool of connections to PostgreSQL: who gets one, when one is opened, and when one is tried before it is used.
//!
//! A caller waits for the next connection that is free, whether it is one that another caller gives back or one that was opened
//! meanwhile. Opening is nobody's own business: a server that refuses one more session (`max_connections`) costs no caller
//! anything as long as there are others. Must never run a statement of the store: those run on loans (`loan`).

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _, PgConnection};
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::connect;
use super::dialect::classify;
use super::pooling::{Opened, Pooling, Server};
use super::server::{Servers, is_refused};
use crate::store::StoreError;
use crate::store::lineage::Lineage;
use crate::store::url::PostgresUrl;

/// A connection that answered this recently is taken to be alive. Each one is asked when it is given back, which also
/// clears away what a caller that left had begun; asking again before the next use would be a third trip for every check. A
/// connection that was cut in between costs one caller a 503; checks ask again on another one.
const ALIVE: Duration = Duration::from_millis(100);
/// How long another one has to show that it is alive.
const ANSWER: Duration = Duration::from_secs(1);
/// How long one attempt to connect may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long to wait after a failed attempt, at first and at most.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(20), Duration::from_secs(1));
/// How often a process that serves opens a connection only to see where the database's name leads.
const LOOK: Duration = Duration::from_secs(2);
/// How many connections are opened at the same time.
const OPENERS: u32 = 2;

/// What is understood of a pooler by [`Options::pooler`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolerSetting {
    /// It is found out.
    #[default]
    Auto,
    /// There is none, or one that lends whole sessions.
    Off,
    /// There is one that may lend another session for each transaction.
    Transaction,
}

/// How to open a pool.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most connections at a time.
    pub pool_size: u32,
    /// How long a caller waits for a connection before it is told that the database is not available.
    pub acquire_timeout: Duration,
    /// Whether every statement is logged.
    pub echo: bool,
    /// What is known about a pooler between this process and the server.
    pub pooler: PoolerSetting,
}

impl Default for Options {
    fn default() -> Self {
        Self { pool_size: 10, acquire_timeout: Duration::from_secs(5), echo: false, pooler: PoolerSetting::Auto }
    }
}

/// Connections to one database. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(in super::super) struct Pool(Arc<Inner>);

struct Inner {
    server: Server,
    servers: Servers,
    size: u32,
    acquire_timeout: Duration,
    state: Mutex<State>,
    /// Wakes [`Pool::close`].
    gone: Notify,
}

#[derive(Default)]
struct State {
    /// The one used last is at the end, and is used next.
    idle: Vec<Idle>,
    waiting: VecDeque<oneshot::Sender<Result<Lease, Refusal>>>,
    /// Connections that are open, used or idle.
    open: u32,
    /// Connections that are being opened.
    opening: u32,
    /// Whether all are opened, needed or not.
    full: bool,
    closed: bool,
    /// Why the last attempt to open one failed; forgotten when one succeeds.
    failed: Option<Refusal>,
}

/// A connection that is free. Without the pool in it, which would keep itself.
struct Idle {
    conn: PgConnection,
    reach: Pooling,
    generation: u64,
    seen: Instant,
}

/// Why no connection could be opened.
#[derive(Debug, Clone)]
struct Refusal {
    why: Arc<str>,
    /// Whether waiting does not help.
    lasting: bool,
}

impl From<Refusal> for StoreError {
    fn from(Refusal { why, lasting }: Refusal) -> Self {
        if lasting { Self::Unsuitable((*why).to_owned()) } else { Self::Unavailable((*why).into()) }
    }
}

/// A connection that a caller has, or that is on its way to one. Dropped unused it goes back; once [used](Lease::using), it is
/// closed unless it is [given back](Lease::give_back).
pub(super) struct Lease {
    conn: Option<PgConnection>,
    pub(super) reach: Pooling,
    /// In which it was opened, of [`Lineage`].
    pub(super) generation: u64,
    seen: Instant,
    pool: Pool,
    used: bool,
}

impl Pool {
    /// A pool without connections yet.
    pub(super) fn new(connect: PgConnectOptions, options: &Options, lineage: Arc<Lineage>) -> Self {
        Self(Arc::new(Inner {
            server: Server::new(connect, options.pooler),
            servers: Servers::new(lineage),
            size: options.pool_size,
            acquire_timeout: options.acquire_timeout,
            state: Mutex::default(),
            gone: Notify::new(),
        }))
    }

    /// The next free connection.
    pub(super) async fn acquire(&self) -> Result<Lease, StoreError> {
        let deadline = Instant::now() + self.0.acquire_timeout;
        loop {
            let mut lease = match self.idle_or_wait()? {
                Ok(lease) => lease,
                Err(waiting) => match tokio::time::timeout_at(deadline, waiting).await {
                    Ok(Ok(lease)) => lease?,
                    Ok(Err(_)) => return Err(classify(sqlx::Error::PoolClosed)),
                    Err(_) => return Err(self.timed_out()),
                },
            };
            lease.used = true;
            if lease.is_usable().await {
                return Ok(lease);
            }
            // It is closed, and another is tried.
        }
    }

    fn idle_or_wait(&self) -> Result<Result<Lease, oneshot::Receiver<Result<Lease, Refusal>>>, StoreError> {
        let mut state = self.state();
        if state.closed {
            return Err(classify(sqlx::Error::PoolClosed));
        }
        if let Some(idle) = state.idle.pop() {
            return Ok(Ok(Lease::new(idle, self.clone())));
        }
        let (waiter, waiting) = oneshot::channel();
        state.waiting.push_back(waiter);
        self.open_if_needed(&mut state);
        Ok(Err(waiting))
    }

    fn timed_out(&self) -> StoreError {
        let state = self.state();
        let seconds = self.0.acquire_timeout.as_secs();
        let open = state.open;
        let why = match &state.failed {
            Some(Refusal { why, .. }) if open == 0 => format!("no connection within {seconds} s: {why}"),
            Some(Refusal { why, .. }) => {
                format!("no connection was free within {seconds} s: {open} are in use, and one more: {why}")
            }
            None => format!("no connection was free within {seconds} s: {open} are in use"),
        };
        StoreError::Unavailable(why.into())
    }

    /// Opens all connections in the background, keeps them open, and looks now and then where the database's name leads.
    pub(in super::super) fn fill(&self) {
        let mut state = self.state();
        if !std::mem::replace(&mut state.full, true) {
            let pool = Arc::downgrade(&self.0);
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(LOOK).await;
                    match pool.upgrade().map(Self) {
                        Some(pool) if !pool.is_closed() => pool.look().await,
                        _ => return,
                    }
                }
            });
        }
        self.open_if_needed(&mut state);
    }

    fn open_if_needed(&self, state: &mut State) {
        let wanted = if state.full { self.0.size } else { u32::try_from(state.waiting.len()).unwrap_or(self.0.size) };
        // While the server refuses, one attempt at a time.
        let most = if state.failed.is_some() || state.open == 0 { 1 } else { OPENERS };
        while state.opening < most.min(wanted) && state.open + state.opening < self.0.size && !state.closed {
            state.opening += 1;
            tokio::spawn(self.clone().open());
        }
    }

    /// Opens one connection, however often it takes.
    async fn open(self) {
        let mut backoff = BACKOFF.0;
        loop {
            let failure = match self.connect().await {
                Ok((opened, generation)) => return self.opened(opened, generation),
                Err(failure) => failure,
            };
            if self.failed(&failure) {
                return;
            }
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(BACKOFF.1);
        }
    }

    /// Opens a connection to the server that is the one to use, and gives its generation.
    async fn connect(&self) -> Result<(Opened, u64), sqlx::Error> {
        let begun = (Instant::now(), self.lineage().generation());
        // A process that serves does not read from a standby.
        let standby = !self.state().full;
        let connecting = async {
            let mut opened = self.0.server.connect().await?;
            let generation = match opened.reach {
                Pooling::Sessions => self.0.servers.identify(&mut opened.conn, begun, standby).await?,
                // The next transaction may be on another server.
                Pooling::Transactions => begun.1,
            };
            Ok((opened, generation))
        };
        timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(super::loan::no_answer()))
    }

    /// Where the database's name leads now: finds out when that is another server than before, whatever the connections do
    /// that are open.
    async fn look(&self) {
        match self.connect().await {
            Ok((opened, _)) => drop(timeout(ANSWER, opened.conn.close()).await),
            Err(failure) => debug!(error = crate::error::chain(&failure), "database_look_failed"),
        }
        // Those in use are closed when they are given back.
        let superseded: Vec<_> = {
            let mut state = self.state();
            state.idle.extract_if(.., |idle| self.lineage().is_suspected(idle.generation)).collect()
        };
        for idle in superseded {
            drop(idle);
            self.lost();
        }
    }

    /// What this process knows of the ledger.
    pub(super) fn lineage(&self) -> &Lineage {
        self.0.servers.lineage()
    }

    fn opened(&self, Opened { conn, reach }: Opened, generation: u64) {
        let mut state = self.state();
        state.opening -= 1;
        state.open += 1;
        if state.failed.take().is_some() {
            info!(open = state.open, "database_connections_open_again");
        }
        drop(state);
        self.hand_over(Idle { conn, reach, generation, seen: Instant::now() });
        self.open_if_needed(&mut self.state());
    }

    /// Gives a free connection to the caller that has waited longest, or to the idle ones.
    fn hand_over(&self, idle: Idle) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            drop(idle);
            return self.lost();
        }
        let Some(mut waiter) = state.waiting.pop_front() else {
            return state.idle.push(idle);
        };
        let mut lease = Lease::new(idle, self.clone());
        loop {
            let Err(Ok(back)) = waiter.send(Ok(lease)) else { return };
            // That caller has left.
            lease = back;
            match state.waiting.pop_front() {
                Some(next) => waiter = next,
                None => return state.idle.extend(lease.into_idle()),
            }
        }
    }

    /// Notes why an attempt failed; `true` when no other is to be made for now.
    fn failed(&self, failure: &sqlx::Error) -> bool {
        let mut state = self.state();
        let first = state.failed.is_none();
        let refusal = Refusal {
            why: crate::error::chain(failure).into(),
            lasting: matches!(failure, sqlx::Error::Configuration(_)),
        };
        if first && state.open > 0 {
            warn!(error = &*refusal.why, open = state.open, "database_connection_refused");
        }
        state.failed = Some(refusal.clone());
        // With others open, callers wait for those.
        if state.open == 0 && !passes(failure) {
            for waiter in state.waiting.drain(..) {
                let _ = waiter.send(Err(refusal.clone()));
            }
        }
        state.waiting.retain(|waiter| !waiter.is_closed());
        let over = state.closed || (!state.full && state.waiting.is_empty());
        if over {
            state.opening -= 1;
            self.0.gone.notify_waiters();
        }
        over
    }

    /// A connection is open no more.
    fn lost(&self) {
        let mut state = self.state();
        state.open -= 1;
        self.open_if_needed(&mut state);
        self.0.gone.notify_waiters();
    }

    /// Opens a connection that is none of the pool's. Where its session is its own, it has no limits of time and sees one schema.
    pub(super) async fn connect_apart(&self) -> Result<PgConnection, StoreError> {
        const PATIENT: &str = "SET lock_timeout = 0; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0; \
             SELECT set_config('search_path', quote_ident(current_schema()), false)";
        let connecting = timeout(CONNECT, self.0.server.connect()).await;
        let Opened { mut conn, reach } =
            connecting.unwrap_or_else(|_| Err(super::loan::no_answer())).map_err(classify)?;
        if reach == Pooling::Sessions {
            sqlx::raw_sql(PATIENT).execute(&mut conn).await.map_err(classify)?;
        }
        Ok(conn)
    }

    /// How to reach the server, for a connection of its own.
    pub(super) fn connect_options(&self) -> PgConnectOptions {
        self.0.server.options()
    }

    /// How the server is reached, once a connection was opened.
    pub(super) fn reach(&self) -> Option<Pooling> {
        self.0.server.reach()
    }

    /// What lies between this process and the server, once a connection was opened.
    pub(in super::super) fn pooler(&self) -> Option<&'static str> {
        self.0.server.pooler()
    }

    pub(in super::super) fn size(&self) -> u32 {
        self.state().open
    }

    pub(in super::super) fn num_idle(&self) -> usize {
        self.state().idle.len()
    }

    pub(in super::super) fn acquire_timeout(&self) -> Duration {
        self.0.acquire_timeout
    }

    pub(in super::super) fn most(&self) -> u32 {
        self.0.size
    }

    pub(in super::super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Closes every connection, those in use when they are given back.
    pub(in super::super) async fn close(&self) {
        let idle = {
            let mut state = self.state();
            state.closed = true;
            state.waiting.clear();
            std::mem::take(&mut state.idle)
        };
        let closing = idle.into_iter().map(|idle| async move {
            let _ = timeout(ANSWER, idle.conn.close()).await;
            self.lost();
        });
        futures_util::future::join_all(closing).await;
        loop {
            let gone = self.0.gone.notified();
            if self.state().open == 0 {
                return;
            }
            gone.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the reason why a connection was refused passes by itself, so that callers wait.
fn passes(failure: &sqlx::Error) -> bool {
    match failure {
        sqlx::Error::Io(fault) => fault.kind() == std::io::ErrorKind::ConnectionRefused,
        // Too many connections, or starting up.
        sqlx::Error::Database(told) => matches!(told.code().as_deref(), Some("53300" | "57P03")),
        // A failover is under way.
        failure => is_refused(failure),
    }
}

impl Lease {
    fn new(Idle { conn, reach, generation, seen }: Idle, pool: Pool) -> Self {
        Self { conn: Some(conn), reach, generation, seen, pool, used: false }
    }

    fn into_idle(mut self) -> Option<Idle> {
        Some(Idle { conn: self.conn.take()?, reach: self.reach, generation: self.generation, seen: self.seen })
    }

    #[expect(clippy::expect_used, reason = "taken out where it ends, and nowhere else")]
    pub(super) fn conn(&mut self) -> &mut PgConnection {
        self.conn.as_mut().expect("a connection")
    }

    #[expect(clippy::expect_used, reason = "taken out where it ends, and nowhere else")]
    pub(super) fn conn_ref(&self) -> &PgConnection {
        self.conn.as_ref().expect("a connection")
    }

    /// Whether it can be used: it was not found to lead to a wrong server, and is alive after a while of not being used.
    async fn is_usable(&mut self) -> bool {
        if self.is_superseded() {
            return false;
        }
        self.seen.elapsed() <= ALIVE || matches!(timeout(ANSWER, self.conn().ping()).await, Ok(Ok(())))
    }

    /// Whether another server has taken over since it was opened.
    pub(super) fn is_superseded(&self) -> bool {
        self.pool.lineage().is_suspected(self.generation)
    }

    /// Gives back a connection that has nothing under way any more, which it is asked for.
    pub(super) async fn give_back(mut self) {
        if self.conn().ping().await.is_ok() {
            self.seen = Instant::now();
            self.used = false;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if self.used {
            drop(conn);
            self.pool.lost();
        } else {
            self.pool.hand_over(Idle { conn, reach: self.reach, generation: self.generation, seen: self.seen });
        }
    }
}

/// How to connect to `url`.
pub(super) fn connect_options(url: &PostgresUrl, echo: bool) -> Result<PgConnectOptions, StoreError> {
    let level = if echo { log::LevelFilter::Info } else { log::LevelFilter::Off };
    // Poolers refuse `extra_float_digits`, and every server since PostgreSQL 12 writes floating-point numbers exactly.
    Ok(connect::options(url)?.extra_float_digits(None).log_statements(level))
}
