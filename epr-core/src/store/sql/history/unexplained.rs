//! Rows that the ledger does not explain: found by comparing the registry with the present versions, and recorded with
//! a baseline, so that both are equal from then on.

use std::collections::BTreeSet;

use super::super::dialect::{Conn, classify};
use super::super::{entities, ledger};
use super::open::{self, Source, Subject};
use crate::clock::{Clock as _, SystemClock};
use crate::history::baseline::Unexplained;
use crate::history::{RegistryRow, RowKey};
use crate::store::{HistoryReport, Result, StoreError};

/// The rows that are read at a time.
const PAGE: u32 = 1_000;
/// The rows that one transaction writes baselines for.
const MAX_KEYS: usize = 1_000;

/// A comparison of the registry with the present versions, which goes on where it stopped.
#[derive(Debug, Default)]
pub(super) struct Comparison {
    /// How many subjects have been compared.
    subject: usize,
    /// Whether the rows of the present one have been: what follows are versions that the registry lacks.
    are_rows_compared: bool,
    after: Option<RowKey>,
}

impl Comparison {
    /// Whether everything has been compared.
    pub(super) fn is_done(&self) -> bool {
        self.subject == Subject::ALL.len()
    }

    /// Returns the keys of the next rows in which the registry and the present versions differ: none at the end, and
    /// not many more than a page of them. Changes that are made meanwhile may be among them.
    pub(super) async fn differing(&mut self, conn: &mut Conn) -> Result<Vec<RowKey>> {
        let mut found = Vec::new();
        while let Some(subject) = Subject::ALL.get(self.subject).copied() {
            if u32::try_from(found.len()).is_ok_and(|count| count >= PAGE) {
                break;
            }
            let after = self.after.as_ref();
            let rows = if self.are_rows_compared {
                open::missing_page(&mut *conn, subject, after, PAGE).await?
            } else {
                open::page(&mut *conn, (subject, Source::Registry), after, PAGE).await?
            };
            let Some(last) = rows.last() else {
                self.after = None;
                self.subject += usize::from(self.are_rows_compared);
                self.are_rows_compared = !self.are_rows_compared;
                continue;
            };
            self.after = Some(last.key());
            if self.are_rows_compared {
                found.extend(rows.iter().map(RegistryRow::key));
            } else {
                add_differing(&mut *conn, &rows, &mut found).await?;
            }
        }
        Ok(found)
    }
}

/// Adds the keys of the rows that differ from their present versions.
async fn add_differing(conn: &mut Conn, rows: &[RegistryRow], found: &mut Vec<RowKey>) -> Result<()> {
    let mut parts = vec![rows];
    while let Some(part) = parts.pop() {
        let keys: BTreeSet<RowKey> = part.iter().map(RegistryRow::key).collect();
        match open::rows(&mut *conn, Source::Versions, &keys).await? {
            Some(versions) => {
                let differs = |row: &&RegistryRow| versions.get(&row.key()) != Some(row);
                found.extend(part.iter().filter(differs).map(RegistryRow::key));
            }
            None => {
                let (first, second) = part.split_at(part.len() / 2);
                parts.extend([second, first]);
            }
        }
    }
    Ok(())
}

/// Writes a baseline for the first of these rows, as far as they fit into memory, if the registry and the present
/// versions differ in them. Returns the other keys. The transaction that is open must exclude every writer.
pub(super) async fn write_baselines<'a>(
    conn: &mut Conn,
    keys: &'a [RowKey],
    report: &mut HistoryReport,
) -> Result<&'a [RowKey]> {
    let mut count = keys.len().min(MAX_KEYS);
    loop {
        let (first, others) = keys.split_at(count);
        let chunk: BTreeSet<RowKey> = first.iter().cloned().collect();
        let rows = open::rows(&mut *conn, Source::Registry, &chunk).await?;
        let versions = open::rows(&mut *conn, Source::Versions, &chunk).await?;
        let (Some(mut rows), Some(versions)) = (rows, versions) else {
            // One row is returned whatever its size is.
            count = (count / 2).max(1);
            continue;
        };
        let found = chunk.into_iter().map(|key| (rows.remove(&key), versions.get(&key), key));
        let found = found.filter(|(row, version, _)| row.as_ref() != *version);
        let found: Vec<_> = found.map(|(row, _, key)| (key, row)).collect();
        if !found.is_empty() {
            note_gap(&mut *conn).await?;
        }
        append(conn, found, report).await?;
        return Ok(others);
    }
}

/// Writes a baseline for every row of the registry, and for every present version that the registry lacks, and marks
/// the tables as filled. The transaction that is open must exclude every writer.
pub(in super::super) async fn write_all_baselines(conn: &mut Conn, report: &mut HistoryReport) -> Result<()> {
    for subject in Subject::ALL {
        let mut after = None;
        loop {
            let rows = open::page(&mut *conn, (subject, Source::Registry), after.as_ref(), PAGE).await?;
            let Some(last) = rows.last() else { break };
            after = Some(last.key());
            append(&mut *conn, rows.into_iter().map(|row| (row.key(), Some(row))).collect(), report).await?;
        }
        // A baseline ends the version, so that each page begins at the start.
        loop {
            let missing = open::missing_page(&mut *conn, subject, None, PAGE).await?;
            if missing.is_empty() {
                break;
            }
            append(&mut *conn, missing.into_iter().map(|row| (row.key(), None)).collect(), report).await?;
        }
    }
    mark_filled(conn, true).await
}

/// In place of the first revision while rows are known that the ledger does not explain, and that have no baseline yet.
pub(super) const GAP: i64 = i64::MAX;

/// Notes that the ledger does not explain every row: the registry has to be compared with the present versions, and
/// only later revisions can be asked.
pub(super) async fn note_gap(conn: &mut Conn) -> Result<()> {
    sqlx::query("UPDATE history_head SET filled = FALSE, began = $1 WHERE id = 1")
        .bind(GAP)
        .execute(conn)
        .await
        .map_err(classify)?;
    Ok(())
}

/// Marks the tables as filled. If the ledger did not explain everything (`began_now`, or a noted gap), revisions before
/// the newest one cannot be asked: what they would answer is not known.
pub(super) async fn mark_filled(conn: &mut Conn, began_now: bool) -> Result<()> {
    sqlx::query(
        "UPDATE history_head SET filled = TRUE, began = CASE WHEN $1 OR began = $2 THEN \
         (SELECT r.registry_sequence FROM registry_head r WHERE r.id = 1) ELSE began END WHERE id = 1",
    )
    .bind(began_now)
    .bind(GAP)
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(())
}

async fn append(conn: &mut Conn, rows: Vec<(RowKey, Option<RegistryRow>)>, report: &mut HistoryReport) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let now = SystemClock.now();
    let keys: BTreeSet<RowKey> = rows.iter().map(|(key, _)| key.clone()).collect();
    let sealing = open::principal_keys(&mut *conn, &keys).await?;
    let mut drafts = Vec::with_capacity(rows.len());
    for (key, row) in rows {
        let on_type = match &row {
            Some(RegistryRow::Assignment(assignment)) => match assignment.entity_id {
                Some(entity) => entities::type_of(&mut *conn, entity).await?,
                None => None,
            },
            _ => None,
        };
        let sealed_under = sealing.get(&key);
        report.unexplained(&key);
        let draft = Unexplained { key, row, on_type }.draft(now, sealed_under);
        drafts.push(draft.map_err(|error| StoreError::Backend(error.into()))?);
    }
    ledger::append(conn, None, &drafts).await?;
    Ok(())
}
