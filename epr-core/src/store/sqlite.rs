//! SQLite, embedded: what differs from PostgreSQL, around the shared SQL.
//!
//! One connection writes and many read (WAL). A write transaction begins `IMMEDIATE`: a deferred one that reads
//! first fails with "database is locked" as soon as another writer was in between, whatever the busy timeout.

use std::path::{Path, PathBuf};
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

pub use self::ledger_page::{TimeSpan, page_query, span_query};
use self::older::put_aside;
use super::StoreError;
use super::postgres::Options;
use crate::domain::Timestamp;

pub(super) type Db = sqlx::Sqlite;
pub(super) type Conn = sqlx::SqliteConnection;
use self::pages::{next_page, open_pages, pause_triggers, resume_triggers};
pub(super) use self::pool::Pool;
pub(super) type Row = SqliteRow;
type Loan = sqlx::pool::PoolConnection<Db>;
type Transaction = sqlx::Transaction<'static, Db>;
/// How an id is bound and read: lower-case text, so that the file can be read with any tool.
pub(super) type Id = Hyphenated;
/// How a timestamp is bound and read: text of fixed width, whose order is the order in time.
pub(super) type Stamp = String;

/// A list of texts in one column, as JSON text.
macro_rules! json_list {
    ($item:literal) => {
        concat!("json_group_array(", $item, ")")
    };
}

/// A bound JSON text. A cast to `json` would make a number of it here.
macro_rules! json_value {
    ($place:literal) => {
        $place
    };
}

/// An id is text here. A cast to `uuid` would make a number of it.
macro_rules! uuid_value {
    ($place:literal) => {
        $place
    };
}

/// The items of a bound JSON list of texts, as rows with a column `value`.
macro_rules! json_items {
    ($place:literal) => {
        concat!("json_each(", $place, ") AS item")
    };
}

/// A bound timestamp: text.
macro_rules! time_value {
    ($place:literal) => {
        $place
    };
}

/// A value to be held against an indexed expression: without a type of its own, for which the index would be passed over.
macro_rules! index_value {
    ($value:literal) => {
        concat!("+", $value)
    };
}

/// A join that looks into a table once for each row before it, whatever the planner expects to find.
macro_rules! join_probing {
    ($table:literal, $name:literal, $($condition:expr),+) => {
        concat!("CROSS JOIN ", $table, " ", $name, " ON ", $($condition),+)
    };
}

/// Nothing to pass over: the whole transaction is exclusive.
macro_rules! skip_locked {
    ($of:literal) => {
        ""
    };
}

/// Nothing to lock: the whole transaction is exclusive.
macro_rules! for_update {
    ($of:literal) => {
        ""
    };
}

/// Whether a renewal is older than any entry of a cache can be.
macro_rules! written_a_day_ago {
    () => {
        "written_at < CAST(strftime('%s', 'now', '-25 hours') AS INTEGER)"
    };
}

/// A file is never in recovery.
macro_rules! in_recovery {
    () => {
        "CAST(0 AS boolean)"
    };
}

/// What a statement says so that its transaction is ended when the process stops in it: nothing, there is no server.
macro_rules! last_step {
    () => {
        "NULL"
    };
}

/// A whole row of `audit_logs l` as text: JSON with each column as a literal of SQL, whatever type it has.
macro_rules! row_text {
    () => {
        "json_object('sequence', quote(l.sequence), 'previous_hash', quote(l.previous_hash), 'entry_hash', quote(l.entry_hash), \
         'hash_version', quote(l.hash_version), 'event_id', quote(l.event_id), 'source', quote(l.source), \
         'action', quote(l.action), 'actor_id', quote(l.actor_id), 'actor_type', quote(l.actor_type), \
         'entity_id', quote(l.entity_id), 'entity_type', quote(l.entity_type), \
         'correlation_id', quote(l.correlation_id), 'details', quote(l.details), 'occurred_at', quote(l.occurred_at))"
    };
}

/// A table of the older implementation, once it has been set aside.
macro_rules! set_aside {
    ($table:literal) => {
        concat!("before_", $table)
    };
}

/// A statement whose rows are read in pages: columns of `o`, and a table that was set aside.
macro_rules! older_pages {
    ($columns:literal, $table:literal) => {
        concat!(
            "SELECT ",
            $columns,
            ", o.rowid AS page_key FROM ",
            set_aside!($table),
            " o WHERE o.rowid > $1 ORDER BY o.rowid LIMIT 1000"
        )
    };
}

#[path = "sql/adopt.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod adopt;
#[path = "sql/assignments.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod assignments;
mod changes;
#[path = "sql/entities.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod entities;
mod entries;
#[path = "sql/events.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod events;
#[path = "sql/facts.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod facts;
#[path = "sql/hand_back.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod hand_back;
#[path = "sql/hierarchy.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod hierarchy;
#[path = "sql/ledger.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod ledger;
#[path = "sql/ledger_page.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod ledger_page;
#[path = "sql/listing.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod listing;
mod older;
mod pages;
mod pool;
#[path = "sql/rejections.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod rejections;
#[path = "sql/renewals.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod renewals;
#[path = "sql/reports.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod reports;
#[path = "sql/roles.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod roles;
#[path = "sql/schema.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod schema;
#[path = "sql/set_aside.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod set_aside;
#[path = "sql/store.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod store;
mod together;
#[path = "sql/tx.rs"]
#[allow(clippy::duplicate_mod, reason = "written once, compiled for each database")]
mod tx;

static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// How long a writer waits for another *process* that writes the same file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside the one writer.
const READERS: u32 = 4;

pub(super) fn id(id: Uuid) -> Id {
    id.hyphenated()
}

pub(super) fn read_id(id: Id) -> Uuid {
    id.into_uuid()
}

pub(super) fn stamp(at: Timestamp) -> Stamp {
    at.to_string()
}

#[allow(clippy::needless_pass_by_value, reason = "the same signature as on PostgreSQL")]
pub(super) fn read_stamp(at: Stamp) -> Result<Timestamp, StoreError> {
    Timestamp::parse(&at).map_err(|fault| StoreError::corrupt("timestamp", fault))
}

async fn acquire(pool: &Pool) -> Result<Loan, StoreError> {
    pool.acquire().await
}

/// Begins a transaction that will write.
async fn begin(pool: &Pool) -> Result<Transaction, StoreError> {
    pool.check()?;
    #[allow(clippy::disallowed_methods, reason = "the one place where transactions on SQLite begin")]
    pool.begin_with("BEGIN IMMEDIATE").await.map_err(classify)
}

/// The same: nothing of it outlasts it here, and a database in memory lives in its connection.
async fn begin_apart(pool: &Pool) -> Result<Transaction, StoreError> {
    begin(pool).await
}

fn forsake(loan: Loan) {
    drop(loan);
}

/// A file has no connection that leads elsewhere.
fn close_after(_: &mut Transaction) {}

/// The transaction has the only lock already.
async fn wait_briefly(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// A generation that never ends.
fn generation(_: &Conn) -> u64 {
    u64::MAX
}

async fn commit(tx: Transaction) -> Result<(), StoreError> {
    tx.commit().await.map_err(classify)
}

/// Begins a transaction that sees one moment of the database from its first read to its last.
async fn begin_snapshot(pool: &Pool) -> Result<Transaction, StoreError> {
    pool.check()?;
    #[allow(clippy::disallowed_methods, reason = "the one place where snapshots on SQLite begin")]
    pool.begin().await.map_err(classify)
}

/// A file does not go silent.
async fn unless_silent<T>(step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    step.await
}

async fn within<T>(_: Duration, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    step.await
}

#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL; here the transaction is exclusive")]
async fn lock_hierarchy(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// The clock of a file is this machine's.
#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL")]
async fn server_time(_: &mut Conn) -> Result<Option<Timestamp>, StoreError> {
    Ok(None)
}

#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL; here the transaction is exclusive")]
async fn share_hierarchy(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL; here the transaction is exclusive")]
async fn lock_ordering_key(_: &mut Conn, _: &str) -> Result<(), StoreError> {
    Ok(())
}

#[allow(
    clippy::unused_async,
    reason = "the same signature as on PostgreSQL; here the relay is in the same process or polls"
)]
async fn notify_outbox(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// There are none.
fn outbox_signals(_: &Pool) -> BoxStream<'static, ()> {
    futures_util::stream::empty().boxed()
}

#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL; here a lock file does it")]
async fn lock_schema(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// A file has no users.
#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL; here there is no server")]
async fn missing_privileges(_: &mut Conn) -> Result<Vec<String>, StoreError> {
    Ok(Vec::new())
}

#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL; here there is no server")]
async fn connections(_: &mut Conn) -> Result<Option<super::Connections>, StoreError> {
    Ok(None)
}

/// The driver's connection, which here is the store's.
fn driver(conn: &mut Conn) -> &mut Conn {
    conn
}

/// Texts are what they were on every file.
#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL")]
async fn check_database(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL; here there are no rights")]
async fn may_create(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

async fn applied_migrations(conn: &mut Conn) -> Result<Vec<schema::Applied>, StoreError> {
    if columns(&mut *conn, schema::APPLIED).await?.is_empty() {
        return Ok(Vec::new());
    }
    let rows =
        sqlx::query("SELECT version, description, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(&mut *conn)
            .await
            .map_err(classify)?;
    let applied = rows.iter().map(schema::read_applied).collect::<Result<Vec<_>, StoreError>>()?;
    if schema::are_ours(&applied) { Ok(applied) } else { Err(not_ours(conn, schema::APPLIED).await) }
}

/// Every migration is applied in a transaction here.
async fn apply_outside(pool: &Pool, migration: &sqlx::migrate::Migration) -> Result<(), StoreError> {
    let mut conn = acquire(pool).await?;
    let done = sqlx::raw_sql(migration.sql.clone()).execute(&mut *conn).await;
    done.map(|_| ()).map_err(|fault| explain_refusal(fault, migration.version))
}

/// Says what is in the way of a migration.
fn explain_refusal(fault: sqlx::Error, version: i64) -> StoreError {
    match classify(fault) {
        StoreError::Backend(cause) => StoreError::Migration(format!("migration {version}: {cause}")),
        other => other,
    }
}

/// The refusal of another application's table.
#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL")]
async fn not_ours(_: &mut Conn, table: &str) -> StoreError {
    StoreError::Unsuitable(format!(
        "the table {table} in this file belongs to another application: these tables are not EPR's. Give EPR a file of its own"
    ))
}

/// Begins a transaction that reads a page of a list.
async fn begin_list(pool: &Pool) -> Result<Loan, StoreError> {
    acquire(pool).await
}

#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL")]
async fn end_list<T>(_: Loan, listed: Result<T, StoreError>) -> Result<T, StoreError> {
    listed
}

/// There is no server.
fn pooler(_: &Pool) -> Option<&'static str> {
    None
}

/// A file has room for everyone.
fn keep_open(_: &Pool) {}

fn acquire_timeout(pool: &Pool) -> Duration {
    pool.options().get_acquire_timeout()
}

fn most(pool: &Pool) -> u32 {
    pool.options().get_max_connections()
}

/// Whether these are two handles of one pool, which then share its options.
fn same(one: &Pool, other: &Pool) -> bool {
    std::ptr::eq(one.options(), other.options())
}

/// The columns of a table; none when there is no such table.
async fn columns(conn: &mut Conn, table: &str) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(table).fetch_all(conn).await.map_err(classify)
}

/// A file is opened with the first statement, whose error says what is wrong with it.
#[allow(clippy::unused_async, reason = "the other database connects")]
async fn reach(_: &Pool) -> Result<(), super::Unreached> {
    Ok(())
}

/// Sorts a driver's error by what the caller can do about it.
pub(super) fn classify(fault: sqlx::Error) -> StoreError {
    use sqlx::error::ErrorKind;
    match &fault {
        sqlx::Error::Database(told) => {
            // The low byte is the primary result code.
            let code = told.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0) & 0xff;
            match (told.kind(), code) {
                (ErrorKind::ForeignKeyViolation, _) => StoreError::MissingReference,
                // BUSY, LOCKED
                (_, 5 | 6) => StoreError::Contention(fault.into()),
                // NOMEM, READONLY, IOERR, FULL, CANTOPEN
                (_, 7 | 8 | 10 | 13 | 14) => StoreError::Unavailable(pool::FileError::boxed(fault)),
                // CORRUPT, NOTADB
                (_, 11 | 26) => StoreError::Backend(pool::FileError::boxed(fault)),
                _ => StoreError::Backend(fault.into()),
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            StoreError::Unavailable(fault.into())
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::corrupt("column", fault),
        _ => StoreError::Backend(fault.into()),
    }
}

/// The statement behind every check, for explaining it: `$1` the resource, `$2` the principal, `$3` its type, `$4` the action.
pub const CHECK: &str = facts::FACTS;

/// Opens (and creates, with its folders) a database file.
///
/// # Errors
/// A folder cannot be made.
pub fn open_file(path: &Path, options: &Options) -> Result<store::SqlStore, StoreError> {
    let (write, read) = Pool::of_file(path, options)?;
    let mut lock_file = path.as_os_str().to_owned();
    lock_file.push(".migrate.lock");
    let target = schema::Target { lock_file: Some(PathBuf::from(lock_file)) };
    Ok(store::SqlStore::new(read, write, target, std::sync::Arc::default()))
}

/// Opens a database of its own in memory.
#[must_use]
pub fn open_memory(options: &Options) -> store::SqlStore {
    let pool = Pool::of_memory(options);
    store::SqlStore::new(pool.clone(), pool, schema::Target { lock_file: None }, std::sync::Arc::default())
}

/// What somebody else's program does to the file.
#[cfg(test)]
pub(crate) async fn tamper(file: &Path, statement: &'static str) {
    use sqlx::Connection as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(statement).execute(&mut conn).await.unwrap();
}
