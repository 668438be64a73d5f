//! Statements on `audit_logs` and `audit_chain_head`.

use std::collections::HashMap;

use futures_util::TryStreamExt as _;
use sqlx::Row as _;
use uuid::Uuid;

use super::dialect::entries;
use super::dialect::{Conn, Pool, Row, Stamp, begin_snapshot, classify, read_stamp, together};
use crate::decision::{AskedAction, Question};
use crate::domain::Timestamp;
use crate::ledger::canonical::Fields;
use crate::ledger::chain::{Draft, Head, HexHash, Sealed, seal};
use crate::ledger::verify::StoredEntry;
use crate::store::lineage::{self, WrongServer};
use crate::store::{Appended, Decide, LedgerVisitor, Result, ScanRange, ScanStart, StoreError};

/// The end of the chain, read under the ledger's lock.
struct Locked {
    head: Head,
    /// The newest entry that changed what decisions depend on.
    revision: i64,
}

/// Takes the ledger's lock and reads where the chain ends; an error unless `known` is an entry of it.
async fn lock_head(conn: &mut Conn, known: Option<&Head>) -> Result<Locked> {
    // Both rows are locked, so that both are read as they are once the lock is held.
    let row = sqlx::query(concat!(
        "SELECT h.sequence, h.entry_hash, r.sequence AS revision, ",
        "(SELECT k.entry_hash FROM audit_logs k WHERE k.sequence = $1) AS known_hash, ",
        last_step!(),
        " FROM audit_chain_head h CROSS JOIN registry_head r WHERE h.id = 1 AND r.id = 1",
        for_update!("h, r")
    ))
    .bind(known.map_or(0, |known| known.sequence))
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("ledger", "its head row is missing"))?;
    lineage::check(known, row.try_get("known_hash").map_err(classify)?)?;
    Ok(Locked { head: read_head(&row)?, revision: row.try_get("revision").map_err(classify)? })
}

/// Takes the ledger's lock; gives where the chain ends.
pub(super) async fn lock(conn: &mut Conn, known: Option<&Head>) -> Result<i64> {
    Ok(lock_head(conn, known).await?.head.sequence)
}

fn read_head(row: &Row) -> Result<Head> {
    Ok(Head {
        sequence: row.try_get("sequence").map_err(classify)?,
        entry_hash: row.try_get("entry_hash").map_err(classify)?,
    })
}

/// The end of the chain after an append.
#[derive(Debug, Clone)]
pub(super) struct Extended {
    pub(super) head: Head,
    /// The newest entry that changed what decisions depend on.
    pub(super) revision: i64,
    /// The same with its hash, if it is one of those just appended.
    pub(super) decisive: Option<Head>,
}

/// Appends `drafts` in their order, and gives the new end of the chain. INVARIANT: duplicates are found under the lock and before
/// anything is hashed, so that the chain has no hole where one was. INVARIANT: a decision is left out when what it was read from is
/// not the newest under the lock.
pub(super) async fn append(
    conn: &mut Conn,
    known: Option<&Head>,
    drafts: &[Draft],
) -> Result<(Vec<Appended>, Extended)> {
    let Locked { head: before, revision } = lock_head(&mut *conn, known).await?;
    let mut head = before.clone();
    let keys: Vec<Uuid> = drafts.iter().filter_map(Draft::event_id).collect();
    let existing = if keys.is_empty() { HashMap::new() } else { entries::existing(&mut *conn, &keys).await? };

    // The first of several with the same key is the one that is recorded; the others are held against it.
    let mut first_of: HashMap<Uuid, usize> = HashMap::new();
    let mut fresh = Vec::with_capacity(drafts.len());
    let mut outcomes: Vec<Outcome<'_>> = Vec::with_capacity(drafts.len());
    for draft in drafts {
        if draft.basis().is_some_and(|basis| basis != revision) {
            outcomes.push(Outcome::Outdated);
            continue;
        }
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
    if !sealed.is_empty() && !entries::extend(conn, &before, &sealed, &head).await.map_err(beyond)? {
        return Err(StoreError::corrupt("ledger", "its head moved under the lock"));
    }
    let decisive = last_decisive(&sealed);
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
            Outcome::Fresh(place) => sealed.get(place).map(appended),
            Outcome::Outdated => Some(Appended::Outdated),
        }
    });
    let revision = decisive.as_ref().map_or(revision, |entry| entry.sequence);
    // Every place was handed out above.
    Ok((told.flatten().collect(), Extended { head, revision, decisive }))
}

fn last_decisive(sealed: &[Sealed<'_>]) -> Option<Head> {
    let entry = sealed.iter().rfind(|entry| entry.event.is_decisive())?;
    Some(Head { sequence: entry.sequence, entry_hash: entry.entry_hash.clone() })
}

fn appended(entry: &Sealed<'_>) -> Appended {
    let (previous_hash, entry_hash) = (HexHash::new(&entry.previous_hash), HexHash::new(&entry.entry_hash));
    Appended::Recorded { sequence: entry.sequence, previous_hash, entry_hash }
}

/// A row that is there already although the chain ends before it was written by a program that does not move the head.
fn beyond(fault: StoreError) -> StoreError {
    match &fault {
        StoreError::Backend(cause) if is_taken(&**cause) => StoreError::Ledger(Box::new(BeyondHead)),
        _ => fault,
    }
}

/// The database already has a row where the next entry belongs.
#[derive(Debug, thiserror::Error)]
#[error("audit_logs has a row beyond the end of the chain: run `epr ledger set-aside`")]
struct BeyondHead;

fn is_taken(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let Some(sqlx::Error::Database(fault)) = cause.downcast_ref::<sqlx::Error>() else { return false };
    // SQLite's trigger speaks before the key does.
    fault.is_unique_violation() || fault.message().contains("REPLACE is refused")
}

/// Appends `drafts` after `end` by one statement, which is a transaction of its own, and moves it. `None` when the chain does not
/// end there any more: then nothing was written.
pub(super) async fn append_after(
    conn: &mut Conn,
    end: &mut Extended,
    drafts: &[Draft],
) -> Result<Option<Vec<Appended>>> {
    let before = end.head.clone();
    let sealed = seal(&mut end.head, drafts);
    if sealed.is_empty() || !entries::extend(conn, &before, &sealed, &end.head).await.map_err(beyond)? {
        return Ok(None);
    }
    end.decisive = last_decisive(&sealed);
    if let Some(entry) = &end.decisive {
        end.revision = entry.sequence;
    }
    Ok(Some(sealed.iter().map(appended).collect()))
}

/// Whether [`append_after`] may take them: an event with an id may be there already, and a decision may be outdated, which are
/// to be looked up under the lock.
pub(super) fn can_append_after(end: &Extended, drafts: &[Draft]) -> bool {
    drafts.iter().all(|draft| draft.event_id().is_none() && draft.basis().is_none_or(|basis| basis == end.revision))
}

/// Whether appends by one statement are worth remembering the end of the chain for.
pub(super) const BY_ONE_STATEMENT: bool = entries::BY_ONE_STATEMENT;

/// Reads the facts of `questions` under the ledger's lock, and appends what `decide` makes of them.
pub(super) async fn append_decisions(
    conn: &mut Conn,
    known: Option<&Head>,
    questions: &[Question],
    decide: Decide<'_>,
) -> Result<(Vec<Option<Appended>>, Extended)> {
    // First the lock, then what changes only under it.
    let locked = lock_head(&mut *conn, known).await?;
    let (facts, _) = together::read(&mut *conn, questions, None).await?;
    let drafts = facts.iter().enumerate().map(|(at, facts)| decide(at, facts.as_ref(), locked.revision));
    let drafts: Vec<Option<Draft>> = drafts.collect();
    let present: Vec<Draft> = drafts.iter().flatten().cloned().collect();
    let (appended, end) = append(conn, known, &present).await?;
    let mut appended = appended.into_iter();
    Ok((drafts.iter().map(|draft| draft.as_ref().and_then(|_| appended.next())).collect(), end))
}

/// Whether facts can be read and an entry can be written; an error that says why not. To be called in a transaction for changes that
/// is rolled back; waits for no lock.
pub(super) async fn ready(conn: &mut Conn, known: Option<&Head>) -> Result<()> {
    // Names every table of the statement behind checks.
    let action = AskedAction::try_from("document:download").map_err(|fault| StoreError::corrupt("action", fault))?;
    together::read(&mut *conn, &[Question::new(Uuid::nil(), action, Uuid::nil())], known).await?;
    let row = sqlx::query(concat!(
        "SELECT h.sequence, (SELECT k.entry_hash FROM audit_logs k WHERE k.sequence = $1) AS known_hash, ",
        in_recovery!(),
        " AS recovering, (SELECT MAX(l.sequence) FROM audit_logs l) AS newest, \
         EXISTS (SELECT 1 FROM platform_events e CROSS JOIN cache_renewals c WHERE 1 = 0) AS every_table \
         FROM audit_chain_head h CROSS JOIN registry_head r WHERE h.id = 1 AND r.id = 1"
    ))
    .bind(known.map_or(0, |known| known.sequence))
    .fetch_optional(&mut *conn)
    .await
    .map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("ledger", "its head row is missing"))?;
    if row.try_get::<bool, _>("recovering").map_err(classify)? {
        return Err(WrongServer::error("it is in recovery (a standby)"));
    }
    lineage::check(known, row.try_get("known_hash").map_err(classify)?)?;
    let head: i64 = row.try_get("sequence").map_err(classify)?;
    if row.try_get::<Option<i64>, _>("newest").map_err(classify)?.is_some_and(|newest| newest > head) {
        return Err(StoreError::Ledger(Box::new(BeyondHead)));
    }
    // A lock on a row is a write: a server that takes none refuses it. One that another transaction holds is passed over.
    sqlx::query(concat!("SELECT h.id FROM audit_chain_head h WHERE h.id = 1", skip_locked!("h")))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    Ok(())
}

/// What is needed of a stored entry to tell whether an event is the same.
pub(in super::super) struct Existing {
    sequence: i64,
    occurred_at: Timestamp,
    previous_hash: String,
    entry_hash: String,
}

pub(in super::super) fn read_existing(row: &Row) -> Result<Existing> {
    Ok(Existing {
        sequence: row.try_get("sequence").map_err(classify)?,
        occurred_at: read_stamp(row.try_get::<Stamp, _>("occurred_at").map_err(classify)?)?,
        previous_hash: row.try_get("previous_hash").map_err(classify)?,
        entry_hash: row.try_get("entry_hash").map_err(classify)?,
    })
}

/// One row of a scan, given the parts that the databases hold differently. Columns by position: a verification spends
/// much of its time here.
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

enum Outcome<'a> {
    Fresh(usize),
    Repeats(usize),
    Stored(&'a Existing),
    Outdated,
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
