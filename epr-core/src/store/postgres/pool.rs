//! The pool of connections to PostgreSQL: how many, what each one is prepared with, and when one is tried before it is used.
//!
//! Must never run a statement of the store: connections are lent by `loan`, statements are in `sql/`.

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::connect;
use super::loan::no_answer;
use crate::store::StoreError;
use crate::store::url::PostgresUrl;

/// A caller that waits for a lock or a statement longer than this is told to come back; a process that stops in the
/// middle of a transaction (and may hold the ledger's lock) loses it after a while, so that the others can go on.
const SESSION: &str =
    "SET lock_timeout = '5s'; SET statement_timeout = '15s'; SET idle_in_transaction_session_timeout = '20s'";

/// A connection that answered this recently is taken to be alive. The driver asks each one when it is given back, which also
/// clears away what a caller that left had begun; asking again before the next use would be a third trip for every check. A
/// connection that was cut in between costs one caller a 503; checks ask again on another one.
const ALIVE: Duration = Duration::from_millis(100);

/// How long another one has to show that it is alive.
const ANSWER: Duration = Duration::from_secs(1);

/// How to open a pool.
#[derive(Debug, Clone)]
pub struct Options {
    /// Most connections at a time.
    pub pool_size: u32,
    /// How long a caller waits for a connection before it is told that the database is not available.
    pub acquire_timeout: Duration,
    /// Whether every statement is logged.
    pub echo: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { pool_size: 10, acquire_timeout: Duration::from_secs(5), echo: false }
    }
}

/// The pool under such a store.
///
/// # Errors
/// The URL is not understood.
pub fn pool(url: &str, options: &Options) -> Result<sqlx::PgPool, StoreError> {
    pool_at(&connect::parse(url)?, options)
}

/// [`pool`] for a URL that is read already.
///
/// # Errors
/// The connection cannot be set up as the URL says.
pub(super) fn pool_at(url: &PostgresUrl, options: &Options) -> Result<sqlx::PgPool, StoreError> {
    let level = if options.echo { log::LevelFilter::Info } else { log::LevelFilter::Off };
    let connect = connect::options(url)?.log_statements(level);
    Ok(PgPoolOptions::new()
        .after_connect(|conn, _| Box::pin(async move { sqlx::raw_sql(SESSION).execute(conn).await.map(|_| ()) }))
        .test_before_acquire(false)
        .before_acquire(|conn, last| {
            Box::pin(async move {
                if last.idle_for <= ALIVE {
                    return Ok(true);
                }
                // One that does not answer is closed, and another is tried.
                tokio::time::timeout(ANSWER, conn.ping()).await.map_err(|_| no_answer())??;
                Ok(true)
            })
        })
        .max_connections(options.pool_size)
        .acquire_timeout(options.acquire_timeout)
        .connect_lazy_with(connect))
}
