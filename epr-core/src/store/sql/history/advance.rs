//! Completing the tables of history from the ledger: after a migration, a rebuild, and changes of programs that write
//! no history.

use std::collections::{BTreeSet, HashMap};

use sqlx::{QueryBuilder, Row as _};

use super::super::dialect::{
    Conn, Db, Id, Pool, Row, SqlTime, begin_disposable, begin_snapshot, classify, commit, lock_history, read_id,
    read_time,
};
use super::super::{ledger, principals};
use super::open::{self, Source};
use super::past::of_registry;
use super::write::{Step, write};
use super::{head, unexplained};
use crate::history::batch::Batch;
use crate::history::replay::RowEntry;
use crate::history::{Entry, RegistryRow, RowKey, RowVersion, Step as Change, Unreplayable};
use crate::store::{HistoryReport, HistoryState, Result, StoreError};

/// The entries of one transaction.
const MAX_ENTRIES: i64 = 2_000;
/// Up to this many entries are left to the transaction that has the ledger's lock.
const FEW_ENTRIES: usize = 50;
/// The rows that one transaction deletes or writes baselines for.
const MAX_ROWS: usize = 1_000;

/// Completes the tables of history, in transactions of [`MAX_ENTRIES`]. The last ones have the ledger's lock, so that
/// changes go on from where they end. Rows that the ledger does not explain get their baseline the first time.
///
/// What an interrupted call has done stays done; a deletion that was interrupted goes on.
///
/// INVARIANT: without the ledger's lock the head of history never reaches the newest change. A change that has waited
/// for such a transaction would find the head where it needs it, and would not see the versions that it has to end.
pub(in super::super) async fn fill(pool: &Pool) -> Result<HistoryReport> {
    delete_if_begun(pool).await?;
    let mut report = HistoryReport::default();
    loop {
        let mut tx = begin_disposable(pool).await?;
        lock_history(&mut tx).await?;
        let before = head(&mut tx).await?;
        if before.is_filled && !before.state.is_behind() {
            return Ok(report);
        }
        let mut entries = entries_after(&mut tx, before.state).await?;
        if entries.len() <= FEW_ENTRIES {
            break;
        }
        if entries.last().is_some_and(|newest| newest.sequence >= before.state.registry_sequence) {
            entries.pop();
        }
        let last = entries.last().map_or(0, |entry| entry.sequence);
        share_principals(&mut tx, &entries).await?;
        replay(&mut tx, (&entries, last), before.state, &mut report).await?;
        commit(tx).await?;
        tracing::info!(entries = report.entries, "history_filling");
    }
    finish(pool, report).await
}

/// Excludes erasures of the principals of `entries` until the end of the transaction: their keys are read, and an
/// erasure that ended before the versions are written would not blank them.
async fn share_principals(conn: &mut Conn, entries: &[Entry]) -> Result<()> {
    let keys: BTreeSet<RowKey> =
        entries.iter().filter_map(|entry| RowEntry::read(entry).ok().flatten()).map(|entry| entry.key).collect();
    for key in &keys {
        if let RowKey::Principal(kind, id) = key {
            principals::share(&mut *conn, (kind, *id)).await?;
        }
    }
    Ok(())
}

/// Replays what changes have added meanwhile, under the ledger's lock. Unless the tables are filled, rows that the
/// ledger does not explain get their baseline: they are looked for before the lock is taken, and written in
/// transactions of [`MAX_ROWS`].
async fn finish(pool: &Pool, mut report: HistoryReport) -> Result<HistoryReport> {
    loop {
        let mut snapshot = begin_snapshot(pool).await?;
        let is_filled = head(&mut snapshot).await?.is_filled;
        let differing = if is_filled { BTreeSet::new() } else { unexplained::differing(&mut snapshot).await? };
        drop(snapshot);
        let differing: Vec<RowKey> = differing.into_iter().collect();
        let mut chunks = differing.chunks(MAX_ROWS).peekable();
        loop {
            let mut tx = begin_disposable(pool).await?;
            lock_history(&mut tx).await?;
            // Before the ledger's lock, which an erasure takes after its principal's.
            let state = head(&mut tx).await?.state;
            let entries = entries_after(&mut tx, state).await?;
            share_principals(&mut tx, &entries).await?;
            ledger::lock(&mut tx, None).await?;
            advance_to_head(&mut tx, &mut report).await?;
            if let Some(keys) = chunks.next() {
                unexplained::write_baselines(&mut tx, keys, &mut report).await?;
            }
            if chunks.peek().is_some() {
                commit(tx).await?;
                continue;
            }
            // An entry that cannot be replayed was among the last ones: its row has to be looked for.
            if is_filled && !head(&mut tx).await?.is_filled {
                commit(tx).await?;
                break;
            }
            unexplained::mark_filled(&mut tx, false).await?;
            commit(tx).await?;
            return Ok(report);
        }
    }
}

/// In place of the head of history while versions are deleted.
pub(super) const BEING_DELETED: i64 = -1;

/// Deletes every version, in transactions of [`MAX_ROWS`], and completes the tables from the first entry on. Meanwhile
/// changes write none.
pub(in super::super) async fn rebuild(pool: &Pool) -> Result<HistoryReport> {
    let mut tx = begin_disposable(pool).await?;
    lock_history(&mut tx).await?;
    sqlx::query("UPDATE history_head SET sequence = $1, filled = FALSE WHERE id = 1")
        .bind(BEING_DELETED)
        .execute(&mut *tx)
        .await
        .map_err(classify)?;
    commit(tx).await?;
    fill(pool).await
}

/// Goes on with a deletion that [`rebuild`] has begun.
async fn delete_if_begun(pool: &Pool) -> Result<()> {
    const KEYS: [(&str, &str); 5] = [
        ("entity_versions", "id, valid_from"),
        ("role_versions", "id, valid_from"),
        ("role_permission_versions", "role_id, valid_from, action"),
        ("assignment_versions", "id, valid_from"),
        ("principal_versions", "type, id, valid_from"),
    ];
    for (table, key) in KEYS {
        loop {
            let mut tx = begin_disposable(pool).await?;
            lock_history(&mut tx).await?;
            if !is_being_deleted(&mut tx).await? {
                return Ok(());
            }
            let mut query = QueryBuilder::<Db>::new(format!(
                "DELETE FROM {table} WHERE ({key}) IN (SELECT {key} FROM {table} LIMIT {MAX_ROWS})"
            ));
            let deleted = query.build().execute(&mut *tx).await.map_err(classify)?.rows_affected();
            commit(tx).await?;
            if deleted == 0 {
                break;
            }
        }
    }
    let mut tx = begin_disposable(pool).await?;
    lock_history(&mut tx).await?;
    sqlx::query("UPDATE history_head SET sequence = 0 WHERE id = 1 AND sequence = $1")
        .bind(BEING_DELETED)
        .execute(&mut *tx)
        .await
        .map_err(classify)?;
    commit(tx).await
}

async fn is_being_deleted(conn: &mut Conn) -> Result<bool> {
    let sequence: i64 = sqlx::query_scalar("SELECT x.sequence FROM history_head x WHERE x.id = 1")
        .fetch_one(conn)
        .await
        .map_err(classify)?;
    Ok(sequence == BEING_DELETED)
}

/// Replays every entry that is missing, in the transaction that is open. It must exclude every writer.
pub(in super::super) async fn advance_to_head(conn: &mut Conn, report: &mut HistoryReport) -> Result<()> {
    loop {
        let before = head(&mut *conn).await?.state;
        if !before.is_behind() {
            return Ok(());
        }
        let entries = entries_after(&mut *conn, before).await?;
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
    // What the ledger says of rows before the first baseline of a registry that was taken over is not complete.
    let unreplayable_before = report.unreplayable_count;
    let mut note = Noting { report, after: before.began };
    let read = entries.iter().filter_map(|entry| note.take(RowEntry::read(entry)).flatten());
    let read: Vec<RowEntry<'_>> = read.collect();
    let keys: BTreeSet<RowKey> = read.iter().map(|entry| entry.key.clone()).collect();
    let opening = open::principal_keys(&mut *conn, &keys).await?;
    let sealed = read.iter().filter(|entry| entry.is_sealed() && !opening.contains_key(&entry.key));
    let closed: BTreeSet<RowKey> = sealed.map(|entry| entry.key.clone()).collect();
    let closed = open::rows(&mut *conn, Source::Registry, &closed).await?;
    let lacks_key = |key: &RowKey| match closed.get(key) {
        Some(RegistryRow::Principal(principal)) => principal.erased_at.is_none(),
        _ => false,
    };
    let mut rows: HashMap<RowKey, RegistryRow> = open::rows(&mut *conn, Source::Versions, &keys).await?;
    let mut versions = Vec::new();
    for entry in &read {
        let step = if entry.is_sealed() && lacks_key(&entry.key) {
            Err(entry.unopened())
        } else {
            entry.apply(rows.get(&entry.key), opening.get(&entry.key))
        };
        match note.take(step) {
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
    if report.unreplayable_count > unreplayable_before {
        unexplained::note_gap(&mut *conn).await?;
    }
    report.entries += entries.len();
    write(&mut *conn, &Batch::of(versions.iter().map(|(sequence, version)| (*sequence, version)))).await?;
    if !(Step { previous: before.complete_to, last }).take(conn).await? {
        return Err(StoreError::Contention("another process completes history".into()));
    }
    Ok(())
}

/// Reports the entries that cannot be replayed, of those after a sequence.
struct Noting<'a> {
    report: &'a mut HistoryReport,
    after: i64,
}

impl Noting<'_> {
    /// The value of an entry; `None` when it cannot be replayed.
    fn take<T>(&mut self, outcome: std::result::Result<T, Unreplayable>) -> Option<T> {
        match outcome {
            Ok(value) => Some(value),
            Err(problem) => {
                if problem.sequence > self.after {
                    self.report.add(problem);
                }
                None
            }
        }
    }
}

/// EPR's own entries that are about rows of the registry and that history lacks, oldest first: at most [`MAX_ENTRIES`].
async fn entries_after(conn: &mut Conn, state: HistoryState) -> Result<Vec<Entry>> {
    let rows = sqlx::query(concat!(
        "SELECT l.sequence, l.source, l.action, l.entity_id, l.occurred_at, CAST(l.details AS TEXT) AS details \
         FROM audit_logs l WHERE l.sequence > $1 AND l.sequence <= $2 AND ",
        // By the index of changes: decisions are not read.
        changes_registry!(),
        " AND ",
        of_registry!(),
        " ORDER BY l.sequence LIMIT $3"
    ))
    .bind(state.complete_to)
    .bind(state.registry_sequence)
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
