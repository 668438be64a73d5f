//! Ledger entries on SQLite: written one by one, read as they are stored.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::dialect::{Conn, Db, Row, bind_id, bind_time, classify};
use super::sql::ledger::{Existing, read_existing};
use super::sql::ledger_scan::read_stored;
use crate::domain::{Text, Timestamp};
use crate::ledger::chain::{Head, Sealed};
use crate::ledger::verify::{StoredEntry, UnreadableRow};
use crate::store::{LedgerVisitor, Result};

/// Does nothing: a transaction that writes is exclusive.
#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL")]
pub(super) async fn lock_checkpoints(_: &mut Conn) -> Result<()> {
    Ok(())
}

/// The entry with a key, also one that was dropped.
const EXISTING: &str = concat!(
    "SELECT sequence, occurred_at, previous_hash, entry_hash FROM audit_logs WHERE event_id = $1 \
     UNION ALL SELECT sequence, occurred_at, ",
    hex_text!("previous_hash"),
    ", ",
    hex_text!("entry_hash"),
    " FROM dropped_entries WHERE event_id = $1"
);

pub(super) async fn existing(conn: &mut Conn, keys: &[Uuid]) -> Result<HashMap<Uuid, Existing>> {
    let mut found = HashMap::new();
    for key in keys {
        let row = sqlx::query(EXISTING).bind(bind_id(*key)).fetch_optional(&mut *conn).await.map_err(classify)?;
        if let Some(row) = row {
            found.insert(*key, read_existing(&row)?);
        }
    }
    Ok(found)
}

/// Whether [`insert`] is one statement, so that it can be a transaction by itself.
pub(super) const SUPPORTS_OPTIMISTIC_APPEND: bool = false;
/// Never called, because appends are not optimistic here.
pub(super) use self::insert as insert_unknown_events;

/// Writes `sealed` and moves the head of the chain from `before` to `after`, in the transaction that is open; `false`
/// when it is not at `before`, and then nothing is written.
pub(super) async fn insert(conn: &mut Conn, before: &Head, sealed: &[Sealed<'_>], after: &Head) -> Result<bool> {
    let moved = sqlx::query(
        "UPDATE audit_chain_head SET sequence = $1, entry_hash = $2 WHERE id = 1 AND sequence = $3 AND entry_hash = $4",
    )
    .bind(after.sequence)
    .bind(&after.entry_hash)
    .bind(before.sequence)
    .bind(&before.entry_hash)
    .execute(&mut *conn)
    .await
    .map_err(classify)?;
    if moved.rows_affected() == 0 {
        return Ok(false);
    }
    for entry in sealed {
        let event = entry.event.event();
        sqlx::query(
            "INSERT INTO audit_logs (sequence, previous_hash, entry_hash, hash_version, event_id, source, action, \
             actor_id, \
               actor_type, entity_id, entity_type, correlation_id, details, occurred_at) \
             VALUES ($1, $2, $3, 1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
        )
        .bind(entry.sequence)
        .bind(&entry.previous_hash)
        .bind(&entry.entry_hash)
        .bind(event.event_id.map(bind_id))
        .bind(event.source.as_str())
        .bind(event.action.as_str())
        .bind(event.actor_id.map(bind_id))
        .bind(event.actor_type.as_str())
        .bind(event.entity_id.map(bind_id))
        .bind(event.entity_type.as_ref().map(Text::as_str))
        .bind(event.correlation_id.as_ref().map(Text::as_str))
        .bind(entry.event.details())
        .bind(bind_time(event.occurred_at))
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    }
    Ok(true)
}

/// None: an embedded database has no round trip that one statement for everything would save.
pub(super) const BEGIN_WITH_INSERT: Option<BeginWithInsert> = None;

/// Begins a statement with the entries `.1` between the heads `.0` and `.2`.
pub(super) type BeginWithInsert = fn(&Head, &[Sealed<'_>], &Head) -> Result<QueryBuilder<Db>>;

pub(super) const SCAN: &str = "\
SELECT sequence, previous_hash, entry_hash, hash_version, event_id, source, action, actor_id, actor_type, entity_id, \
       entity_type, correlation_id, details, occurred_at \
FROM audit_logs WHERE sequence >= $1 AND sequence <= $2 ORDER BY sequence";

/// [`SCAN`] with the entries that were dropped, which have only a sequence and a hash, and a column that marks them.
pub(super) const SCAN_WITH_DROPPED: &str = "\
SELECT sequence, previous_hash, entry_hash, hash_version, event_id, source, action, actor_id, actor_type, entity_id, \
       entity_type, correlation_id, details, occurred_at, FALSE \
FROM audit_logs WHERE sequence >= $1 AND sequence <= $2 \
UNION ALL SELECT sequence, NULL, lower(hex(entry_hash)), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
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

/// Passes one row to `visitor`. Ids go into the canonical text as they are stored, and a timestamp must be written as
/// this program writes it: SQLite would hold any other spelling, and two spellings of one value must not verify alike.
pub(super) fn visit(row: &Row, visitor: &mut dyn LedgerVisitor) -> Result<bool> {
    let sequence: i64 = row.try_get(0).map_err(classify)?;
    let entry = || -> std::result::Result<StoredEntry<'_>, UnreadableRow> {
        let unreadable = |error: &dyn std::fmt::Display| UnreadableRow { sequence, why: error.to_string() };
        let at: &str = row.try_get(13).map_err(|error| unreadable(&error))?;
        let occurred_at = Timestamp::parse(at).map_err(|error| unreadable(&error))?;
        if occurred_at.to_string() != at {
            return Err(unreadable(&format!("occurred_at is written as `{at}`")));
        }
        let id = |at: usize| row.try_get::<Option<&str>, _>(at).map_err(|error| unreadable(&error));
        read_stored(row, sequence, [id(4)?, id(7)?, id(9)?], occurred_at).map_err(|error| unreadable(&error))
    };
    Ok(visitor.entry(entry()))
}
