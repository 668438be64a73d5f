//! Statements on `audit_logs` and `audit_chain_head`.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use uuid::Uuid;

use super::entries;
use super::{Conn, Pool, Row, Stamp, begin_snapshot, classify, read_stamp};
use crate::domain::Timestamp;
use crate::ledger::canonical::Fields;
use crate::ledger::chain::{Draft, Head, seal};
use crate::ledger::verify::StoredEntry;
use crate::store::{Appended, LedgerVisitor, Result, ScanRange, ScanStart, StoreError};

/// Takes the ledger's lock and reads where the chain ends.
async fn lock_head(conn: &mut Conn) -> Result<Head> {
    let row = sqlx::query(concat!(
        "SELECT h.sequence, h.entry_hash FROM audit_chain_head h WHERE h.id = 1",
        for_update!("h")
    ))
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    row.as_ref().map(read_head).transpose()?.ok_or_else(|| StoreError::corrupt("ledger", "its head row is missing"))
}

fn read_head(row: &Row) -> Result<Head> {
    Ok(Head {
        sequence: row.try_get("sequence").map_err(classify)?,
        entry_hash: row.try_get("entry_hash").map_err(classify)?,
    })
}

/// Appends `drafts` in their order, and gives the new end of the chain. INVARIANT: duplicates are found under the lock and before
/// anything is hashed, so that the chain has no hole where one was.
pub(super) async fn append(conn: &mut Conn, drafts: &[Draft]) -> Result<(Vec<Appended>, Head)> {
    let before = lock_head(&mut *conn).await?;
    let mut head = before.clone();
    let keys: Vec<Uuid> = drafts.iter().filter_map(Draft::event_id).collect();
    let existing = if keys.is_empty() { HashMap::new() } else { entries::existing(&mut *conn, &keys).await? };

    // The first of several with the same key is the one that is recorded; the others are held against it.
    let mut first_of: HashMap<Uuid, usize> = HashMap::new();
    let mut fresh = Vec::with_capacity(drafts.len());
    let mut outcomes: Vec<Outcome<'_>> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let earlier = draft.event_id().and_then(|key| first_of.get(&key).copied());
        let stored = draft.event_id().and_then(|key| existing.get(&key));
        outcomes.push(match (stored, earlier) {
            (Some(stored), _) => Outcome::Stored(stored),
            (None, Some(place)) => Outcome::Repeats(place),
            (None, None) => {
                if let Some(key) = draft.event_id() {
                    first_of.insert(key, fresh.len());
                }
                fresh.push(draft);
                Outcome::Fresh(fresh.len() - 1)
            }
        });
    }

    let sealed = seal(&mut head, fresh);
    if !sealed.is_empty() && !entries::extend(conn, &before, &sealed, &head).await? {
        return Err(StoreError::corrupt("ledger", "its head moved under the lock"));
    }
    let told = drafts.iter().zip(outcomes).map(|(draft, outcome)| {
        let same = |sequence: i64, occurred_at, previous_hash: &str, entry_hash: &str| {
            if draft.is_recorded_as(sequence, occurred_at, previous_hash, entry_hash) {
                Appended::Duplicate { sequence }
            } else {
                Appended::Conflict { sequence }
            }
        };
        match outcome {
            Outcome::Stored(entry) => {
                Some(same(entry.sequence, entry.occurred_at, &entry.previous_hash, &entry.entry_hash))
            }
            Outcome::Repeats(place) => sealed.get(place).map(|entry| {
                same(entry.sequence, entry.event.event().occurred_at, &entry.previous_hash, &entry.entry_hash)
            }),
            Outcome::Fresh(place) => sealed.get(place).map(|entry| Appended::Recorded { sequence: entry.sequence }),
        }
    });
    // Every place was handed out above.
    Ok((told.flatten().collect(), head))
}

/// Appends `drafts` behind `head` by one statement, which is a transaction of its own, and moves it on. `None` when it cannot be done
/// like this, or the chain does not end there any more: then nothing was written.
pub(super) async fn append_behind(conn: &mut Conn, head: &mut Head, drafts: &[Draft]) -> Result<Option<Vec<Appended>>> {
    let before = head.clone();
    let sealed = seal(head, drafts);
    let extended = !sealed.is_empty() && entries::extend(conn, &before, &sealed, head).await?;
    Ok(extended.then(|| sealed.iter().map(|entry| Appended::Recorded { sequence: entry.sequence }).collect()))
}

/// Whether [`append_behind`] may take them: an event with an id may be there already, which is to be looked up under the lock.
pub(super) fn may_go_behind(drafts: &[Draft]) -> bool {
    entries::BY_ONE_STATEMENT && drafts.iter().all(|draft| draft.event_id().is_none())
}

/// What is needed of a stored entry to tell whether an event is the same.
pub(super) struct Existing {
    sequence: i64,
    occurred_at: Timestamp,
    previous_hash: String,
    entry_hash: String,
}

pub(super) fn read_existing(row: &Row) -> Result<Existing> {
    Ok(Existing {
        sequence: row.try_get("sequence").map_err(classify)?,
        occurred_at: read_stamp(row.try_get::<Stamp, _>("occurred_at").map_err(classify)?)?,
        previous_hash: row.try_get("previous_hash").map_err(classify)?,
        entry_hash: row.try_get("entry_hash").map_err(classify)?,
    })
}

/// One row of a scan, given the parts that the databases hold differently. Columns by position: a verification spends
/// much of its time here.
pub(super) fn read_stored<'r>(
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

enum Outcome<'a> {
    Fresh(usize),
    Repeats(usize),
    Stored(&'a Existing),
}

/// Streams entries in order to `visitor`, all from one snapshot, in constant memory.
pub(super) async fn scan(pool: &Pool, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()> {
    let mut snapshot = begin_snapshot(pool).await?;
    let row =
        sqlx::query("SELECT h.sequence, h.entry_hash, h.former_numbers_up_to FROM audit_chain_head h WHERE h.id = 1")
            .fetch_optional(&mut *snapshot)
            .await
            .map_err(classify)?;
    let head = row.as_ref().map(read_head).transpose()?;
    let former_numbers_up_to = row.map_or(Ok(0), |row| row.try_get("former_numbers_up_to")).map_err(classify)?;
    let anchor: Option<String> = sqlx::query_scalar("SELECT entry_hash FROM audit_logs WHERE sequence = $1")
        .bind(range.from - 1)
        .fetch_optional(&mut *snapshot)
        .await
        .map_err(classify)?;
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(sequence) FROM audit_logs").fetch_one(&mut *snapshot).await.map_err(classify)?;
    let unplaced = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM audit_logs WHERE sequence IS NULL)")
        .fetch_one(&mut *snapshot)
        .await
        .map_err(classify)?;
    if !visitor.begin(ScanStart { anchor, head, last: last.unwrap_or(0), unplaced, former_numbers_up_to }) {
        return Ok(());
    }
    // The whole ledger is everything in the table, also what stands where no entry can.
    let from = if range.from == 1 { i64::MIN } else { range.from };
    let mut rows = sqlx::query(entries::SCAN).bind(from).bind(range.to).fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        if !entries::visit(&row, visitor)? {
            break;
        }
    }
    Ok(())
}
