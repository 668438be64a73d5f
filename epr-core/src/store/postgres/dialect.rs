//! What PostgreSQL expresses in its own way: everything that `sql/` needs to know about this database.
//!
//! The same names as in the other adapter's `dialect`. Must never contain a statement that both databases could share.

use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::PgRow;
use time::OffsetDateTime;
use uuid::Uuid;

pub(super) use super::conn::Conn;
pub(super) use super::loan::{Loan, Transaction, unless_silent, within};
pub(super) use super::outbox::outbox_signals;
pub(super) use super::pool::Pool;
use super::pooling::Begin;
pub(super) use super::schema_ops::{
    applied_migrations, apply_outside, check_database, columns, explain_refusal, lock_schema, may_create, next_page,
    not_ours, open_pages, pause_triggers, put_aside, resume_triggers,
};
pub(super) use super::{changes, entries, older, together};
use crate::domain::Timestamp;
use crate::domain::time::TimeFault;
use crate::store::StoreError;

pub(super) type Db = sqlx::Postgres;
pub(super) type Row = PgRow;
/// How an id is bound and read.
pub(super) type Id = Uuid;

/// How a timestamp is read: microseconds since 2000 as the server sends them. The driver's own type panics outside of the
/// years that it knows, and what is stored may have been put there by anyone.
pub(super) struct Stamp(i64);

impl sqlx::Type<Db> for Stamp {
    fn type_info() -> sqlx::postgres::PgTypeInfo {
        <OffsetDateTime as sqlx::Type<Db>>::type_info()
    }
}

impl<'r> sqlx::Decode<'r, Db> for Stamp {
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

/// A value to be held against an indexed expression.
macro_rules! index_value {
    ($value:literal) => {
        $value
    };
}

/// A join that looks into a table once for each row before it, whatever the planner expects to find.
macro_rules! join_probing {
    ($table:literal, $name:literal, $($condition:expr),+) => {
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

/// The end of a SELECT that locks its rows and passes over those that others have locked.
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

/// Whether a renewal is older than any entry of a cache can be.
macro_rules! written_a_day_ago {
    () => {
        "written_at < now() - interval '25 hours'"
    };
}

/// Whether the server is in recovery: a standby, which answers from what it has received so far.
macro_rules! in_recovery {
    () => {
        "pg_is_in_recovery()"
    };
}

/// What a statement says so that its transaction is soon ended when the process stops in it. It holds the ledger's lock, and has
/// little more than its commit left: shorter than `lock_timeout`, so that those who wait for the lock get it.
macro_rules! last_step {
    () => {
        "set_config('idle_in_transaction_session_timeout', '2500', true)"
    };
}

/// A whole row of `audit_logs l` as text, every column exactly.
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

/// A statement whose rows are read in pages: columns of `o`, and a table that was set aside.
macro_rules! older_pages {
    ($columns:literal, $table:literal) => {
        concat!("DECLARE older_rows NO SCROLL CURSOR FOR SELECT ", $columns, " FROM ", set_aside!($table), " o")
    };
}

pub(super) static MIGRATIONS: Migrator = sqlx::migrate!("../migrations/postgres");

/// What the caller of a list reads that took too long.
pub(super) const LIST_STOPPED: &str = "The list took longer than 5 s and was stopped; narrow it with more filters";

/// Where relays listen.
pub(super) const OUTBOX_CHANNEL: &str = "epr_outbox";

/// Any constant: this database belongs to EPR. Changes of parents take the lock, creations of children share it.
pub(super) const HIERARCHY_LOCK: i64 = 0x4550_5201;

pub(super) fn id(id: Uuid) -> Id {
    id
}

pub(super) fn read_id(id: Id) -> Uuid {
    id
}

/// How a timestamp is bound.
pub(super) fn stamp(at: Timestamp) -> OffsetDateTime {
    at.into_inner()
}

pub(super) fn read_stamp(Stamp(micros): Stamp) -> Result<Timestamp, StoreError> {
    /// From 1970 to 2000.
    const EPOCH: i64 = 946_684_800_000_000;
    let at = micros.checked_add(EPOCH).ok_or(TimeFault).and_then(Timestamp::from_unix_micros);
    at.map_err(|fault| StoreError::corrupt("timestamp", fault))
}

pub(super) async fn acquire(pool: &Pool) -> Result<Loan, StoreError> {
    Loan::take(pool).await
}

/// The driver's connection, for statements without parameters.
pub(super) fn driver(conn: &mut Conn) -> &mut sqlx::PgConnection {
    conn.driver()
}

/// Begins a transaction.
pub(super) async fn begin(pool: &Pool) -> Result<Transaction, StoreError> {
    Transaction::begin(pool, Begin::Change).await
}

/// Begins a transaction on a connection that is closed when it ends.
pub(super) async fn begin_apart(pool: &Pool) -> Result<Transaction, StoreError> {
    let mut tx = begin(pool).await?;
    tx.close_on_drop();
    Ok(tx)
}

/// Gives back a connection that did not answer.
pub(super) fn forsake(mut loan: Loan) {
    loan.close_on_drop();
}

/// Closes the connection of a transaction when it has ended.
pub(super) fn close_after(tx: &mut Transaction) {
    tx.close_on_drop();
}

/// In which generation of connections this one was opened.
pub(super) fn generation(conn: &Conn) -> u64 {
    conn.generation()
}

pub(super) async fn commit(tx: Transaction) -> Result<(), StoreError> {
    tx.commit().await
}

/// Begins a transaction that sees one moment of the database from its first read to its last.
pub(super) async fn begin_snapshot(pool: &Pool) -> Result<Transaction, StoreError> {
    Transaction::begin(pool, Begin::Snapshot).await
}

/// Ends it. A list that the server has stopped for its time says so.
#[allow(clippy::unused_async, reason = "the same signature as on SQLite")]
pub(super) async fn end_list<T>(_: Transaction, listed: Result<T, StoreError>) -> Result<T, StoreError> {
    listed.map_err(|fault| if is_stopped(&fault) { StoreError::Busy(LIST_STOPPED) } else { fault })
}

/// Whether the server has stopped the statement because of its limit of time.
pub(super) fn is_stopped(fault: &StoreError) -> bool {
    let StoreError::Unavailable(cause) = fault else { return false };
    matches!(cause.downcast_ref(), Some(sqlx::Error::Database(told)) if told.code().as_deref() == Some("57014"))
}

pub(super) fn pooler(pool: &Pool) -> Option<&'static str> {
    pool.pooler()
}

pub(super) fn keep_open(pool: &Pool) {
    pool.fill();
}

pub(super) fn acquire_timeout(pool: &Pool) -> Duration {
    pool.acquire_timeout()
}

pub(super) fn most(pool: &Pool) -> u32 {
    pool.most()
}

/// Whether these are two handles of one pool.
pub(super) fn same(one: &Pool, other: &Pool) -> bool {
    one.is(other)
}

/// Begins a transaction that reads a page of a list and ends soon.
pub(super) async fn begin_list(pool: &Pool) -> Result<Transaction, StoreError> {
    Transaction::begin(pool, Begin::List).await
}

/// Waits for locks in this transaction only as long as it takes to see that another one holds them.
pub(super) async fn wait_briefly(conn: &mut Conn) -> Result<(), StoreError> {
    sqlx::query("SELECT set_config('lock_timeout', '200', true)").execute(conn).await.map_err(classify)?;
    Ok(())
}

pub(super) async fn lock_hierarchy(conn: &mut Conn) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(HIERARCHY_LOCK).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Asks for every privilege of the list by name.
pub(super) async fn missing_privileges(conn: &mut Conn) -> Result<Vec<String>, StoreError> {
    let wanted = crate::store::grants::TABLES
        .iter()
        .flat_map(|(table, privileges)| privileges.iter().map(move |one| (*table, *one)));
    let (tables, privileges): (Vec<&str>, Vec<&str>) = wanted.unzip();
    // A table that is not there lacks every privilege: COALESCE over the null that its missing oid gives.
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

pub(super) async fn server_time(conn: &mut Conn) -> Result<Option<Timestamp>, StoreError> {
    let time: Stamp = sqlx::query_scalar("SELECT clock_timestamp()").fetch_one(conn).await.map_err(classify)?;
    read_stamp(time).map(Some)
}

pub(super) async fn share_hierarchy(conn: &mut Conn) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1)")
        .bind(HIERARCHY_LOCK)
        .execute(conn)
        .await
        .map_err(classify)?;
    Ok(())
}

/// What is left for the owner alone is not counted as admitted.
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

/// Makes this the only transaction that writes events with this key, until its end: two that do not see each other would
/// both find nothing before them.
pub(super) async fn lock_ordering_key(conn: &mut Conn, key: &str) -> Result<(), StoreError> {
    sqlx::query("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))")
        .bind(key)
        .bind(HIERARCHY_LOCK)
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

/// Why no connection can be opened, if none can.
pub(super) async fn reach(pool: &Pool) -> Result<(), crate::store::Unreached> {
    super::reach::reach(&pool.connect_options()).await
}

/// Sorts a driver's error by what the caller can do about it.
pub(super) fn classify(fault: sqlx::Error) -> StoreError {
    use sqlx::error::ErrorKind;
    match &fault {
        sqlx::Error::Database(told) => {
            let code = told.code().unwrap_or_default();
            match (&*code, told.kind()) {
                (_, ErrorKind::ForeignKeyViolation) => StoreError::MissingReference,
                // A transaction for changes on a standby.
                ("0A000", _) if told.message().contains("recovery") => StoreError::Unavailable(fault.into()),
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
