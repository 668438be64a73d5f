//! Scans of the ledger: one snapshot, row by row, in constant memory.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::dialect::{Conn, Pool, Row, begin_snapshot, classify, entries, use_indexes_in_order};
use super::ledger::read_head;
use crate::domain::Timestamp;
use crate::ledger::canonical::Fields;
use crate::ledger::verify::StoredEntry;
use crate::store::{LedgerVisitor, Result, ScanRange, ScanStart};

/// Shows the entries of `range` in order to `visitor`.
pub(super) async fn scan(pool: &Pool, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()> {
    let mut snapshot = begin_snapshot(pool).await?;
    scan_in(&mut snapshot, range, visitor).await
}

/// [`scan`] in the snapshot that is open.
pub(super) async fn scan_in(snapshot: &mut Conn, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()> {
    // The row of the head may be missing.
    let row = sqlx::query(
        "SELECT b.sequence AS border, h.sequence, h.entry_hash, h.former_numbers_up_to FROM ledger_border b \
         LEFT JOIN audit_chain_head h ON h.id = 1 WHERE b.id = 1",
    )
    .fetch_one(&mut *snapshot)
    .await
    .map_err(classify)?;
    let border = row.try_get("border").map_err(classify)?;
    let former_numbers: Option<i64> = row.try_get("former_numbers_up_to").map_err(classify)?;
    let head = former_numbers.map(|_| read_head(&row)).transpose()?;
    let former_numbers_up_to = former_numbers.unwrap_or(0);
    let anchor: Option<String> = sqlx::query_scalar(concat!(
        "SELECT l.entry_hash FROM audit_logs l WHERE l.sequence = $1 UNION ALL SELECT ",
        hex_text!("d.entry_hash"),
        " FROM dropped_entries d WHERE d.sequence = $1"
    ))
    .bind(range.from.saturating_sub(1))
    .fetch_optional(&mut *snapshot)
    .await
    .map_err(classify)?;
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(sequence) FROM audit_logs").fetch_one(&mut *snapshot).await.map_err(classify)?;
    let unplaced = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM audit_logs WHERE sequence IS NULL)")
        .fetch_one(&mut *snapshot)
        .await
        .map_err(classify)?;
    if !visitor.begin(ScanStart { anchor, head, last: last.unwrap_or(0), unplaced, border, former_numbers_up_to }) {
        return Ok(());
    }
    // The whole ledger is everything in the table, including rows with a sequence below 1.
    let from = if range.from == 1 { i64::MIN } else { range.from };
    // Without statistics of rows that were just written, PostgreSQL would sort all of them on disk.
    use_indexes_in_order(&mut *snapshot).await?;
    let is_across = border > 0 && from <= border;
    let statement = if is_across { entries::SCAN_WITH_DROPPED } else { entries::SCAN };
    let visit = if is_across { entries::visit_with_dropped } else { entries::visit };
    let mut rows = sqlx::query(statement).bind(from).bind(range.to).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        if !visit(&row, visitor)? {
            break;
        }
    }
    Ok(())
}

/// Reads one row of a scan, given the parts that the databases store differently. Columns by position: a verification
/// spends much of its time here.
pub(in super::super) fn read_stored<'r>(
    row: &'r Row,
    sequence: i64,
    [event_id, actor_id, entity_id]: [Option<&'r str>; 3],
    occurred_at: Timestamp,
) -> std::result::Result<StoredEntry<'r>, sqlx::Error> {
    let fields = Fields {
        action: row.try_get(6)?,
        actor_id,
        actor_type: row.try_get(8)?,
        correlation_id: row.try_get(11)?,
        details: row.try_get(12)?,
        entity_id,
        entity_type: row.try_get(10)?,
        event_id,
        hash_version: row.try_get(3)?,
        occurred_at,
        previous_hash: row.try_get(1)?,
        sequence,
        source: row.try_get(5)?,
    };
    Ok(StoredEntry { fields, entry_hash: row.try_get(2)? })
}
