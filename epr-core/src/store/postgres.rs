//! PostgreSQL 13 and later: what differs from SQLite, around the shared SQL.

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgRow};
use time::OffsetDateTime;
use uuid::Uuid;

use super::StoreError;
use crate::domain::Timestamp;

pub(super) type Db = sqlx::Postgres;
pub(super) type Conn = sqlx::PgConnection;
pub(super) type Row = PgRow;
/// How an id is bound and read.
pub(super) type Id = Uuid;
/// How a timestamp is bound and read.
pub(super) type Stamp = OffsetDateTime;

/// A list of texts in one column, as JSON text.
macro_rules! json_list {
    ($item:literal) => {
        concat!("COALESCE(CAST(json_agg(", $item, ") AS TEXT), '[]')")
    };
}

/// A bound JSON text, for a column of the type `json`.
macro_rules! json_value {
    ($place:literal) => {
        concat!("CAST(", $place, " AS json)")
    };
}

/// An id given as text, where the statement does not show that it is one.
macro_rules! uuid_value {
    ($place:literal) => {
        concat!("CAST(", $place, " AS uuid)")
    };
}

/// The items of a bound JSON list of texts, as rows with a column `value`.
macro_rules! json_items {
    ($place:literal) => {
        concat!("json_array_elements_text(CAST(", $place, " AS json)) AS item(value)")
    };
}

/// A bound timestamp, where the statement does not show that it is one.
macro_rules! time_value {
    ($place:literal) => {
        concat!("CAST(", $place, " AS timestamptz)")
    };
}

/// The end of a SELECT that locks its rows until the end of the transaction.
macro_rules! for_update {
    ($of:literal) => {
        concat!(" FOR UPDATE OF ", $of)
    };
}

/// A table of the older implementation, once it has been set aside.
macro_rules! set_aside {
    ($table:literal) => {
        concat!("epr_before.", $table)
    };
}

#[path = "sql/adopt.rs"]
mod adopt;
#[path = "sql/assignments.rs"]
mod assignments;
#[path = "sql/entities.rs"]
mod entities;
mod entries;
#[path = "sql/facts.rs"]
mod facts;
#[path = "sql/ledger.rs"]
mod ledger;
#[path = "sql/roles.rs"]
mod roles;
#[path = "sql/schema.rs"]
mod schema;
#[path = "sql/store.rs"]
mod store;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// A caller that waits for a lock or a statement longer than this is told to come back; a process that stops in the
/// middle of a transaction (and may hold the ledger's lock) loses it after a while, so that the others can go on.
const SESSION: &str =
    "SET lock_timeout = '5s'; SET statement_timeout = '15s'; SET idle_in_transaction_session_timeout = '20s'";

/// Work over whole tables takes as long as it takes.
const PATIENT: &str = "SET lock_timeout = 0; SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0";

/// Any constant: this database belongs to EPR, and only changes of parents take it.
const HIERARCHY_LOCK: i64 = 0x4550_5201;
/// Another: only what changes the schema takes it.
const SCHEMA_LOCK: i64 = 0x4550_5202;

pub(super) fn id(id: Uuid) -> Id {
    id
}

pub(super) fn read_id(id: Id) -> Uuid {
    id
}

pub(super) fn stamp(at: Timestamp) -> Stamp {
    at.into_inner()
}

pub(super) fn read_stamp(at: Stamp) -> Result<Timestamp, StoreError> {
    Timestamp::new(at).map_err(|fault| StoreError::corrupt("timestamp", fault))
}

/// Begins a transaction.
async fn begin(pool: &sqlx::Pool<Db>) -> Result<sqlx::Transaction<'static, Db>, StoreError> {
    #[allow(clippy::disallowed_methods, reason = "the one place where transactions on PostgreSQL begin")]
    pool.begin().await.map_err(classify)
}

/// Begins a transaction that sees one moment of the database from its first read to its last.
async fn begin_snapshot(pool: &sqlx::Pool<Db>) -> Result<sqlx::Transaction<'static, Db>, StoreError> {
    #[allow(clippy::disallowed_methods, reason = "the one place where snapshots on PostgreSQL begin")]
    let mut tx = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.map_err(classify)?;
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await.map_err(classify)?;
    Ok(tx)
}

async fn lock_hierarchy(conn: &mut Conn) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(HIERARCHY_LOCK).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Prepares a connection for migrations; it must be closed afterwards.
async fn patient(conn: &mut Conn) -> Result<(), StoreError> {
    sqlx::raw_sql(PATIENT).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Makes this the only process that changes the schema, until the end of the transaction.
async fn lock_schema(conn: &mut Conn) -> Result<(), StoreError> {
    // As patient as a migration, but only for this transaction.
    sqlx::raw_sql("SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0")
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(SCHEMA_LOCK).execute(&mut *conn).await.map_err(classify)?;
    // Timestamps without a zone are read as UTC.
    sqlx::query("SET LOCAL TIME ZONE 'UTC'").execute(conn).await.map_err(classify)?;
    Ok(())
}

async fn table_exists(conn: &mut Conn, table: &str) -> Result<bool, StoreError> {
    sqlx::query_scalar("SELECT to_regclass($1) IS NOT NULL").bind(table).fetch_one(conn).await.map_err(classify)
}

/// Moves a table out of the way, with its indexes and constraints.
async fn put_aside(conn: &mut Conn, table: &'static str) -> Result<(), StoreError> {
    for statement in
        ["CREATE SCHEMA IF NOT EXISTS epr_before".to_owned(), format!("ALTER TABLE {table} SET SCHEMA epr_before")]
    {
        sqlx::query(sqlx::AssertSqlSafe(statement)).execute(&mut *conn).await.map_err(classify)?;
    }
    Ok(())
}

/// Sorts a driver's error by what the caller can do about it.
pub(super) fn classify(fault: sqlx::Error) -> StoreError {
    use sqlx::error::ErrorKind;
    match &fault {
        sqlx::Error::Database(told) => {
            let code = told.code().unwrap_or_default();
            match (&*code, told.kind()) {
                (_, ErrorKind::ForeignKeyViolation) => StoreError::MissingReference,
                // Serialization failure, deadlock.
                ("40001" | "40P01", _) => StoreError::Contention(fault.into()),
                // Connection trouble, out of connections or other resources, shutting down, read-only standby,
                // authentication, a lock that was not given within LOCK_TIMEOUT, a session ended for idling.
                (code, _)
                    if code.starts_with("08")
                        || code.starts_with("53")
                        || code.starts_with("57P")
                        || code.starts_with("28")
                        || code.starts_with("25P")
                        || code == "55P03"
                        || code == "57014"
                        || code == "25006"
                        || code == "3D000" =>
                {
                    StoreError::Unavailable(fault.into())
                }
                _ => StoreError::Backend(fault.into()),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(fault.into()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::corrupt("column", fault),
        _ => StoreError::Backend(fault.into()),
    }
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
}

impl Default for Options {
    fn default() -> Self {
        Self { pool_size: 10, acquire_timeout: Duration::from_secs(5), echo: false }
    }
}

/// A pool on `url`, which connects when it is first needed.
///
/// # Errors
/// The URL is not understood.
pub fn open(url: &str, options: &Options) -> Result<store::SqlStore, StoreError> {
    let connect = connect_options(url, options.echo)?;
    let pool = PgPoolOptions::new()
        .after_connect(|conn, _| Box::pin(async move { sqlx::raw_sql(SESSION).execute(conn).await.map(|_| ()) }))
        .max_connections(options.pool_size)
        .acquire_timeout(options.acquire_timeout)
        .connect_lazy_with(connect);
    Ok(store::SqlStore::new(pool.clone(), pool, schema::Target { lock_file: None, closable: true }))
}

fn connect_options(url: &str, echo: bool) -> Result<PgConnectOptions, StoreError> {
    let options: PgConnectOptions = url.parse().map_err(|fault: sqlx::Error| StoreError::Backend(fault.into()))?;
    let level = if echo { log::LevelFilter::Info } else { log::LevelFilter::Off };
    Ok(options.application_name("omen-epr").log_statements(level))
}
