//! A connection that a caller has checked out, or that is idle.

use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tokio::time::{Instant, timeout};

use super::super::pooling::Pooling;
use super::opening::SERVER_PROBE_INTERVAL;
use super::{PING_TIMEOUT, Pool};
use crate::clock::{Clock as _, SystemClock};
use crate::domain::Timestamp;

/// A connection that answered this recently is assumed to be alive. Each one is pinged when it is returned, which also
/// clears what a cancelled caller had begun; a ping before the next use would be a third round trip for every check. A
/// connection that is cut in between costs one caller an error; checks are retried on another one.
const PING_INTERVAL: Duration = Duration::from_millis(100);

/// A connection that is free. It does not contain the pool, which would keep itself alive.
pub(super) struct Idle {
    pub(super) conn: PgConnection,
    pub(super) pooling: Pooling,
    pub(super) generation: u64,
    pub(super) answered_at: Instant,
    /// When it was left for a freeze, by the clock of the machine: another one may stand still with the process.
    pub(super) rested_at: Option<Timestamp>,
}

/// A connection that a caller has, or that is on its way to one. Dropped unused it returns to the pool; once used, it
/// is closed unless it is [checked in](Checkout::check_in).
pub(in super::super) struct Checkout {
    conn: Option<PgConnection>,
    pub(in super::super) pooling: Pooling,
    /// The generation of connections in which it was opened.
    pub(in super::super) generation: u64,
    answered_at: Instant,
    rested_at: Option<Timestamp>,
    pool: Pool,
    pub(super) used: bool,
}

impl Checkout {
    pub(super) fn new(Idle { conn, pooling, generation, answered_at, rested_at }: Idle, pool: Pool) -> Self {
        Self { conn: Some(conn), pooling, generation, answered_at, rested_at, pool, used: false }
    }

    pub(super) fn into_idle(mut self) -> Option<Idle> {
        let conn = self.conn.take()?;
        let (answered_at, rested_at) = (self.answered_at, self.rested_at);
        Some(Idle { conn, pooling: self.pooling, generation: self.generation, answered_at, rested_at })
    }

    #[expect(clippy::expect_used, reason = "taken out where it ends, and nowhere else")]
    pub(in super::super) fn conn(&mut self) -> &mut PgConnection {
        self.conn.as_mut().expect("a connection")
    }

    #[expect(clippy::expect_used, reason = "taken out where it ends, and nowhere else")]
    pub(in super::super) fn conn_ref(&self) -> &PgConnection {
        self.conn.as_ref().expect("a connection")
    }

    /// Returns whether it may be used: it is not retired, and answers a ping if it has not been used recently.
    pub(super) async fn is_usable(&mut self) -> bool {
        if self.is_retired() {
            return false;
        }
        // The name of the database may lead elsewhere by now, which no connection that is open says.
        if self.rested_at.is_some_and(has_rested_long) {
            return false;
        }
        let recent = self.rested_at.is_none() && self.answered_at.elapsed() <= PING_INTERVAL;
        recent || matches!(timeout(PING_TIMEOUT, self.conn().ping()).await, Ok(Ok(())))
    }

    /// Returns whether another server has taken over since it was opened.
    pub(in super::super) fn is_retired(&self) -> bool {
        self.pool.continuity().is_retired(self.generation)
    }

    /// Returns whether it leads to a replica.
    pub(in super::super) fn is_replica(&self) -> bool {
        self.pool.is_replica()
    }

    /// Returns the connection to the pool, once a ping has shown that nothing is under way on it.
    pub(in super::super) async fn check_in(mut self) {
        if self.conn().ping().await.is_ok() {
            self.answered_at = Instant::now();
            self.rested_at = None;
            self.used = false;
        }
    }
}

/// Whether a connection that was left at `rested_at` is to be replaced. So is one that a clock which was set back says
/// nothing about.
fn has_rested_long(rested_at: Timestamp) -> bool {
    let rested = SystemClock.now().unix_micros() - rested_at.unix_micros();
    u64::try_from(rested).map_or(true, |micros| Duration::from_micros(micros) > SERVER_PROBE_INTERVAL)
}

impl Drop for Checkout {
    fn drop(&mut self) {
        let Some(conn) = self.conn.take() else { return };
        if self.used {
            drop(conn);
            self.pool.closed_one();
        } else {
            let (pooling, generation) = (self.pooling, self.generation);
            let (answered_at, rested_at) = (self.answered_at, self.rested_at);
            self.pool.hand_over(Idle { conn, pooling, generation, answered_at, rested_at });
        }
    }
}
