//! Completing the tables of history from the ledger: after a migration, a rebuild, and changes of programs that write
//! no history.

use std::collections::{BTreeSet, HashMap};

use sqlx::{QueryBuilder, Row as _};

use super::super::dialect::{
    Conn, Db, Id, Pool, Row, SqlTime, begin_disposable, begin_snapshot, classify, commit, lock_history, read_id,
    read_time,
};
use super::super::{ledger, listing, principals};
use super::open::{self, Source};
use super::past::of_registry;
use super::unexplained::Comparison;
use super::write::{Step, write};
use super::{head, unexplained};
use crate::history::batch::Batch;
use crate::history::replay::RowEntry;
use crate::history::{Entry, RegistryRow, RowKey, RowVersion, Step as Change, Unreplayable};
use crate::store::{HistoryReport, HistoryState, Result, StoreError};

/// The entries of one transaction.
const MAX_ENTRIES: u32 = 2_000;
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
        let Entries { mut entries, are_all } = entries_after(&mut tx, before.state).await?;
        if are_all && entries.len() <= FEW_ENTRIES {
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
    for key in &keys_of(entries) {
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
        drop(snapshot);
        let mut comparison = Comparison::default();
        loop {
            let mut differing = Vec::new();
            if !is_filled {
                let mut snapshot = begin_snapshot(pool).await?;
                differing = comparison.differing(&mut snapshot).await?;
            }
            let is_last = is_filled || comparison.is_done();
            let mut keys = differing.as_slice();
            loop {
                let mut tx = begin_disposable(pool).await?;
                lock_history(&mut tx).await?;
                // Before the ledger's lock, which an erasure takes after its principal's.
                let state = head(&mut tx).await?.state;
                let missing = entries_after(&mut tx, state).await?;
                share_principals(&mut tx, &missing.entries).await?;
                drop(missing);
                ledger::lock(&mut tx, None).await?;
                advance_to_head(&mut tx, &mut report).await?;
                if !keys.is_empty() {
                    keys = unexplained::write_baselines(&mut tx, keys, &mut report).await?;
                }
                if keys.is_empty() && is_last {
                    // An entry that cannot be replayed was among the last ones: its row has to be looked for.
                    let is_found_now = is_filled && !head(&mut tx).await?.is_filled;
                    if !is_found_now {
                        unexplained::mark_filled(&mut tx, false).await?;
                    }
                    commit(tx).await?;
                    if is_found_now {
                        break;
                    }
                    return Ok(report);
                }
                commit(tx).await?;
                if keys.is_empty() {
                    break;
                }
            }
            if is_last {
                break;
            }
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
        let Entries { entries, are_all } = entries_after(&mut *conn, before).await?;
        // Entries that are about no row move the head too.
        let last = entries.last().filter(|_| !are_all).map_or(before.registry_sequence, |last| last.sequence);
        replay(&mut *conn, (&entries, last), before, report).await?;
    }
}

/// Replays `entries`, as far as their rows fit into memory, and moves the head of history to the last one that was
/// replayed; to `last` when all of them were.
async fn replay(
    conn: &mut Conn,
    (entries, last): (&[Entry], i64),
    before: HistoryState,
    report: &mut HistoryReport,
) -> Result<()> {
    let unreplayable_before = report.unreplayable_count;
    let (rows, first) = rows_before(&mut *conn, entries).await?;
    let mut replay = Replay { rows, versions: Vec::new(), bytes: 0 };
    let keys = keys_of(first);
    let opening = open::principal_keys(&mut *conn, &keys).await?;
    let closed: Vec<&RowKey> = keys.iter().filter(|key| !opening.contains_key(key)).collect();
    let lacking_keys = open::unerased(&mut *conn, &closed).await?;
    // What the ledger says of rows before the first baseline of a registry that was taken over is not complete.
    let mut note = Noting { report, after: before.began };
    let mut replayed = 0;
    for entry in first {
        if replay.bytes >= open::MAX_BYTES {
            break;
        }
        replayed += 1;
        let Some(Some(read)) = note.take(RowEntry::read(entry)) else { continue };
        let step = if read.is_sealed() && lacking_keys.contains(&read.key) {
            Err(read.unopened())
        } else {
            read.apply(replay.rows.get(&read.key), opening.get(&read.key))
        };
        if let Some(step) = note.take(step) {
            replay.take(&read, step);
        }
    }
    let last = match entries.get(replayed) {
        Some(_) => entries.get(replayed.saturating_sub(1)).map_or(before.complete_to, |entry| entry.sequence),
        None => last,
    };
    if report.unreplayable_count > unreplayable_before {
        unexplained::note_gap(&mut *conn).await?;
    }
    report.entries += replayed;
    let versions = replay.versions.iter().map(|(sequence, version)| (*sequence, version));
    write(&mut *conn, &Batch::of(versions)).await?;
    if !(Step { previous: before.complete_to, last }).take(conn).await? {
        return Err(StoreError::Contention("another process completes history".into()));
    }
    Ok(())
}

/// The present versions of the rows that the first of `entries` are about, and these entries: as many as fit into
/// memory, and one at least.
async fn rows_before<'a>(conn: &mut Conn, entries: &'a [Entry]) -> Result<(HashMap<RowKey, RegistryRow>, &'a [Entry])> {
    let mut first = entries;
    loop {
        if let Some(rows) = open::rows(&mut *conn, Source::Versions, &keys_of(first)).await? {
            return Ok((rows, first));
        }
        // Of one entry there is one row, which is returned whatever its size is.
        (first, _) = first.split_at(first.len() / 2);
    }
}

fn keys_of(entries: &[Entry]) -> BTreeSet<RowKey> {
    entries.iter().filter_map(|entry| RowEntry::read(entry).ok().flatten()).map(|entry| entry.key).collect()
}

/// The rows as they are after the entries so far, and the versions that these made.
struct Replay {
    rows: HashMap<RowKey, RegistryRow>,
    versions: Vec<(i64, RowVersion)>,
    bytes: usize,
}

impl Replay {
    fn take(&mut self, entry: &RowEntry<'_>, step: Change) {
        match step {
            Change::Version(row) => {
                self.bytes += open::size(&row);
                let is_new = self.rows.insert(entry.key.clone(), (*row).clone()).is_none();
                self.versions.push((entry.sequence(), RowVersion { is_new, ..(*row).into() }));
            }
            Change::Ended => {
                self.rows.remove(&entry.key);
                self.versions.push((entry.sequence(), RowVersion::ended(entry.key.clone())));
            }
            Change::Same => {}
        }
    }
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

/// Entries that history lacks.
struct Entries {
    entries: Vec<Entry>,
    /// Whether there are no more.
    are_all: bool,
}

/// EPR's own entries that are about rows of the registry and that history lacks, oldest first: at most [`MAX_ENTRIES`],
/// and about [`open::MAX_BYTES`].
async fn entries_after(conn: &mut Conn, state: HistoryState) -> Result<Entries> {
    const FIRST_BATCH: u32 = 64;
    let query = |after: Option<i64>, limit: u32| {
        let mut query = QueryBuilder::<Db>::new(concat!(
            "SELECT l.sequence, l.source, l.action, l.entity_id, l.occurred_at, CAST(l.details AS TEXT) AS details \
             FROM audit_logs l WHERE ",
            // By the index of changes: decisions are not read.
            changes_registry!(),
            " AND ",
            of_registry!(),
            " AND l.sequence > "
        ));
        query.push_bind(after.unwrap_or(state.complete_to)).push(" AND l.sequence <= ");
        query.push_bind(state.registry_sequence).push(" ORDER BY l.sequence LIMIT ").push_bind(i64::from(limit));
        query
    };
    let mut entries: Vec<Entry> = Vec::new();
    let mut left = open::MAX_BYTES;
    let mut add = |entry: Entry| {
        left = left.saturating_sub(entry.details.len() + 256);
        entries.push(entry);
        left > 0
    };
    let columns: listing::Columns<Entry, i64> = (read_entry, |entry| entry.sequence);
    listing::show_from(conn, FIRST_BATCH, (MAX_ENTRIES, None), query, columns, &mut add).await?;
    let is_full = u32::try_from(entries.len()).is_ok_and(|count| count == MAX_ENTRIES);
    Ok(Entries { are_all: left > 0 && !is_full, entries })
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
