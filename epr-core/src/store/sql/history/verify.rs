//! The tables of history joined with the entries that make their rows: one statement for each table, all of them in one
//! snapshot.
//!
//! The database joins and sorts; this program has one row at a time. Must never stop at a row that cannot be read: such
//! a row is passed on as one.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::super::dialect::{Conn, Pool, Row, begin_snapshot, classify};
use super::super::revisions;
use super::head;
use super::open::{Source, Subject};
use super::reconcile::{EntryJoin, joined_query, read_entry, read_opening, read_row, read_row_key};
use crate::history::reconcile::DifferenceKind;
use crate::history::verify::{HistoryItem, JoinedVersion, StoredVersion, VersionDifference};
use crate::ledger::chain::Head;
use crate::store::{HistoryState, Result, RowVisitor};

/// Rows of `role_permission_versions` that belong to no version of a role.
const STRAY_PERMISSIONS: &str = concat!(
    "SELECT ",
    id_as_text!("rp.role_id"),
    " AS row_key, rp.valid_from AS sequence, 'it belongs to no version of a role' AS why \
     FROM role_permission_versions rp LEFT JOIN role_versions o ON o.id = rp.role_id AND o.valid_from = rp.valid_from \
     WHERE o.id IS NULL ORDER BY 1, 2"
);

/// Rows of `registry_times` that do not fit the ledger or each other, and the newest state if it lacks its row.
const MISFIT_TIMES: &str = concat!(
    "SELECT CAST(t.sequence AS TEXT) AS row_key, t.sequence, 'no entry about the registry has this sequence' AS why \
     FROM registry_times t WHERE NOT EXISTS (SELECT 1 FROM audit_logs l WHERE l.sequence = t.sequence AND ",
    changes_registry!(),
    ") UNION ALL \
     SELECT CAST(c.sequence AS TEXT), c.sequence, \
       CASE WHEN c.recorded_at < c.earlier THEN 'its time is before that of the state before' \
       ELSE 'the state before it has no time' END \
     FROM (SELECT t.sequence, t.previous, t.recorded_at, x.timed_after, \
         LAG(t.recorded_at) OVER (ORDER BY t.sequence) AS earlier, \
         LAG(t.sequence, 1, CAST(0 AS bigint)) OVER (ORDER BY t.sequence) AS before_it \
       FROM registry_times t CROSS JOIN history_head x WHERE x.id = 1) c \
     WHERE c.recorded_at < c.earlier OR (c.before_it <> c.previous AND c.previous <> c.timed_after) \
     UNION ALL \
     SELECT CAST(t.sequence AS TEXT), t.sequence, 'its append does not end with an entry of the ledger' \
     FROM registry_times t WHERE t.head < t.sequence \
       OR (NOT EXISTS (SELECT 1 FROM audit_logs l WHERE l.sequence = t.head) \
         AND NOT EXISTS (SELECT 1 FROM dropped_entries d WHERE d.sequence = t.head)) \
     UNION ALL \
     SELECT CAST(r.registry_sequence AS TEXT), r.registry_sequence, 'the newest state has no time' \
     FROM registry_head r WHERE r.id = 1 AND r.registry_sequence > 0 \
       AND NOT EXISTS (SELECT 1 FROM registry_times t WHERE t.sequence >= r.registry_sequence) \
     ORDER BY 2, 3"
);

/// A version with the entry that made it.
const WITH_ITS_ENTRY: EntryJoin = EntryJoin {
    source: Source::Versions,
    own_columns: "COALESCE(e.sequence, r.valid_from) AS at_sequence, r.valid_from AS version_from, \
                  r.valid_to AS version_to",
    same_entry: "r.valid_from = e.sequence AND ",
    order: "7, 8, 9",
};

/// Shows every version with the entry that made it to `visit` until it says `false`, and what does not fit in the other
/// tables; returns the state of history that was compared.
pub(in super::super) async fn versions(
    pool: &Pool,
    known: Option<&Head>,
    visit: RowVisitor<'_, HistoryItem>,
) -> Result<HistoryState> {
    let mut snapshot = begin_snapshot(pool).await?;
    revisions::read(&mut snapshot, known).await?;
    let state = head(&mut snapshot).await?.state;
    for subject in Subject::ALL {
        if !of_table(&mut snapshot, subject, state.complete_to, visit).await? {
            return Ok(state);
        }
    }
    for (table, sql) in [("role_permission_versions", STRAY_PERMISSIONS), ("registry_times", MISFIT_TIMES)] {
        let mut rows = sqlx::query(sql).fetch(&mut *snapshot);
        while let Some(row) = rows.try_next().await.map_err(classify)? {
            if !visit(HistoryItem::Misfit(misfit(table, &row)?)) {
                return Ok(state);
            }
        }
    }
    if state.complete_to > state.registry_sequence {
        visit(HistoryItem::Misfit(VersionDifference {
            row: "1".to_owned(),
            why: Some("it is after the newest entry about the registry".to_owned()),
            valid_from: state.complete_to,
            ..new("history_head")
        }));
    }
    Ok(state)
}

fn new(table: &'static str) -> VersionDifference {
    VersionDifference {
        kind: DifferenceKind::Extra,
        table,
        row: String::new(),
        valid_from: 0,
        field: None,
        ledger: None,
        history: None,
        why: None,
    }
}

fn misfit(table: &'static str, row: &Row) -> Result<VersionDifference> {
    Ok(VersionDifference {
        row: row.try_get("row_key").map_err(classify)?,
        valid_from: row.try_get("sequence").map_err(classify)?,
        why: row.try_get("why").map_err(classify)?,
        ..new(table)
    })
}

async fn of_table(
    conn: &mut Conn,
    subject: Subject,
    complete_to: i64,
    visit: RowVisitor<'_, HistoryItem>,
) -> Result<bool> {
    let mut query = joined_query(subject, &WITH_ITS_ENTRY, complete_to);
    let mut rows = query.build().persistent(false).fetch(conn);
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        if !visit(HistoryItem::Version(Box::new(read(subject, &row)?))) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn read(subject: Subject, row: &Row) -> Result<JoinedVersion> {
    let version = match row.try_get::<Option<i64>, _>("version_from").map_err(classify)? {
        None => None,
        Some(valid_from) => Some(StoredVersion {
            valid_from,
            valid_to: row.try_get("version_to").map_err(classify)?,
            row: read_row(subject, row)?,
        }),
    };
    Ok(JoinedVersion {
        table: subject.table(Source::Versions),
        row_key: read_row_key(row)?,
        entry: read_entry(row)?,
        version,
        opening: read_opening(row)?,
    })
}
