//! The dialect of PostgreSQL: everything that `sql/` needs to know about this database.
//!
//! Both adapters' `dialect` modules define the same names. Must never contain a statement that both databases could
//! share.

use std::sync::LazyLock;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) use super::advisory_locks::{lock_hierarchy, lock_history, share_hierarchy};
pub(super) use super::changed_rows::REGISTRY_TRIGGERS;
pub(super) use super::conn::Conn;
pub(super) use super::deadline::{STEP_DEADLINE, with_deadline};
pub(super) use super::outbox::{outbox_signals, use_indexes_in_order};
pub(super) use super::pool::Pool;
pub(super) use super::pooled_conn::{PooledConn, Transaction};
use super::pooling::{Begin, LOCK_TIMEOUT};
pub(super) use super::schema_ops::{
    applied_migrations, apply_outside, check_database, columns, explain_migration_error, foreign_table_error,
    lock_schema, may_create, next_page, open_pages, pause_triggers, resume_triggers, set_aside_table, use_no_limits,
};
pub(super) use super::{access_batch, changes, entries, facts_batch, replica, takeover};
use crate::domain::Timestamp;
use crate::domain::time::TimeError;
use crate::store::StoreError;

pub(super) type Db = sqlx::Postgres;
pub(super) type Row = PgRow;
/// An id as it is bound and read.
pub(super) type Id = Uuid;

/// A timestamp as it is read: microseconds since 2000, as the server sends them. The driver's own type panics outside
/// the years that it knows, and anyone with the database can store `infinity`.
pub(super) struct SqlTime(i64);

impl sqlx::Type<Db> for SqlTime {
    fn type_info() -> sqlx::postgres::PgTypeInfo {
        <OffsetDateTime as sqlx::Type<Db>>::type_info()
    }
}

impl<'r> sqlx::Decode<'r, Db> for SqlTime {
    fn decode(value: sqlx::postgres::PgValueRef<'r>) -> Result<Self, sqlx::error::BoxDynError> {
        Ok(Self(i64::from_be_bytes(value.as_bytes()?.try_into()?)))
    }
}

/// A list of texts in one column, as JSON text.
macro_rules! json_list {
    ($item:literal) => {
        concat!("COALESCE(CAST(json_agg(", $item, ") AS TEXT), '[]')")
    };
}

/// Pairs of texts in one column, as the text of a JSON object.
macro_rules! json_map {
    ($key:literal, $value:literal) => {
        concat!("COALESCE(CAST(json_object_agg(", $key, ", ", $value, ") AS TEXT), '{}')")
    };
}

/// A bound JSON text, for a column of the type `json`.
macro_rules! json_value {
    ($parameter:literal) => {
        concat!("CAST(", $parameter, " AS json)")
    };
}

/// An id given as text, where the statement does not show that it is one.
macro_rules! uuid_value {
    ($parameter:literal) => {
        concat!("CAST(", $parameter, " AS uuid)")
    };
}

/// The items of a bound JSON list of texts, as rows with a column `value`.
macro_rules! json_items {
    ($parameter:literal) => {
        concat!("json_array_elements_text(CAST(", $parameter, " AS json)) AS item(value)")
    };
}

/// The items of a bound JSON list, as rows with a column `position`, from 0, and a column `value`, itself JSON.
macro_rules! json_rows {
    ($parameter:literal) => {
        concat!(
            "(SELECT listed.ordinality - 1 AS position, listed.value FROM json_array_elements(CAST(",
            $parameter,
            " AS json)) WITH ORDINALITY AS listed(value, ordinality)) AS item"
        )
    };
}

/// A bound timestamp, where the statement does not show that it is one.
macro_rules! time_value {
    ($parameter:literal) => {
        concat!("CAST(", $parameter, " AS timestamptz)")
    };
}

/// A value to be compared with an indexed expression.
macro_rules! index_value {
    ($value:literal) => {
        $value
    };
}

/// A text that is compared and ordered by its bytes, whatever the collation of the database is.
macro_rules! byte_order {
    ($text:literal) => {
        concat!($text, " COLLATE \"C\"")
    };
}

/// A join that probes a table once for each row before it, whatever the planner estimates.
macro_rules! join_probing {
    ($table:expr, $name:literal, $($condition:expr),+) => {
        concat!(
            "JOIN LATERAL (SELECT * FROM ",
            $table,
            " ",
            $name,
            " WHERE ",
            $($condition,)+
            " OFFSET 0) ",
            $name,
            " ON true"
        )
    };
}

/// The end of a SELECT that locks its rows and skips those that others have locked.
macro_rules! skip_locked {
    ($of:literal) => {
        concat!(" FOR UPDATE OF ", $of, " SKIP LOCKED")
    };
}

/// The end of a SELECT that locks its rows until the end of the transaction.
macro_rules! for_update {
    ($of:literal) => {
        concat!(" FOR UPDATE OF ", $of)
    };
}

/// The end of a SELECT whose rows no other transaction can lock until the end of this one. Several may share them.
macro_rules! for_key_share {
    ($of:literal) => {
        concat!(" FOR KEY SHARE OF ", $of)
    };
}

/// Whether an entry `l` changed the registry, as the index `ix_audit_logs_changes` has it. EPR's own entries have no
/// event id; those of messages have one, whatever source they claim.
macro_rules! changes_registry {
    () => {
        "l.source = 'entity_permissions_core' AND l.event_id IS NULL \
         AND (l.action ~ '^(entity|role|role_assignment|principal|registry)[.]' OR l.action = 'ledger.reincarnate')"
    };
}

/// The name of a row in other systems: its external id, or else its UUID. The expression of indexes.
macro_rules! external_name {
    ($row:literal) => {
        concat!("(COALESCE(", $row, ".external_id, CAST(", $row, ".id AS text)) COLLATE \"C\")")
    };
}

/// An id as text, in lower case with hyphens.
macro_rules! id_as_text {
    ($id:literal) => {
        concat!("CAST(", $id, " AS text)")
    };
}

/// A text in the details of an entry `l`.
macro_rules! text_in_details {
    ($member:literal) => {
        concat!("(l.details ->> '", $member, "')")
    };
}

/// A UUID in the details of an entry `l`, as text: the value of its first member of this name. The stored text is
/// canonical. An operator of JSON would fail for characters that PostgreSQL's texts cannot hold.
macro_rules! id_in_details {
    ($member:literal) => {
        concat!("substring(CAST(l.details AS text) FROM '\"", $member, "\":\"([0-9a-f-]{36})\"')")
    };
}

/// Names the index to read by; `use_indexes_in_order` leaves no other way here.
macro_rules! only_by_index {
    ($index:literal) => {
        ""
    };
}

/// Whether an invalidation is older than any cache entry can be.
macro_rules! written_a_day_ago {
    () => {
        "written_at < now() - interval '25 hours'"
    };
}

/// Whether the server is in recovery: a standby, whose answers lag behind the primary's.
macro_rules! in_recovery {
    () => {
        "pg_is_in_recovery()"
    };
}

/// Ends this transaction soon if the process freezes in it. It has the ledger's lock and little more than its commit
/// left; the limit is shorter than `lock_timeout`, so that those who wait for the lock get it.
macro_rules! idle_limit {
    () => {
        "set_config('idle_in_transaction_session_timeout', '2500', true)"
    };
}

/// A whole row of `audit_logs l` as text, with the exact value of every column.
macro_rules! row_text {
    () => {
        "CAST(row_to_json(l) AS text)"
    };
}

/// A table of the older implementation, once it has been set aside.
macro_rules! set_aside {
    ($table:literal) => {
        concat!("epr_before.", $table)
    };
}

/// A statement whose rows are read in pages: columns of `o`, which is a table that was set aside.
macro_rules! older_pages {
    ($columns:literal, $table:literal) => {
        concat!("DECLARE older_rows NO SCROLL CURSOR FOR SELECT ", $columns, " FROM ", set_aside!($table), " o")
    };
}

pub(super) static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| migrations!("postgres"));

/// The error of a list that took too long.
pub(super) const LIST_STOPPED: &str = "The list took longer than 5 s and was stopped; narrow it with more filters";

/// The channel on which relays listen.
pub(super) const OUTBOX_CHANNEL: &str = "epr_outbox";

/// Returns an id as it is bound.
pub(super) fn bind_id(id: Uuid) -> Id {
    id
}

/// Returns an id that was read.
pub(super) fn read_id(id: Id) -> Uuid {
    id
}

/// Returns a timestamp as it is bound.
pub(super) fn bind_time(at: Timestamp) -> OffsetDateTime {
    at.into_inner()
}

/// Reads a timestamp; an error outside the years that this program knows.
pub(super) fn read_time(SqlTime(micros): SqlTime) -> Result<Timestamp, StoreError> {
    /// From 1970 to 2000.
    const EPOCH: i64 = 946_684_800_000_000;
    let at = micros.checked_add(EPOCH).ok_or(TimeError).and_then(Timestamp::from_unix_micros);
    at.map_err(|error| StoreError::corrupt("timestamp", error))
}

/// Checks a connection out of the pool.
pub(super) async fn acquire(pool: &Pool) -> Result<PooledConn, StoreError> {
    PooledConn::acquire(pool).await
}

/// Returns the driver's connection, for statements without parameters.
pub(super) fn driver(conn: &mut Conn) -> &mut sqlx::PgConnection {
    conn.driver()
}

/// Begins a transaction.
pub(super) async fn begin(pool: &Pool) -> Result<Transaction, StoreError> {
    Transaction::begin(pool, Begin::Change).await
}

/// Begins a transaction for work on whole tables, whose connection is closed when it ends.
pub(super) async fn begin_disposable(pool: &Pool) -> Result<Transaction, StoreError> {
    let mut tx = Transaction::begin(pool, Begin::LongChange).await?;
    tx.close_on_drop();
    Ok(tx)
}

/// Closes a connection that must not be used again.
pub(super) fn discard(mut conn: PooledConn) {
    conn.close_on_drop();
}

/// Closes the connection of a transaction when the transaction has ended.
pub(super) fn close_when_done(tx: &mut Transaction) {
    tx.close_on_drop();
}

/// Returns the generation of connections in which this one was opened.
pub(super) fn generation(conn: &Conn) -> u64 {
    conn.generation()
}

/// Commits. On an error the outcome is unknown.
pub(super) async fn commit(tx: Transaction) -> Result<(), StoreError> {
    tx.commit().await
}

/// Begins a read-only transaction that sees one snapshot, for statements that probe indexes.
pub(super) async fn begin_probes(pool: &Pool) -> Result<Transaction, StoreError> {
    Transaction::begin(pool, Begin::Probes).await
}

/// Begins a read-only transaction for a page of a list of access.
pub(super) async fn begin_access_list(pool: &Pool) -> Result<Transaction, StoreError> {
    Transaction::begin(pool, Begin::AccessList).await
}

/// Begins a read-only transaction that sees one snapshot, for a scan.
pub(super) async fn begin_snapshot(pool: &Pool) -> Result<Transaction, StoreError> {
    Transaction::begin(pool, Begin::Snapshot).await
}

/// Ends the transaction of a list; explains an error that means that the server stopped it.
pub(super) async fn end_list<T>(_: Transaction, listed: Result<T, StoreError>) -> Result<T, StoreError> {
    explain_stopped(listed)
}

/// Explains an error that means that the server stopped a list.
pub(super) fn explain_stopped<T>(listed: Result<T, StoreError>) -> Result<T, StoreError> {
    listed.map_err(|error| if is_stopped(&error) { StoreError::Busy(LIST_STOPPED) } else { error })
}

/// Returns whether the server stopped a statement at its time limit.
pub(super) fn is_stopped(error: &StoreError) -> bool {
    let StoreError::Unavailable(cause) = error else { return false };
    matches!(cause.downcast_ref(), Some(sqlx::Error::Database(db_error)) if db_error.code().as_deref() == Some("57014"))
}

/// Returns the mode of the pooler in front of the server, once known.
pub(super) fn pooler(pool: &Pool) -> Option<&'static str> {
    pool.pooler()
}

/// Opens all connections in the background and keeps them open.
pub(super) fn keep_open(pool: &Pool) {
    pool.fill();
}

/// Has each idle connection tested before its next use.
pub(super) fn distrust_idle(pool: &Pool) {
    pool.distrust_idle();
}

/// Returns how long a caller waits for a connection.
pub(super) fn acquire_timeout(pool: &Pool) -> Duration {
    pool.acquire_timeout()
}

/// Returns how many connections may be open at a time.
pub(super) fn max_connections(pool: &Pool) -> u32 {
    pool.max_connections()
}

/// Returns whether these are two handles of one pool.
pub(super) fn is_same_pool(one: &Pool, other: &Pool) -> bool {
    one.is(other)
}

/// Begins a read-only transaction for a page of a list, with a short time limit.
pub(super) async fn begin_list(pool: &Pool) -> Result<Transaction, StoreError> {
    Transaction::begin(pool, Begin::List).await
}

/// Begins a read-only transaction for a page of a list that several statements read in one snapshot, with a short time
/// limit for each.
pub(super) async fn begin_list_snapshot(pool: &Pool) -> Result<Transaction, StoreError> {
    Transaction::begin(pool, Begin::ListSnapshot).await
}

/// Makes this transaction wait for locks only as long as it takes to see that another one has them, with `briefly`, or
/// as long as others.
pub(super) async fn limit_lock_waits(conn: &mut Conn, briefly: bool) -> Result<(), StoreError> {
    let limit = if briefly { "200ms" } else { LOCK_TIMEOUT };
    sqlx::query("SELECT set_config('lock_timeout', $1, true)").bind(limit).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Returns the privileges of `tables` that this role lacks.
pub(super) async fn missing_privileges(conn: &mut Conn, tables: &[(&str, &[&str])]) -> Result<Vec<String>, StoreError> {
    let wanted = tables.iter().flat_map(|(table, privileges)| privileges.iter().map(move |one| (*table, *one)));
    let (tables, privileges): (Vec<&str>, Vec<&str>) = wanted.unzip();
    // A table that does not exist lacks every privilege: its oid is null.
    sqlx::query_scalar(
        "SELECT w.privilege || ' on ' || w.name \
         FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS w (name, privilege, n) \
         WHERE NOT COALESCE(has_table_privilege(to_regclass(w.name), w.privilege), false) ORDER BY w.n",
    )
    .bind(tables)
    .bind(privileges)
    .fetch_all(conn)
    .await
    .map_err(classify)
}

/// Returns the server's time.
pub(super) async fn server_time(conn: &mut Conn) -> Result<Option<Timestamp>, StoreError> {
    let time: SqlTime = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(conn).await.map_err(classify)?;
    read_time(time).map(Some)
}

/// Returns the connections of the server. Those reserved for superusers are not counted as admitted.
pub(super) async fn connections(conn: &mut Conn) -> Result<Option<crate::store::Connections>, StoreError> {
    let (used, max) = sqlx::query_as(
        "SELECT (SELECT COUNT(*) FROM pg_stat_activity WHERE backend_type = 'client backend'), \
           CAST(current_setting('max_connections') AS bigint) \
             - CAST(current_setting('superuser_reserved_connections') AS bigint)",
    )
    .fetch_one(conn)
    .await
    .map_err(classify)?;
    Ok(Some(crate::store::Connections { used, max }))
}

/// Makes this the only transaction that writes events with this key, until its end: otherwise two that do not see each
/// other would both find no earlier event.
pub(super) async fn lock_ordering_key(conn: &mut Conn, key: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))")
        .bind(key)
        .bind(super::advisory_locks::HIERARCHY)
        .execute(conn)
        .await
        .map_err(classify)?;
    Ok(())
}

/// Wakes the relays of every process once the transaction is committed.
pub(super) async fn notify_outbox(conn: &mut Conn) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_notify($1, '')").bind(OUTBOX_CHANNEL).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Opens a connection and closes it, to report why none can be opened.
pub(super) async fn probe_connection(pool: &Pool) -> Result<(), crate::store::ConnectFailure> {
    super::probe::probe_connection(&pool.connect_options()).await
}

/// Classifies a driver's error by what the caller can do about it.
pub(super) fn classify(error: sqlx::Error) -> StoreError {
    use sqlx::error::ErrorKind;
    match &error {
        sqlx::Error::Database(db_error) => {
            let code = db_error.code().unwrap_or_default();
            match (&*code, db_error.kind()) {
                (_, ErrorKind::ForeignKeyViolation) => StoreError::MissingReference,
                // A transaction for changes on a standby.
                ("0A000", _) if db_error.message().contains("recovery") => StoreError::Unavailable(error.into()),
                // Serialization failure, deadlock.
                ("40001" | "40P01", _) => StoreError::Contention(error.into()),
                // Connection trouble, out of connections or other resources, shutting down, read-only standby,
                // authentication, a lock that was not granted in time, a session ended for idling.
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
                    StoreError::Unavailable(error.into())
                }
                _ => StoreError::Backend(error.into()),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => StoreError::Unavailable(error.into()),
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => StoreError::corrupt("column", error),
        _ => StoreError::Backend(error.into()),
    }
}
