//! What SQLite expresses in its own way: everything that `sql/` needs to know about this database.
//!
//! The same names as in the other adapter's `dialect`. Must never contain a statement that both databases could share.

#![allow(
    clippy::unused_async,
    reason = "the signatures are PostgreSQL's; a file needs no server's answer for some of them"
)]

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

pub(super) use super::older::put_aside;
pub(super) use super::pages::{next_page, open_pages, pause_triggers, resume_triggers};
use super::pool::FileError;
pub(super) use super::pool::Pool;
use super::sql::schema;
pub(super) use super::{changes, entries, older, together};
use crate::domain::Timestamp;
use crate::store::StoreError;

pub(super) type Db = sqlx::Sqlite;
pub(super) type Conn = sqlx::SqliteConnection;
pub(super) type Row = SqliteRow;
pub(super) type Loan = sqlx::pool::PoolConnection<Db>;
pub(super) type Transaction = sqlx::Transaction<'static, Db>;
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

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/sqlite");

/// How long a writer waits for another *process* that writes the same file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside the one writer.
pub(super) const READERS: u32 = 4;

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

pub(super) async fn acquire(pool: &Pool) -> Result<Loan, StoreError> {
    pool.acquire().await
}

/// Begins a transaction that will write.
pub(super) async fn begin(pool: &Pool) -> Result<Transaction, StoreError> {
    pool.check()?;
    #[allow(clippy::disallowed_methods, reason = "the one place where transactions on SQLite begin")]
    pool.begin_with("BEGIN IMMEDIATE").await.map_err(classify)
}

/// The same: nothing of it outlasts it here, and a database in memory lives in its connection.
pub(super) async fn begin_apart(pool: &Pool) -> Result<Transaction, StoreError> {
    begin(pool).await
}

pub(super) fn forsake(loan: Loan) {
    drop(loan);
}

/// A file has no connection that leads elsewhere.
pub(super) fn close_after(_: &mut Transaction) {}

/// The transaction has the only lock already.
pub(super) async fn wait_briefly(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// A generation that never ends.
pub(super) fn generation(_: &Conn) -> u64 {
    u64::MAX
}

pub(super) async fn commit(tx: Transaction) -> Result<(), StoreError> {
    tx.commit().await.map_err(classify)
}

/// Begins a transaction that sees one moment of the database from its first read to its last.
pub(super) async fn begin_snapshot(pool: &Pool) -> Result<Transaction, StoreError> {
    pool.check()?;
    #[allow(clippy::disallowed_methods, reason = "the one place where snapshots on SQLite begin")]
    pool.begin().await.map_err(classify)
}

/// A file does not go silent.
pub(super) async fn unless_silent<T>(step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    step.await
}

pub(super) async fn within<T>(_: Duration, step: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    step.await
}

pub(super) async fn lock_hierarchy(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// The clock of a file is this machine's.
pub(super) async fn server_time(_: &mut Conn) -> Result<Option<Timestamp>, StoreError> {
    Ok(None)
}

pub(super) async fn share_hierarchy(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

pub(super) async fn lock_ordering_key(_: &mut Conn, _: &str) -> Result<(), StoreError> {
    Ok(())
}

pub(super) async fn notify_outbox(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// There are none.
pub(super) fn outbox_signals(_: &Pool) -> BoxStream<'static, ()> {
    futures_util::stream::empty().boxed()
}

pub(super) async fn lock_schema(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// A file has no users.
pub(super) async fn missing_privileges(_: &mut Conn) -> Result<Vec<String>, StoreError> {
    Ok(Vec::new())
}

pub(super) async fn connections(_: &mut Conn) -> Result<Option<crate::store::Connections>, StoreError> {
    Ok(None)
}

/// The driver's connection, which here is the store's.
pub(super) fn driver(conn: &mut Conn) -> &mut Conn {
    conn
}

/// Texts are what they were on every file.
pub(super) async fn check_database(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

pub(super) async fn may_create(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

pub(super) async fn applied_migrations(conn: &mut Conn) -> Result<Vec<schema::Applied>, StoreError> {
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
pub(super) async fn apply_outside(pool: &Pool, migration: &sqlx::migrate::Migration) -> Result<(), StoreError> {
    let mut conn = acquire(pool).await?;
    let done = sqlx::raw_sql(migration.sql.clone()).execute(&mut *conn).await;
    done.map(|_| ()).map_err(|fault| explain_refusal(fault, migration.version))
}

/// Says what is in the way of a migration.
pub(super) fn explain_refusal(fault: sqlx::Error, version: i64) -> StoreError {
    match classify(fault) {
        StoreError::Backend(cause) => StoreError::Migration(format!("migration {version}: {cause}")),
        other => other,
    }
}

/// The refusal of another application's table.
pub(super) async fn not_ours(_: &mut Conn, table: &str) -> StoreError {
    StoreError::Unsuitable(format!(
        "the table {table} in this file belongs to another application: these tables are not EPR's. Give EPR a file of its own"
    ))
}

/// Begins a transaction that reads a page of a list.
pub(super) async fn begin_list(pool: &Pool) -> Result<Loan, StoreError> {
    acquire(pool).await
}

pub(super) async fn end_list<T>(_: Loan, listed: Result<T, StoreError>) -> Result<T, StoreError> {
    listed
}

/// There is no server.
pub(super) fn pooler(_: &Pool) -> Option<&'static str> {
    None
}

/// A file has room for everyone.
pub(super) fn keep_open(_: &Pool) {}

pub(super) fn acquire_timeout(pool: &Pool) -> Duration {
    pool.options().get_acquire_timeout()
}

pub(super) fn most(pool: &Pool) -> u32 {
    pool.options().get_max_connections()
}

/// Whether these are two handles of one pool, which then share its options.
pub(super) fn same(one: &Pool, other: &Pool) -> bool {
    std::ptr::eq(one.options(), other.options())
}

/// The columns of a table; none when there is no such table.
pub(super) async fn columns(conn: &mut Conn, table: &str) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(table).fetch_all(conn).await.map_err(classify)
}

/// A file is opened with the first statement, whose error says what is wrong with it.
pub(super) async fn reach(_: &Pool) -> Result<(), crate::store::Unreached> {
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
                (_, 7 | 8 | 10 | 13 | 14) => StoreError::Unavailable(FileError::boxed(fault)),
                // CORRUPT, NOTADB
                (_, 11 | 26) => StoreError::Backend(FileError::boxed(fault)),
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
