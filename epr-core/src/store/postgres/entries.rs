//! Ledger entries on PostgreSQL: written as arrays, read as they are stored.

use std::collections::HashMap;

use sqlx::postgres::PgArguments;
use sqlx::{Arguments as _, QueryBuilder, Row as _};
use uuid::Uuid;

pub(super) use super::advisory_locks::lock_checkpoints;
use super::dialect::{Conn, Db, Row, SqlTime, bind_time, classify, read_time};
use super::sql::ledger::{Existing, read_existing};
use super::sql::ledger_scan::read_stored;
use crate::domain::Text;
use crate::ledger::canonical::id_text;
use crate::ledger::chain::{Head, Sealed};
use crate::ledger::verify::{StoredEntry, UnreadableRow};
use crate::store::{LedgerVisitor, Result, StoreError};

/// Returns the entries with these keys, also those that were dropped: in one statement, which sees a drop as a whole or
/// not at all. `IS NOT NULL` is redundant, but shows the planner that the partial index
/// matches. The statement is planned each time: a plan kept from when the table was small would read all of it once it
/// is large.
pub(super) async fn existing(conn: &mut Conn, keys: &[Uuid]) -> Result<HashMap<Uuid, Existing>> {
    let rows = sqlx::query(
        "SELECT event_id, sequence, occurred_at, previous_hash, entry_hash FROM audit_logs \
         WHERE event_id = ANY($1) AND event_id IS NOT NULL \
         UNION ALL SELECT event_id, sequence, occurred_at, encode(previous_hash, 'hex'), encode(entry_hash, 'hex') \
         FROM dropped_entries WHERE event_id = ANY($1) AND event_id IS NOT NULL",
    )
    .bind(keys)
    .persistent(false)
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    rows.iter().map(|row| Ok((row.try_get("event_id").map_err(classify)?, read_existing(row)?))).collect()
}

/// Whether [`insert`] is one statement, so that it can be a transaction by itself.
pub(super) const SUPPORTS_OPTIMISTIC_APPEND: bool = true;

/// Moves the head of the chain, if it is where it should be and `$also` holds.
macro_rules! moved_head {
    ($also:literal) => {
        concat!(
            "WITH moved_head AS ( \
               UPDATE audit_chain_head SET sequence = $14, entry_hash = $15 \
               WHERE id = 1 AND sequence = $16 AND entry_hash = $17",
            $also,
            " RETURNING id)"
        )
    };
}

/// Inserts the entries, if the head was moved.
macro_rules! insert_entries {
    () => {
        "INSERT INTO audit_logs (sequence, previous_hash, entry_hash, hash_version, event_id, source, action, \
           actor_id, actor_type, entity_id, entity_type, correlation_id, details, occurred_at) \
         SELECT t.sequence, t.previous_hash, t.entry_hash, 1, t.event_id, t.source, t.action, t.actor_id, \
           t.actor_type, t.entity_id, t.entity_type, t.correlation_id, CAST(t.details AS json), t.occurred_at \
         FROM UNNEST($1::bigint[], $2::text[], $3::text[], $4::uuid[], $5::text[], $6::text[], $7::uuid[], $8::text[], \
           $9::uuid[], $10::text[], $11::text[], $12::text[], $13::timestamptz[]) \
         AS t(sequence, previous_hash, entry_hash, event_id, source, action, actor_id, actor_type, entity_id, \
           entity_type, correlation_id, details, occurred_at) \
         CROSS JOIN moved_head"
    };
}

/// The parameters of a statement that begins with [`moved_head!`].
fn arguments(before: &Head, sealed: &[Sealed<'_>], after: &Head) -> Result<PgArguments> {
    fn column<'a, T>(sealed: &'a [Sealed<'_>], of: impl Fn(&'a Sealed<'_>) -> T) -> Vec<T> {
        sealed.iter().map(of).collect()
    }
    let mut all = PgArguments::default();
    let mut add = || {
        all.add(column(sealed, |entry| entry.sequence))?;
        all.add(column(sealed, |entry| entry.previous_hash.as_str()))?;
        all.add(column(sealed, |entry| entry.entry_hash.as_str()))?;
        all.add(column(sealed, |entry| entry.event.event_id()))?;
        all.add(column(sealed, |entry| entry.event.event().source.as_str()))?;
        all.add(column(sealed, |entry| entry.event.event().action.as_str()))?;
        all.add(column(sealed, |entry| entry.event.event().actor_id))?;
        all.add(column(sealed, |entry| entry.event.event().actor_type.as_str()))?;
        all.add(column(sealed, |entry| entry.event.event().entity_id))?;
        all.add(column(sealed, |entry| entry.event.event().entity_type.as_ref().map(Text::as_str)))?;
        all.add(column(sealed, |entry| entry.event.event().correlation_id.as_ref().map(Text::as_str)))?;
        all.add(column(sealed, |entry| entry.event.details()))?;
        all.add(column(sealed, |entry| bind_time(entry.event.event().occurred_at)))?;
        all.add(after.sequence)?;
        all.add(after.entry_hash.as_str())?;
        all.add(before.sequence)?;
        all.add(before.entry_hash.as_str())
    };
    add().map_err(StoreError::Backend)?;
    Ok(all)
}

/// Writes `sealed` and moves the head of the chain from `before` to `after`; `false` when it is not at `before`, and
/// then nothing is written. INVARIANT: the head is compared and moved under its row's lock; a statement that waited for
/// the lock compares with what it finds then.
pub(super) async fn insert(conn: &mut Conn, before: &Head, sealed: &[Sealed<'_>], after: &Head) -> Result<bool> {
    const INSERT: &str = concat!(moved_head!(""), " ", insert_entries!());
    let written = sqlx::query_with(INSERT, arguments(before, sealed, after)?).execute(conn).await.map_err(classify)?;
    Ok(written.rows_affected() > 0)
}

/// The same, and nothing is written either when an entry with one of the event ids is stored, or was dropped.
///
/// INVARIANT: the ids are looked up in the snapshot of the statement, which may be older than the lock. It has every
/// entry up to `before`, which the caller has seen committed, and there is no later one if the head is still there.
pub(super) async fn insert_unknown_events(
    conn: &mut Conn,
    before: &Head,
    sealed: &[Sealed<'_>],
    after: &Head,
) -> Result<bool> {
    const INSERT: &str = concat!(
        moved_head!(
            " AND NOT EXISTS (SELECT 1 FROM audit_logs x WHERE x.event_id = ANY($4) AND x.event_id IS NOT NULL) \
              AND NOT EXISTS (SELECT 1 FROM dropped_entries x WHERE x.event_id = ANY($4) AND x.event_id IS NOT NULL)"
        ),
        " ",
        insert_entries!()
    );
    let written = sqlx::query_with(INSERT, arguments(before, sealed, after)?).execute(conn).await.map_err(classify)?;
    Ok(written.rows_affected() > 0)
}

/// The same as the beginning of a statement that writes more: a part `moved_head`, which has a row if the head was
/// moved, and a part `entries` with a row for each entry.
pub(super) const BEGIN_WITH_INSERT: Option<BeginWithInsert> = Some(|before, sealed, after| {
    const PARTS: &str = concat!(moved_head!(""), ", entries AS (", insert_entries!(), " RETURNING sequence)");
    Ok(QueryBuilder::with_arguments(PARTS, arguments(before, sealed, after)?))
});

/// Begins a statement with the entries `.1` between the heads `.0` and `.2`.
pub(super) type BeginWithInsert = fn(&Head, &[Sealed<'_>], &Head) -> Result<QueryBuilder<Db>>;

pub(super) const SCAN: &str = "\
SELECT sequence, previous_hash, entry_hash, hash_version, event_id, source, action, actor_id, actor_type, entity_id, \
       entity_type, correlation_id, CAST(details AS TEXT), occurred_at \
FROM audit_logs WHERE sequence >= $1 AND sequence <= $2 ORDER BY sequence";

/// [`SCAN`] with the entries that were dropped, which have only a sequence and a hash, and a column that marks them.
pub(super) const SCAN_WITH_DROPPED: &str = "\
SELECT sequence, previous_hash, entry_hash, hash_version, event_id, source, action, actor_id, actor_type, entity_id, \
       entity_type, correlation_id, CAST(details AS TEXT), occurred_at, FALSE \
FROM audit_logs WHERE sequence >= $1 AND sequence <= $2 \
UNION ALL SELECT sequence, NULL, encode(entry_hash, 'hex'), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
       NULL, NULL, TRUE \
FROM dropped_entries WHERE sequence >= $1 AND sequence <= $2 \
      AND sequence <= (SELECT b.sequence FROM ledger_border b WHERE b.id = 1) ORDER BY 1";

/// Passes one row of [`SCAN_WITH_DROPPED`] to `visitor`.
pub(super) fn visit_with_dropped(row: &Row, visitor: &mut dyn LedgerVisitor) -> Result<bool> {
    if row.try_get(14).map_err(classify)? {
        let (sequence, entry_hash) = (row.try_get(0).map_err(classify)?, row.try_get(2).map_err(classify)?);
        return Ok(visitor.dropped(sequence, entry_hash));
    }
    visit(row, visitor)
}

/// Passes one row to `visitor`. Columns by position: a verification spends much of its time here.
pub(super) fn visit(row: &Row, visitor: &mut dyn LedgerVisitor) -> Result<bool> {
    let sequence: i64 = row.try_get(0).map_err(classify)?;
    let id = |at: usize| row.try_get::<Option<Uuid>, _>(at).map(|id| id.map(id_text));
    let read = || -> std::result::Result<_, sqlx::Error> { Ok((id(4)?, id(7)?, id(9)?)) };
    let (event_id, actor_id, entity_id) = read().map_err(classify)?;
    let entry = || -> std::result::Result<StoredEntry<'_>, UnreadableRow> {
        let unreadable = |error: &dyn std::fmt::Display| UnreadableRow { sequence, why: error.to_string() };
        let occurred_at = row.try_get::<SqlTime, _>(13).map_err(|error| unreadable(&error))?;
        let occurred_at = read_time(occurred_at).map_err(|error| unreadable(&error))?;
        let ids = [event_id.as_ref(), actor_id.as_ref(), entity_id.as_ref()].map(as_text);
        read_stored(row, sequence, ids, occurred_at).map_err(|error| unreadable(&error))
    };
    Ok(visitor.entry(entry()))
}

fn as_text(id: Option<&[u8; 36]>) -> Option<&str> {
    id.and_then(|bytes| std::str::from_utf8(bytes).ok())
}
