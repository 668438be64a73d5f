//! The dialect of SQLite: everything that `sql/` needs to know about this database.
//!
//! Both adapters' `dialect` modules define the same names. Must never contain a statement that both databases could
//! share.

#![allow(
    clippy::unused_async,
    reason = "the signatures are PostgreSQL's; a file needs no server's answer for some of them"
)]

use std::sync::LazyLock;
use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::stream::BoxStream;
use sqlx::migrate::Migrator;
use sqlx::sqlite::SqliteRow;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

use super::pool::FileError;
pub(super) use super::pool::Pool;
pub(super) use super::schema_ops::{applied_migrations, apply_outside, explain_migration_error, foreign_table_error};
pub(super) use super::takeover::{next_page, open_pages, pause_triggers, resume_triggers, set_aside_table};
pub(super) use super::{
    access_batch, changed_rows::REGISTRY_TRIGGERS, changes, entries, facts_batch, replica, takeover,
};
use crate::domain::Timestamp;
use crate::store::StoreError;

pub(super) type Db = sqlx::Sqlite;
pub(super) type Conn = sqlx::SqliteConnection;
pub(super) type Row = SqliteRow;
pub(super) type PooledConn = sqlx::pool::PoolConnection<Db>;
pub(super) type Transaction = sqlx::Transaction<'static, Db>;
/// An id as it is bound and read: lower-case text, so that any tool can read the file.
pub(super) type Id = Hyphenated;
/// A timestamp as it is bound and read: text of fixed width, whose order is the order in time.
pub(super) type SqlTime = String;

/// A list of texts in one column, as JSON text.
macro_rules! json_list {
    ($item:literal) => {
        concat!("json_group_array(", $item, ")")
    };
}

/// Pairs of texts in one column, as the text of a JSON object.
macro_rules! json_map {
    ($key:literal, $value:literal) => {
        concat!("json_group_object(", $key, ", ", $value, ")")
    };
}

/// A bound JSON text. A cast to `json` would make a number of it here.
macro_rules! json_value {
    ($parameter:literal) => {
        $parameter
    };
}

/// An id is text here. A cast to `uuid` would make a number of it.
macro_rules! uuid_value {
    ($parameter:literal) => {
        $parameter
    };
}

/// The items of a bound JSON list of texts, as rows with a column `value`.
macro_rules! json_items {
    ($parameter:literal) => {
        concat!("json_each(", $parameter, ") AS item")
    };
}

/// The items of a bound JSON list, as rows with a column `position`, from 0, and a column `value`, itself JSON.
macro_rules! json_rows {
    ($parameter:literal) => {
        concat!("(SELECT key AS position, value FROM json_each(", $parameter, ")) AS item")
    };
}

/// A bound timestamp: text.
macro_rules! time_value {
    ($parameter:literal) => {
        $parameter
    };
}

/// A value to be compared with an indexed expression: `+` removes its type, for which the index would not be used.
macro_rules! index_value {
    ($value:literal) => {
        concat!("+", $value)
    };
}

/// A text that is compared and ordered by its bytes, as every text is here.
macro_rules! byte_order {
    ($text:literal) => {
        $text
    };
}

/// A join that probes a table once for each row before it, whatever the planner estimates.
macro_rules! join_probing {
    ($table:expr, $name:literal, $($condition:expr),+) => {
        concat!("CROSS JOIN ", $table, " ", $name, " ON ", $($condition),+)
    };
}

/// Whether an entry `l` changed the registry, as the index `ix_audit_logs_changes` has it. EPR's own entries have no
/// event id; those of messages have one, whatever source they claim.
macro_rules! changes_registry {
    () => {
        "l.source = 'entity_permissions_core' AND l.event_id IS NULL \
         AND (substr(l.action, 1, instr(l.action, '.') - 1) \
         IN ('entity', 'role', 'role_assignment', 'principal', 'registry') OR l.action = 'ledger.reincarnate')"
    };
}

/// The name of a row in other systems: its external id, or else its UUID. The expression of indexes.
macro_rules! external_name {
    ($row:literal) => {
        concat!("COALESCE(", $row, ".external_id, ", $row, ".id)")
    };
}

/// An id is text.
macro_rules! id_as_text {
    ($id:literal) => {
        $id
    };
}

/// A text in the details of an entry `l`.
macro_rules! text_in_details {
    ($member:literal) => {
        concat!("(CASE WHEN json_valid(l.details) THEN json_extract(l.details, '$.", $member, "') END)")
    };
}

/// A UUID in the details of an entry `l`, as text: the value of the member of this name.
macro_rules! id_in_details {
    ($member:literal) => {
        text_in_details!($member)
    };
}

/// Names the index to read by.
macro_rules! only_by_index {
    ($index:literal) => {
        concat!("INDEXED BY ", $index)
    };
}

/// Nothing to skip: the whole transaction is exclusive.
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

/// The end of a SELECT whose rows no other transaction can lock until the end of this one. Several may share them.
macro_rules! for_key_share {
    ($of:literal) => {
        ""
    };
}

/// Whether an invalidation is older than any cache entry can be.
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

/// Nothing: there is no server that could end the transaction of a frozen process.
macro_rules! idle_limit {
    () => {
        "NULL"
    };
}

/// A whole row of `audit_logs l` as text: JSON with each column as a literal of SQL, whatever type it has.
macro_rules! row_text {
    () => {
        "json_object('sequence', quote(l.sequence), 'previous_hash', quote(l.previous_hash), 'entry_hash', \
         quote(l.entry_hash), \
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

/// A statement whose rows are read in pages: columns of `o`, which is a table that was set aside.
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

pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| migrations!("sqlite"));

/// The time that a writer waits for another *process* that writes the same file.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside the one writer.
pub(super) const READERS: u32 = 4;

/// Returns an id as it is bound.
pub(super) fn bind_id(id: Uuid) -> Id {
    id.hyphenated()
}

/// Returns an id that was read.
pub(super) fn read_id(id: Id) -> Uuid {
    id.into_uuid()
}

/// Returns a timestamp as it is bound.
pub(super) fn bind_time(at: Timestamp) -> SqlTime {
    at.to_string()
}

#[allow(clippy::needless_pass_by_value, reason = "the same signature as on PostgreSQL")]
pub(super) fn read_time(at: SqlTime) -> Result<Timestamp, StoreError> {
    Timestamp::parse(&at).map_err(|error| StoreError::corrupt("timestamp", error))
}

/// Checks a connection out of the pool.
pub(super) async fn acquire(pool: &Pool) -> Result<PooledConn, StoreError> {
    pool.acquire().await
}

/// Begins a transaction that will write.
pub(super) async fn begin(pool: &Pool) -> Result<Transaction, StoreError> {
    pool.check()?;
    #[allow(clippy::disallowed_methods, reason = "the one place where transactions on SQLite begin")]
    pool.begin_with("BEGIN IMMEDIATE").await.map_err(classify)
}

/// Begins a transaction. Nothing outlasts it on the connection, and a database in memory lives in its connection.
pub(super) async fn begin_disposable(pool: &Pool) -> Result<Transaction, StoreError> {
    begin(pool).await
}

/// Returns the connection to the pool: an error of a file is not one of the connection.
pub(super) fn discard(conn: PooledConn) {
    drop(conn);
}

/// Does nothing: no connection to a file leads elsewhere.
pub(super) fn close_when_done(_: &mut Transaction) {}

/// Does nothing: the transaction has the only lock already.
pub(super) async fn limit_lock_waits(_: &mut Conn, _briefly: bool) -> Result<(), StoreError> {
    Ok(())
}

/// A generation that is never retired.
pub(super) fn generation(_: &Conn) -> u64 {
    u64::MAX
}

/// Commits.
pub(super) async fn commit(tx: Transaction) -> Result<(), StoreError> {
    tx.commit().await.map_err(classify)
}

/// One kind of snapshot for all that read.
pub(super) use self::{
    begin_snapshot as begin_probes, begin_snapshot as begin_access_list, begin_snapshot as begin_list_snapshot,
};

/// Begins a transaction that sees one snapshot.
pub(super) async fn begin_snapshot(pool: &Pool) -> Result<Transaction, StoreError> {
    pool.check()?;
    #[allow(clippy::disallowed_methods, reason = "the one place where snapshots on SQLite begin")]
    pool.begin().await.map_err(classify)
}

/// The deadline of a step; without effect on a file.
pub(super) const STEP_DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `step`: a file does not stop answering.
pub(super) async fn with_deadline<T>(
    _: Duration,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    step.await
}

/// Does nothing: a transaction that writes is exclusive.
pub(super) async fn lock_hierarchy(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Does nothing: a transaction that writes is exclusive.
pub(super) async fn lock_history(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Returns `None`: there is no server whose clock could differ.
pub(super) async fn server_time(_: &mut Conn) -> Result<Option<Timestamp>, StoreError> {
    Ok(None)
}

/// Does nothing: a transaction that writes is exclusive.
pub(super) async fn share_hierarchy(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Does nothing: a transaction that writes is exclusive.
pub(super) async fn lock_ordering_key(_: &mut Conn, _: &str) -> Result<(), StoreError> {
    Ok(())
}

/// Does nothing: relays poll a file.
pub(super) async fn notify_outbox(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Does nothing: the statements name the index.
pub(super) async fn use_indexes_in_order(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Returns an empty stream: a file has no notifications.
pub(super) fn outbox_signals(_: &Pool) -> BoxStream<'static, ()> {
    futures_util::stream::empty().boxed()
}

/// Does nothing: a lock file excludes other processes.
pub(super) async fn lock_schema(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Returns none: a file has no users.
pub(super) async fn missing_privileges(_: &mut Conn, _: &[(&str, &[&str])]) -> Result<Vec<String>, StoreError> {
    Ok(Vec::new())
}

/// Returns `None`: there is no server.
pub(super) async fn connections(_: &mut Conn) -> Result<Option<crate::store::Connections>, StoreError> {
    Ok(None)
}

/// Returns the driver's connection.
pub(super) fn driver(conn: &mut Conn) -> &mut Conn {
    conn
}

/// Does nothing: every file stores texts as they were written.
pub(super) async fn check_database(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Does nothing: a file has no privileges.
pub(super) async fn may_create(_: &mut Conn) -> Result<(), StoreError> {
    Ok(())
}

/// Checks out a connection for a page of a list.
pub(super) async fn begin_list(pool: &Pool) -> Result<PooledConn, StoreError> {
    acquire(pool).await
}

/// Returns the result of a list.
pub(super) async fn end_list<T>(_: PooledConn, listed: Result<T, StoreError>) -> Result<T, StoreError> {
    listed
}

/// Returns the result of a list: nothing stops it.
pub(super) fn explain_stopped<T>(listed: Result<T, StoreError>) -> Result<T, StoreError> {
    listed
}

/// Returns `None`: there is no server.
pub(super) fn pooler(_: &Pool) -> Option<&'static str> {
    None
}

/// Does nothing: a file admits any number of connections.
pub(super) fn keep_open(_: &Pool) {}

/// Does nothing: nobody cuts connections to a file.
pub(super) fn distrust_idle(_: &Pool) {}

/// Returns how long a caller waits for a connection.
pub(super) fn acquire_timeout(pool: &Pool) -> Duration {
    pool.options().get_acquire_timeout()
}

/// Returns how many connections may be open at a time.
pub(super) fn max_connections(pool: &Pool) -> u32 {
    pool.options().get_max_connections()
}

/// Returns whether these are two handles of one pool, which then share its options.
pub(super) fn is_same_pool(one: &Pool, other: &Pool) -> bool {
    std::ptr::eq(one.options(), other.options())
}

/// Returns the columns of a table; none when there is no such table.
pub(super) async fn columns(conn: &mut Conn, table: &str) -> Result<Vec<String>, StoreError> {
    sqlx::query_scalar("SELECT name FROM pragma_table_info($1)").bind(table).fetch_all(conn).await.map_err(classify)
}

/// Does nothing: a file is opened by the first statement, whose error says what is wrong with it.
pub(super) async fn probe_connection(_: &Pool) -> Result<(), crate::store::ConnectFailure> {
    Ok(())
}

/// Classifies a driver's error by what the caller can do about it.
pub(super) fn classify(error: sqlx::Error) -> StoreError {
    use sqlx::error::ErrorKind;
    match &error {
        sqlx::Error::Database(db_error) => {
            // The low byte is the primary result code.
            let code = db_error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or(0) & 0xff;
            match (db_error.kind(), code) {
                (ErrorKind::ForeignKeyViolation, _) => StoreError::MissingReference,
                // BUSY, LOCKED
                (_, 5 | 6) => StoreError::Contention(error.into()),
                // NOMEM, READONLY, IOERR, FULL, CANTOPEN
                (_, 7 | 8 | 10 | 13 | 14) => StoreError::Unavailable(FileError::boxed(error)),
                // CORRUPT, NOTADB
                (_, 11 | 26) => StoreError::Backend(FileError::boxed(error)),
                _ => StoreError::Backend(error.into()),
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
            StoreError::Unavailable(error.into())
        }
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::corrupt("column", error),
        _ => StoreError::Backend(error.into()),
    }
}
