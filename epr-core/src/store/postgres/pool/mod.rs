//! The pool of connections to PostgreSQL: which caller gets one, and when one is tested before it is used.
//!
//! A caller waits for the next connection that is free, whether another caller returns it or it was opened meanwhile.
//! Connections are opened in the background (`opening`): a server that refuses one more session (`max_connections`)
//! costs no caller anything as long as others are open. Must never run a statement of the store: those run on a
//! [`PooledConn`](super::pooled_conn).

mod checkout;
mod opening;
mod options;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::Connection as _;
use sqlx::postgres::PgConnectOptions;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout};

pub(super) use self::checkout::Checkout;
use self::checkout::Idle;
pub(super) use self::options::connect_options;
use super::dialect::classify;
use super::pooling::{Pooling, Server};
use super::server::Servers;
use crate::clock::{Clock as _, SystemClock};
use crate::store::StoreError;
use crate::store::continuity::LedgerContinuity;
pub use crate::store::options::{Options, PoolerSetting};

/// The time in which a connection must answer a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(1);

/// Connections to one database. Cheap to clone; clones share everything.
#[derive(Clone)]
pub(in super::super) struct Pool(Arc<Inner>);

struct Inner {
    server: Server,
    servers: Servers,
    /// Whether its connections lead to a replica: then each read verifies the server.
    is_replica: bool,
    max_connections: u32,
    acquire_timeout: Duration,
    state: Mutex<State>,
    /// Wakes [`Pool::close`].
    closed_one: Notify,
}

#[derive(Default)]
struct State {
    /// The connection used last is at the end, and is used next.
    idle: Vec<Idle>,
    waiting: VecDeque<oneshot::Sender<Result<Checkout, ConnectError>>>,
    /// Connections that are open, used or idle.
    open: u32,
    /// Connections that are being opened.
    opening: u32,
    /// Whether the pool opens all its connections, needed or not.
    keep_full: bool,
    closed: bool,
    /// Why the last attempt to open a connection failed; `None` once one has succeeded.
    last_error: Option<ConnectError>,
}

/// Why no connection could be opened.
#[derive(Debug, Clone)]
struct ConnectError {
    why: Arc<str>,
    /// Whether the error lasts, so that callers need not wait.
    lasting: bool,
}

impl From<ConnectError> for StoreError {
    fn from(ConnectError { why, lasting }: ConnectError) -> Self {
        if lasting { Self::Unsuitable((*why).to_owned()) } else { Self::Unavailable((*why).into()) }
    }
}

/// A connection, or the promise of one.
enum Acquired {
    Now(Checkout),
    Later(oneshot::Receiver<Result<Checkout, ConnectError>>),
}

impl Pool {
    /// A pool without connections yet.
    pub(super) fn new(connect: PgConnectOptions, options: &Options, continuity: Arc<LedgerContinuity>) -> Self {
        Self::of(connect, options, continuity, false)
    }

    /// A pool of connections to a replica, without connections yet. Whether a server may answer is verified by each
    /// read, and not when its connection is opened.
    pub(super) fn of_replica(connect: PgConnectOptions, options: &Options) -> Self {
        Self::of(connect, options, Arc::default(), true)
    }

    fn of(connect: PgConnectOptions, options: &Options, continuity: Arc<LedgerContinuity>, is_replica: bool) -> Self {
        Self(Arc::new(Inner {
            server: Server::new(connect, options.pooler),
            servers: Servers::new(continuity),
            is_replica,
            max_connections: options.pool_size,
            acquire_timeout: options.acquire_timeout,
            state: Mutex::default(),
            closed_one: Notify::new(),
        }))
    }

    /// Returns the next free connection.
    pub(super) async fn acquire(&self) -> Result<Checkout, StoreError> {
        let deadline = Instant::now() + self.0.acquire_timeout;
        loop {
            let mut checkout = match self.idle_or_wait()? {
                Acquired::Now(checkout) => checkout,
                Acquired::Later(waiting) => match tokio::time::timeout_at(deadline, waiting).await {
                    Ok(Ok(checkout)) => checkout?,
                    Ok(Err(_)) => return Err(classify(sqlx::Error::PoolClosed)),
                    Err(_) => return Err(self.timed_out()),
                },
            };
            checkout.used = true;
            if checkout.is_usable().await {
                return Ok(checkout);
            }
            // The connection is closed, and another one is tried.
        }
    }

    fn idle_or_wait(&self) -> Result<Acquired, StoreError> {
        let mut state = self.state();
        if state.closed {
            return Err(classify(sqlx::Error::PoolClosed));
        }
        if let Some(idle) = state.idle.pop() {
            return Ok(Acquired::Now(Checkout::new(idle, self.clone())));
        }
        let (waiter, waiting) = oneshot::channel();
        state.waiting.push_back(waiter);
        self.open_if_needed(&mut state);
        Ok(Acquired::Later(waiting))
    }

    fn timed_out(&self) -> StoreError {
        let state = self.state();
        let seconds = self.0.acquire_timeout.as_secs();
        let open = state.open;
        let why = match &state.last_error {
            Some(ConnectError { why, .. }) if open == 0 => format!("no connection within {seconds} s: {why}"),
            Some(ConnectError { why, .. }) => {
                format!("no connection was free within {seconds} s: {open} are in use, and one more: {why}")
            }
            None => format!("no connection was free within {seconds} s: {open} are in use"),
        };
        StoreError::Unavailable(why.into())
    }

    /// Gives a free connection to the caller that has waited longest, or adds it to the idle ones.
    fn hand_over(&self, idle: Idle) {
        let mut state = self.state();
        if state.closed {
            drop(state);
            drop(idle);
            return self.closed_one();
        }
        let Some(mut waiter) = state.waiting.pop_front() else {
            return state.idle.push(idle);
        };
        let mut checkout = Checkout::new(idle, self.clone());
        loop {
            let Err(Ok(back)) = waiter.send(Ok(checkout)) else { return };
            // That caller was cancelled.
            checkout = back;
            match state.waiting.pop_front() {
                Some(next) => waiter = next,
                None => return state.idle.extend(checkout.into_idle()),
            }
        }
    }

    /// Has each idle connection tested before its next use, however recently it answered, and replaced if that is more
    /// than two seconds from now: its server may not be the one to use any more.
    pub(super) fn distrust_idle(&self) {
        let now = SystemClock.now();
        self.state().idle.iter_mut().for_each(|idle| idle.rested_at = Some(now));
    }

    /// Notes that a connection was closed.
    fn closed_one(&self) {
        let mut state = self.state();
        state.open -= 1;
        self.open_if_needed(&mut state);
        self.0.closed_one.notify_waiters();
    }

    /// Returns how to connect, for a connection outside the pool.
    pub(super) fn connect_options(&self) -> PgConnectOptions {
        self.0.server.options()
    }

    /// Returns whether connections keep their sessions, known once one was opened.
    pub(super) fn pooling(&self) -> Option<Pooling> {
        self.0.server.pooling()
    }

    /// Returns the mode of the pooler between this process and the server, known once a connection was opened.
    pub(super) fn pooler(&self) -> Option<&'static str> {
        self.0.server.pooler()
    }

    /// Returns the continuity of the ledger on this database.
    pub(super) fn continuity(&self) -> &LedgerContinuity {
        self.0.servers.continuity()
    }

    pub(super) fn is_replica(&self) -> bool {
        self.0.is_replica
    }

    pub(super) fn size(&self) -> u32 {
        self.state().open
    }

    pub(super) fn num_idle(&self) -> usize {
        self.state().idle.len()
    }

    pub(super) fn acquire_timeout(&self) -> Duration {
        self.0.acquire_timeout
    }

    pub(super) fn max_connections(&self) -> u32 {
        self.0.max_connections
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Closes every connection, those in use when they are returned.
    pub(super) async fn close(&self) {
        let idle = {
            let mut state = self.state();
            state.closed = true;
            state.waiting.clear();
            std::mem::take(&mut state.idle)
        };
        let closing = idle.into_iter().map(|idle| async move {
            let _ = timeout(PING_TIMEOUT, idle.conn.close()).await;
            self.closed_one();
        });
        futures_util::future::join_all(closing).await;
        loop {
            let closed_one = self.0.closed_one.notified();
            if self.state().open == 0 {
                return;
            }
            closed_one.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
