//! Appends to `audit_logs` under the ledger's lock, the row of `audit_chain_head`.

use std::collections::HashMap;

use sqlx::Row as _;
use uuid::Uuid;

use super::dialect::{Conn, Row, SqlTime, classify, entries, facts_batch, read_time};
use super::facts::read_revision;
use super::{history, identities};
use crate::decision::{AskedAction, Question};
use crate::domain::{Revision, Timestamp};
use crate::ledger::chain::{Draft, Head, HexHash, Sealed, seal};
use crate::store::continuity::{self, WrongServer};
use crate::store::{Appended, BatchQuestion, DraftDecision, DraftIdentifiedDecision, ReadAt, Result, StoreError};

/// The head of the chain, read under the ledger's lock.
struct LockedHead {
    head: Head,
    /// The sequence of the newest entry that changed what decisions depend on.
    decisive_sequence: i64,
    /// The newest entry that changed the registry in any way.
    revision: Revision,
}

/// Takes the ledger's lock and reads the head; an error unless `known` is an entry of this chain.
async fn lock_head(conn: &mut Conn, known: Option<&Head>) -> Result<LockedHead> {
    // Both rows are locked, so that both are read as they are once the lock is held.
    let row = sqlx::query(concat!(
        "SELECT h.sequence, h.entry_hash, r.sequence AS decisive, r.registry_sequence, \
         CAST(r.incarnation AS TEXT) AS incarnation, ",
        "(SELECT k.entry_hash FROM audit_logs k WHERE k.sequence = $1) AS known_hash, ",
        idle_limit!(),
        " FROM audit_chain_head h CROSS JOIN registry_head r WHERE h.id = 1 AND r.id = 1",
        for_update!("h, r")
    ))
    .bind(known.map_or(0, |known| known.sequence))
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("ledger", "its head row is missing"))?;
    continuity::verify(known, row.try_get("known_hash").map_err(classify)?)?;
    Ok(LockedHead {
        head: read_head(&row)?,
        decisive_sequence: row.try_get("decisive").map_err(classify)?,
        revision: read_revision(&row)?,
    })
}

/// Takes the ledger's lock; returns the sequence of the head.
pub(super) async fn lock(conn: &mut Conn, known: Option<&Head>) -> Result<i64> {
    Ok(lock_head(conn, known).await?.head.sequence)
}

/// Takes the ledger's lock; returns its head and the newest revision.
pub(super) async fn lock_with_revision(conn: &mut Conn, known: Option<&Head>) -> Result<(Head, Revision)> {
    let locked = lock_head(conn, known).await?;
    Ok((locked.head, locked.revision))
}

/// Reads a head from the columns `sequence` and `entry_hash`.
pub(super) fn read_head(row: &Row) -> Result<Head> {
    Ok(Head {
        sequence: row.try_get("sequence").map_err(classify)?,
        entry_hash: row.try_get("entry_hash").map_err(classify)?,
    })
}

/// The head of the chain after an append.
#[derive(Debug, Clone)]
pub(super) struct NewHead {
    pub(super) head: Head,
    /// The sequence of the newest entry that changed what decisions depend on.
    pub(super) decisive_sequence: i64,
    /// That entry, if it was just appended.
    pub(super) decisive: Option<Head>,
    /// The newest entry that changed the registry in any way.
    pub(super) revision: Revision,
}

impl NewHead {
    /// The head after `sealed` was appended under the lock.
    fn after(locked: &LockedHead, head: Head, sealed: &[Sealed<'_>]) -> Self {
        let LockedHead { decisive_sequence, revision, .. } = *locked;
        let mut new = Self { head, decisive_sequence, decisive: None, revision };
        new.note(sealed);
        new
    }

    /// Notes the entries that were appended last.
    pub(super) fn note(&mut self, sealed: &[Sealed<'_>]) {
        self.decisive = last_decisive(sealed);
        if let Some(entry) = &self.decisive {
            self.decisive_sequence = entry.sequence;
        }
        if let Some(entry) = sealed.iter().rfind(|entry| entry.event.changes_registry()) {
            self.revision.sequence = entry.sequence;
        }
    }
}

/// The result for a draft before anything is hashed.
enum Resolution<'a> {
    /// It is appended, as the entry at this index.
    New(usize),
    /// It has the key of the new entry at this index.
    Repeats(usize),
    /// It has the key of a stored entry.
    Stored(&'a Existing),
    /// The facts of the decision are not the newest.
    Outdated,
}

/// Appends `drafts` in their order; returns one outcome a draft, and the new head.
///
/// INVARIANT: duplicates are found under the lock and before anything is hashed, so that the chain has no gap.
/// INVARIANT: a decision is left out when its facts are not the newest under the lock.
pub(super) async fn append(
    conn: &mut Conn,
    known: Option<&Head>,
    drafts: &[Draft],
) -> Result<(Vec<Appended>, NewHead)> {
    let locked = lock_head(&mut *conn, known).await?;
    let mut head = locked.head.clone();
    let keys: Vec<Uuid> = drafts.iter().filter_map(Draft::event_id).collect();
    let existing = if keys.is_empty() { HashMap::new() } else { entries::existing(&mut *conn, &keys).await? };
    let (resolutions, new) = resolve(drafts, locked.decisive_sequence, &existing);
    let sealed = seal(&mut head, new);
    if !sealed.is_empty() {
        let written = history::append(conn, (&locked.head, &head), &sealed, locked.revision.sequence).await;
        if !written.map_err(row_beyond_head)? {
            return Err(StoreError::corrupt("ledger", "its head moved under the lock"));
        }
    }
    let outcomes = drafts.iter().zip(resolutions).map(|(draft, resolution)| outcome(draft, &resolution, &sealed));
    // Every index is one of `sealed`.
    let outcomes = outcomes.flatten().collect();
    Ok((outcomes, NewHead::after(&locked, head, &sealed)))
}

/// Resolves each draft, and returns the drafts to append. The first of several with the same key is appended; the
/// others are compared with it.
fn resolve<'a, 'd>(
    drafts: &'d [Draft],
    decisive_sequence: i64,
    existing: &'a HashMap<Uuid, Existing>,
) -> (Vec<Resolution<'a>>, Vec<&'d Draft>) {
    let mut first_of: HashMap<Uuid, usize> = HashMap::new();
    let mut new = Vec::with_capacity(drafts.len());
    let mut resolutions = Vec::with_capacity(drafts.len());
    for draft in drafts {
        if draft.basis().is_some_and(|basis| basis != decisive_sequence) {
            resolutions.push(Resolution::Outdated);
            continue;
        }
        let earlier = draft.event_id().and_then(|key| first_of.get(&key).copied());
        let stored = draft.event_id().and_then(|key| existing.get(&key));
        resolutions.push(match (stored, earlier) {
            (Some(stored), _) => Resolution::Stored(stored),
            (None, Some(index)) => Resolution::Repeats(index),
            (None, None) => {
                if let Some(key) = draft.event_id() {
                    first_of.insert(key, new.len());
                }
                new.push(draft);
                Resolution::New(new.len() - 1)
            }
        });
    }
    (resolutions, new)
}

fn outcome(draft: &Draft, resolution: &Resolution<'_>, sealed: &[Sealed<'_>]) -> Option<Appended> {
    let compare = |sequence: i64, occurred_at, previous_hash: &str, entry_hash: &str| {
        if draft.is_recorded_as(sequence, occurred_at, previous_hash, entry_hash) {
            Appended::Duplicate { sequence }
        } else {
            Appended::Conflict { sequence }
        }
    };
    match resolution {
        Resolution::Stored(entry) => {
            Some(compare(entry.sequence, entry.occurred_at, &entry.previous_hash, &entry.entry_hash))
        }
        Resolution::Repeats(index) => sealed.get(*index).map(|entry| {
            compare(entry.sequence, entry.event.event().occurred_at, &entry.previous_hash, &entry.entry_hash)
        }),
        Resolution::New(index) => sealed.get(*index).map(recorded),
        Resolution::Outdated => Some(Appended::Outdated),
    }
}

/// Returns the last of `sealed` that changes what decisions depend on.
fn last_decisive(sealed: &[Sealed<'_>]) -> Option<Head> {
    let entry = sealed.iter().rfind(|entry| entry.event.is_decisive())?;
    Some(Head { sequence: entry.sequence, entry_hash: entry.entry_hash.clone() })
}

/// The outcome of an entry that was appended.
pub(super) fn recorded(entry: &Sealed<'_>) -> Appended {
    let (previous_hash, entry_hash) = (HexHash::new(&entry.previous_hash), HexHash::new(&entry.entry_hash));
    Appended::Recorded { sequence: entry.sequence, previous_hash, entry_hash }
}

/// Explains a unique violation: a row exists beyond the head, written by a program that does not move the head.
pub(super) fn row_beyond_head(error: StoreError) -> StoreError {
    match &error {
        StoreError::Backend(cause) if is_taken(&**cause) => StoreError::Ledger(Box::new(BeyondHead)),
        _ => error,
    }
}

/// The database already has a row where the next entry belongs.
#[derive(Debug, thiserror::Error)]
#[error("audit_logs has a row beyond the end of the chain: run `epr ledger set-aside`")]
struct BeyondHead;

fn is_taken(cause: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
    let Some(sqlx::Error::Database(db_error)) = cause.downcast_ref::<sqlx::Error>() else { return false };
    // The statement may write other tables, too.
    if db_error.table().is_some_and(|table| table != "audit_logs") {
        return false;
    }
    // SQLite's trigger fires before the key is checked.
    db_error.is_unique_violation() || db_error.message().contains("REPLACE is refused")
}

/// Reads the facts of `questions` under the ledger's lock, and appends the entry that `draft` makes of each.
pub(super) async fn append_decisions(
    conn: &mut Conn,
    known: Option<&Head>,
    questions: &[Question],
    draft: DraftDecision<'_>,
) -> Result<(Vec<Option<Appended>>, NewHead)> {
    // First the lock, then what changes only under it.
    let locked = lock_head(&mut *conn, known).await?;
    let (facts, _) = facts_batch::read(&mut *conn, questions, None).await?;
    let read_at = ReadAt { decisive: locked.decisive_sequence, revision: locked.revision };
    append_present(conn, known, facts.iter().enumerate().map(|(index, facts)| draft(index, facts.as_ref(), read_at)))
        .await
}

/// Reads the ids and the facts of `questions` under the ledger's lock, and appends the entry that `draft` makes of
/// each.
pub(super) async fn append_identified_decisions(
    conn: &mut Conn,
    known: Option<&Head>,
    questions: &[BatchQuestion],
    draft: DraftIdentifiedDecision<'_>,
) -> Result<(Vec<Option<Appended>>, NewHead)> {
    // First the lock, then what changes only under it.
    let locked = lock_head(&mut *conn, known).await?;
    let (facts, _) = identities::facts(&mut *conn, questions, None).await?;
    let read_at = ReadAt { decisive: locked.decisive_sequence, revision: locked.revision };
    let drafts = facts.iter().enumerate().map(|(index, facts)| draft(index, facts, read_at));
    append_present(conn, known, drafts.collect::<Result<Vec<_>>>()?.into_iter()).await
}

/// Appends the drafts that are present.
async fn append_present(
    conn: &mut Conn,
    known: Option<&Head>,
    drafts: impl Iterator<Item = Option<Draft>> + Send,
) -> Result<(Vec<Option<Appended>>, NewHead)> {
    let drafts: Vec<Option<Draft>> = drafts.collect();
    let present: Vec<Draft> = drafts.iter().flatten().cloned().collect();
    let (appended, head) = append(conn, known, &present).await?;
    let mut appended = appended.into_iter();
    Ok((drafts.iter().map(|draft| draft.as_ref().and_then(|_| appended.next())).collect(), head))
}

/// Checks that facts can be read and an entry can be written. To be called in a transaction for changes that is rolled
/// back; waits for no lock.
pub(super) async fn ready(conn: &mut Conn, known: Option<&Head>) -> Result<()> {
    // Names every table of the statement behind checks.
    let action = AskedAction::try_from("document:download").map_err(|error| StoreError::corrupt("action", error))?;
    facts_batch::read(&mut *conn, &[Question::new(Uuid::nil(), action, Uuid::nil())], known).await?;
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
    continuity::verify(known, row.try_get("known_hash").map_err(classify)?)?;
    let head: i64 = row.try_get("sequence").map_err(classify)?;
    if row.try_get::<Option<i64>, _>("newest").map_err(classify)?.is_some_and(|newest| newest > head) {
        return Err(StoreError::Ledger(Box::new(BeyondHead)));
    }
    // A lock on a row is a write: a read-only server refuses it. A row that another transaction has locked is passed
    // over.
    sqlx::query(concat!("SELECT h.id FROM audit_chain_head h WHERE h.id = 1", skip_locked!("h")))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    Ok(())
}

/// The columns of a stored entry that show whether an event is the same.
pub(in super::super) struct Existing {
    sequence: i64,
    occurred_at: Timestamp,
    previous_hash: String,
    entry_hash: String,
}

pub(in super::super) fn read_existing(row: &Row) -> Result<Existing> {
    Ok(Existing {
        sequence: row.try_get("sequence").map_err(classify)?,
        occurred_at: read_time(row.try_get::<SqlTime, _>("occurred_at").map_err(classify)?)?,
        previous_hash: row.try_get("previous_hash").map_err(classify)?,
        entry_hash: row.try_get("entry_hash").map_err(classify)?,
    })
}
