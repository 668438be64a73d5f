//! The way to the server: directly, or through a pooler that assigns whole sessions, or one that assigns a session
//! for each transaction (`pool_mode` of `PgBouncer`).
//!
//! The difference decides what may be left in a session (prepared statements, settings, LISTEN), so it is known before
//! the first statement of the store runs. A parameter of the startup packet that only the server itself understands
//! shows whether anything is in between; the sessions of two connections, queried in turn, show whether they are
//! separate. When in doubt behind a pooler, sessions are assumed to be shared: that is slower, and correct everywhere.
//! Must never change the settings of a session that may be another client's.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, PgConnection, Row as _};
use tokio::time::timeout;
use tracing::{info, warn};

use super::pool::PoolerSetting;

/// Whether a connection keeps its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pooling {
    /// It keeps one session.
    Sessions,
    /// It may get another session for each transaction.
    Transactions,
}

/// The kind of a transaction, which decides its isolation and time limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Begin {
    /// For changes: each statement sees what was committed before it.
    Change,
    /// For migrations and for work on whole tables.
    LongChange,
    /// Read-only, on one snapshot, for statements that probe indexes.
    Probes,
    /// Read-only, on one snapshot, for scans, without a time limit.
    Snapshot,
    /// Read-only, for a page of a list, with a short time limit.
    List,
    /// Read-only, on one snapshot, for a page that several statements read, with a short time limit for each.
    ListSnapshot,
    /// The same, for a page of a list of access, whose statements probe indexes.
    AccessList,
}

/// The longest wait for a lock.
macro_rules! lock_timeout {
    () => {
        "5s"
    };
}
/// The same, as a value that a statement binds.
pub(super) const LOCK_TIMEOUT: &str = lock_timeout!();

/// The settings of a session. A statement that runs or waits for a lock longer than this fails; a process that freezes
/// in a transaction (and may have the ledger's lock) loses it after a while, so that others can continue. The defaults
/// of a role or a database must not change how statements behave. No statement is compiled (`jit`): compiling a page
/// of a list takes longer than reading it, and the estimate that starts it cannot know that the page ends early.
///
/// No table is read sequentially (`enable_seqscan`) if an index can find the rows: the statements that run outside of
/// scans and lists look up a few rows by their keys. The planner would read a table of a few pages as a whole for each
/// of them, and keep the plan while the table grows. Scans and lists turn it on again.
/// Nothing is set when the startup packet did not reach this session.
const SESSION: &str = concat!(
    "SELECT set_config('lock_timeout', '",
    lock_timeout!(),
    "', false), set_config('statement_timeout', '15s', false), \
       set_config('idle_in_transaction_session_timeout', '20s', false), \
       set_config('default_transaction_isolation', 'read committed', false), \
       set_config('default_transaction_read_only', 'off', false), \
       set_config('default_transaction_deferrable', 'off', false), \
       set_config('standard_conforming_strings', 'on', false), set_config('jit', 'off', false), \
       set_config('enable_seqscan', 'off', false)"
);

/// Sets these settings for one transaction. Settings that another client has left in the session are reset to the
/// defaults of this role.
macro_rules! local {
    ($begin:literal, $limit:literal, $sequential:literal) => {
        concat!(
            $begin,
            "; SET LOCAL search_path TO DEFAULT; SET LOCAL row_security TO DEFAULT; SET LOCAL lock_timeout = '",
            lock_timeout!(),
            "'; SET LOCAL statement_timeout = ",
            $limit,
            "; SET LOCAL idle_in_transaction_session_timeout = '20s'; SET LOCAL standard_conforming_strings = on; \
             SET LOCAL jit = off; SET LOCAL enable_seqscan = ",
            $sequential
        )
    };
}

impl Pooling {
    /// Returns the statements that begin a transaction, in one round trip. The isolation level is the one that the code
    /// relies on.
    pub(super) fn begin(self, how: Begin) -> &'static str {
        match (self, how) {
            (Self::Sessions, Begin::Change) => "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE",
            (Self::Sessions, Begin::LongChange) => {
                "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE; SET LOCAL enable_seqscan = on"
            }
            (Self::Sessions, Begin::Probes) => "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            (Self::Sessions, Begin::Snapshot) => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = 0; \
                 SET LOCAL enable_seqscan = on"
            }
            (Self::Sessions, Begin::List) => {
                "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY; SET LOCAL statement_timeout = '5s'; \
                 SET LOCAL enable_seqscan = on"
            }
            (Self::Sessions, Begin::ListSnapshot) => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '5s'; \
                 SET LOCAL enable_seqscan = on"
            }
            (Self::Sessions, Begin::AccessList) => {
                "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; SET LOCAL statement_timeout = '5s'"
            }
            (Self::Transactions, Begin::Change) => {
                local!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", "'15s'", "off")
            }
            (Self::Transactions, Begin::LongChange) => {
                local!("BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", "'15s'", "on")
            }
            (Self::Transactions, Begin::Probes) => {
                local!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "'15s'", "off")
            }
            (Self::Transactions, Begin::Snapshot) => {
                local!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "0", "on")
            }
            (Self::Transactions, Begin::List) => {
                local!("BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY", "'5s'", "on")
            }
            (Self::Transactions, Begin::ListSnapshot) => {
                local!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "'5s'", "on")
            }
            (Self::Transactions, Begin::AccessList) => {
                local!("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "'5s'", "off")
            }
        }
    }
}

/// A connection that was opened, and whether it keeps its session.
pub(super) struct Opened {
    pub(super) conn: PgConnection,
    pub(super) pooling: Pooling,
}

/// The connect options of the server, and the route to it once it is known.
pub(super) struct Server {
    options: PgConnectOptions,
    setting: PoolerSetting,
    /// The value by which a session shows that the startup packet reached it.
    mark: String,
    way: Mutex<Option<Way>>,
}

/// The route between this process and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Direct,
    SessionPooler,
    TransactionPooler,
}

/// The time that one query of a session may take. A pooler whose sessions are all in use answers when one is free.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of times that two connections are compared: without and with a sign of a pooler.
const ROUNDS: [usize; 2] = [2, 20];

impl Server {
    pub(super) fn new(options: PgConnectOptions, setting: PoolerSetting) -> Self {
        Self { options, setting, mark: uuid::Uuid::new_v4().simple().to_string(), way: Mutex::default() }
    }

    pub(super) fn options(&self) -> PgConnectOptions {
        self.options.clone()
    }

    pub(super) fn pooling(&self) -> Option<Pooling> {
        Some(match (*self.way())? {
            Way::Direct | Way::SessionPooler => Pooling::Sessions,
            Way::TransactionPooler => Pooling::Transactions,
        })
    }

    pub(super) fn pooler(&self) -> Option<&'static str> {
        match *self.way() {
            None | Some(Way::Direct) => None,
            Some(Way::SessionPooler) => Some("session"),
            Some(Way::TransactionPooler) => Some("transaction"),
        }
    }

    fn way(&self) -> MutexGuard<'_, Option<Way>> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens a connection that is ready for use.
    pub(super) async fn connect(&self) -> Result<Opened, sqlx::Error> {
        let known = *self.way();
        match (known, self.setting) {
            (Some(way), _) => self.connect_by(way).await,
            (None, PoolerSetting::Off) => self.adopt_way(Way::SessionPooler, None).await,
            (None, PoolerSetting::Transaction) => {
                let mut conn = self.options.connect().await?;
                refuse_statement_pooling(&mut conn).await?;
                self.adopt_way(Way::TransactionPooler, Some(conn)).await
            }
            (None, PoolerSetting::Auto) => self.detect().await,
        }
    }

    /// Uses `way` for all connections from now on, and prepares `conn`.
    async fn adopt_way(&self, way: Way, conn: Option<PgConnection>) -> Result<Opened, sqlx::Error> {
        let reached = match conn {
            Some(conn) => self.prepare(conn, way).await?,
            None => self.connect_by(way).await?,
        };
        if self.way().replace(way) != Some(way) && self.setting == PoolerSetting::Auto {
            match way {
                Way::Direct => {}
                Way::SessionPooler => info!(mode = "session", "database_pooler_found"),
                Way::TransactionPooler => warn!(
                    mode = "transaction",
                    consequence = "statements are not prepared, and decisions are not cached",
                    "database_pooler_found"
                ),
            }
        }
        Ok(reached)
    }

    async fn connect_by(&self, way: Way) -> Result<Opened, sqlx::Error> {
        let conn = match way {
            Way::Direct => self.marked().connect().await?,
            Way::SessionPooler | Way::TransactionPooler => self.options.connect().await.map_err(explained)?,
        };
        self.prepare(conn, way).await
    }

    /// A startup packet with this process's mark. A statement timeout that is the default of the database could cancel
    /// the statement that replaces it, so there is none until then.
    fn marked(&self) -> PgConnectOptions {
        self.options.clone().options([("epr.session", self.mark.as_str()), ("statement_timeout", "0")])
    }

    async fn prepare(&self, mut conn: PgConnection, way: Way) -> Result<Opened, sqlx::Error> {
        match way {
            Way::Direct => {
                let session = format!("{SESSION} WHERE current_setting('epr.session', true) = '{}'", self.mark);
                if sqlx::raw_sql(AssertSqlSafe(session)).fetch_optional(&mut conn).await?.is_none() {
                    // A pooler has been inserted since. The next attempt detects its kind.
                    *self.way() = None;
                    return Err(sqlx::Error::Protocol("the way to the database has changed".into()));
                }
                Ok(Opened { conn, pooling: Pooling::Sessions })
            }
            Way::SessionPooler => {
                sqlx::raw_sql(SESSION).execute(&mut conn).await?;
                Ok(Opened { conn, pooling: Pooling::Sessions })
            }
            Way::TransactionPooler => Ok(Opened { conn, pooling: Pooling::Transactions }),
        }
    }

    async fn detect(&self) -> Result<Opened, sqlx::Error> {
        let (mut conn, direct) = match self.marked().connect().await {
            Ok(mut conn) => {
                let mark = text(&mut conn, "SELECT coalesce(current_setting('epr.session', true), '')").await?;
                (conn, mark == self.mark)
            }
            Err(error) if refuses_startup(&error) => (self.options.connect().await.map_err(explained)?, false),
            Err(error) => return Err(error),
        };
        if !direct {
            refuse_statement_pooling(&mut conn).await?;
        }
        let [few, many] = ROUNDS;
        // Without a second connection (the server is full), the first one decides.
        let second = if direct { self.marked().connect().await } else { self.options.connect().await };
        let shared = match second {
            Ok(mut second) => {
                let shared = share_sessions(&mut conn, &mut second, if direct { few } else { many }).await;
                let _ = timeout(PROBE_TIMEOUT, second.close()).await;
                shared
            }
            Err(_) => !direct,
        };
        let way = match (direct, shared) {
            (_, true) => Way::TransactionPooler,
            (true, false) => Way::Direct,
            (false, false) => Way::SessionPooler,
        };
        // A query that timed out may still be answered on this connection.
        let conn = if shared { None } else { Some(conn) };
        self.adopt_way(way, conn).await
    }
}

/// Adds what to do to the error of a pooler that refuses a startup parameter.
fn explained(error: sqlx::Error) -> sqlx::Error {
    if !refuses_startup(&error) {
        return error;
    }
    let advice = "the connection pooler refuses a startup parameter. Remove `options` from EPR_DATABASE_URL (settings \
     can be \
                  made with ALTER ROLE), or add the parameter to the pooler's ignore_startup_parameters";
    sqlx::Error::Configuration(format!("{error}: {advice}").into())
}

/// Returns whether the peer refuses parameters for the server, as poolers do.
fn refuses_startup(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(db_error) = error else { return false };
    let message = db_error.message();
    message.contains("startup parameter") || message.contains("command-line options")
}

async fn refuse_statement_pooling(conn: &mut PgConnection) -> Result<(), sqlx::Error> {
    let begun = sqlx::raw_sql("BEGIN; SELECT 1").execute(&mut *conn).await;
    match begun {
        Ok(_) => sqlx::raw_sql("ROLLBACK").execute(conn).await.map(|_| ()),
        Err(sqlx::Error::Database(db_error)) if db_error.message().contains("statement pooling") => {
            Err(sqlx::Error::Configuration(STATEMENT_POOLING.into()))
        }
        Err(error) => Err(error),
    }
}

const STATEMENT_POOLING: &str = "the connection pooler is in statement mode, \
 which has no transactions: set pool_mode = transaction \
                                 (or session) for this database";

/// Returns whether these connections share server sessions. A pooler in transaction mode assigns the session that
/// became free last, or the one that has been free longest: in both orders one of the connections gets another session
/// than before, or the other's.
async fn share_sessions(first: &mut PgConnection, second: &mut PgConnection, rounds: usize) -> bool {
    async fn session(conn: &mut PgConnection) -> Option<String> {
        let look = text(conn, "SELECT pg_backend_pid() || ' ' || pg_postmaster_start_time()");
        timeout(PROBE_TIMEOUT, look).await.ok()?.ok()
    }
    let (Some(own), Some(other)) = (session(first).await, session(second).await) else { return true };
    if own == other {
        return true;
    }
    for _ in 0..rounds {
        for _ in 0..2 {
            if session(first).await.as_ref() != Some(&own) {
                return true;
            }
        }
        if session(second).await.as_ref() != Some(&other) {
            return true;
        }
    }
    false
}

async fn text(conn: &mut PgConnection, sql: &'static str) -> Result<String, sqlx::Error> {
    sqlx::raw_sql(sql).fetch_one(conn).await?.try_get(0)
}
