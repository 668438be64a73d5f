//! Completing the tables of history from the ledger: after a migration, a rebuild, and changes of programs that write
//! no history.

use std::collections::{BTreeSet, HashMap};

use sqlx::Row as _;

use super::super::dialect::{
    Conn, Id, Pool, Row, SqlTime, begin_disposable, begin_snapshot, classify, commit, lock_history, read_id, read_time,
};
use super::super::ledger;
use super::open::{self, Source};
use super::past::of_registry;
use super::write::{Step, write};
use super::{HistoryHead, head, unexplained};
use crate::history::batch::Batch;
use crate::history::replay::RowEntry;
use crate::history::{Entry, RegistryRow, RowKey, RowVersion, Step as Change, Unreplayable};
use crate::store::{HistoryReport, HistoryState, Result, StoreError};

/// The entries of one transaction.
const MAX_ENTRIES: i64 = 2_000;

/// Completes the tables of history, in transactions of [`MAX_ENTRIES`]. The last one has the ledger's lock, so that
/// changes go on from where it ends. Rows that the ledger does not explain get their baseline the first time.
///
/// What an interrupted call has done stays done.
///
/// INVARIANT: without the ledger's lock the head of history never reaches the newest change. A change that has waited
/// for such a transaction would find the head where it needs it, and would not see the versions that it has to end.
pub(in super::super) async fn fill(pool: &Pool) -> Result<HistoryReport> {
    let mut report = HistoryReport::default();
    loop {
        let mut tx = begin_disposable(pool).await?;
        lock_history(&mut tx).await?;
        let before = head(&mut tx).await?;
        let entries = entries_after(&mut tx, before.state.complete_to).await?;
        let last = entries.last().map_or(0, |entry| entry.sequence);
        if !is_full(&entries) || last >= before.state.registry_sequence {
            break;
        }
        replay(&mut tx, (&entries, last), before.state, &mut report).await?;
        commit(tx).await?;
        tracing::info!(entries = report.entries, "history_filling");
    }
    finish(pool, report).await
}

/// Replays what changes have added meanwhile, under the ledger's lock. The first time, rows that the ledger does not
/// explain get their baseline; they are looked for before the lock is taken.
async fn finish(pool: &Pool, mut report: HistoryReport) -> Result<HistoryReport> {
    let mut snapshot = begin_snapshot(pool).await?;
    let HistoryHead { state, is_filled } = head(&mut snapshot).await?;
    if is_filled && !state.is_behind() {
        return Ok(report);
    }
    let differing = if is_filled { BTreeSet::new() } else { unexplained::differing(&mut snapshot).await? };
    drop(snapshot);
    let mut tx = begin_disposable(pool).await?;
    lock_history(&mut tx).await?;
    ledger::lock(&mut tx, None).await?;
    advance_to_head(&mut tx, &mut report).await?;
    if !is_filled {
        unexplained::write_baselines(&mut tx, differing, &mut report).await?;
    }
    commit(tx).await?;
    Ok(report)
}

/// Deletes every version, and completes the tables from the first entry on. Meanwhile changes write none.
pub(in super::super) async fn rebuild(pool: &Pool) -> Result<HistoryReport> {
    let mut tx = begin_disposable(pool).await?;
    lock_history(&mut tx).await?;
    sqlx::query("UPDATE history_head SET sequence = 0 WHERE id = 1").execute(&mut *tx).await.map_err(classify)?;
    for delete in [
        "DELETE FROM entity_versions",
        "DELETE FROM role_versions",
        "DELETE FROM role_permission_versions",
        "DELETE FROM assignment_versions",
        "DELETE FROM principal_versions",
    ] {
        sqlx::query(delete).execute(&mut *tx).await.map_err(classify)?;
    }
    commit(tx).await?;
    fill(pool).await
}

/// Replays every entry that is missing, in the transaction that is open. It must exclude every writer.
pub(in super::super) async fn advance_to_head(conn: &mut Conn, report: &mut HistoryReport) -> Result<()> {
    loop {
        let before = head(&mut *conn).await?.state;
        if !before.is_behind() {
            return Ok(());
        }
        let entries = entries_after(&mut *conn, before.complete_to).await?;
        // Entries that are about no row move the head too.
        let last = entries.last().filter(|_| is_full(&entries)).map_or(before.registry_sequence, |last| last.sequence);
        replay(&mut *conn, (&entries, last), before, report).await?;
    }
}

fn is_full(entries: &[Entry]) -> bool {
    i64::try_from(entries.len()).is_ok_and(|count| count == MAX_ENTRIES)
}

/// Replays `entries`, and moves the head of history to `last`.
async fn replay(
    conn: &mut Conn,
    (entries, last): (&[Entry], i64),
    before: HistoryState,
    report: &mut HistoryReport,
) -> Result<()> {
    let read = entries.iter().filter_map(|entry| note(RowEntry::read(entry), report).flatten());
    let read: Vec<RowEntry<'_>> = read.collect();
    let keys: BTreeSet<RowKey> = read.iter().map(|entry| entry.key.clone()).collect();
    let opening = open::principal_keys(&mut *conn, &keys).await?;
    let mut rows: HashMap<RowKey, RegistryRow> = open::rows(&mut *conn, Source::Versions, &keys).await?;
    let mut versions = Vec::new();
    for entry in &read {
        let step = entry.apply(rows.get(&entry.key), opening.get(&entry.key));
        match note(step, report) {
            Some(Change::Version(row)) => {
                let is_new = rows.insert(entry.key.clone(), (*row).clone()).is_none();
                versions.push((entry.sequence(), RowVersion { is_new, ..(*row).into() }));
            }
            Some(Change::Ended) => {
                rows.remove(&entry.key);
                versions.push((entry.sequence(), RowVersion::ended(entry.key.clone())));
            }
            Some(Change::Same) | None => {}
        }
    }
    report.entries += entries.len();
    write(&mut *conn, &Batch::of(versions.iter().map(|(sequence, version)| (*sequence, version)))).await?;
    if !(Step { previous: before.complete_to, last }).take(conn).await? {
        return Err(StoreError::Contention("another process completes history".into()));
    }
    Ok(())
}

/// The value; an entry that cannot be replayed is reported.
fn note<T>(outcome: std::result::Result<T, Unreplayable>, report: &mut HistoryReport) -> Option<T> {
    outcome.map_err(|problem| report.add(problem)).ok()
}

/// EPR's own entries after a sequence that are about rows of the registry, oldest first.
async fn entries_after(conn: &mut Conn, sequence: i64) -> Result<Vec<Entry>> {
    let rows = sqlx::query(concat!(
        "SELECT l.sequence, l.source, l.action, l.entity_id, l.occurred_at, CAST(l.details AS TEXT) AS details \
         FROM audit_logs l WHERE l.sequence > $1 AND ",
        of_registry!(),
        " ORDER BY l.sequence LIMIT $2"
    ))
    .bind(sequence)
    .bind(MAX_ENTRIES)
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    rows.iter().map(read_entry).collect()
}

fn read_entry(row: &Row) -> Result<Entry> {
    Ok(Entry {
        sequence: row.try_get("sequence").map_err(classify)?,
        source: row.try_get("source").map_err(classify)?,
        action: row.try_get("action").map_err(classify)?,
        entity_id: row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id),
        occurred_at: read_time(row.try_get::<SqlTime, _>("occurred_at").map_err(classify)?)?,
        details: row.try_get("details").map_err(classify)?,
    })
}
