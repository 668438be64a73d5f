//! The state that a moment of the past names, and whether history has it.

use std::cmp::Ordering;

use sqlx::Row as _;

use super::super::dialect::{Conn, Row, SqlTime, bind_time, classify, read_time};
use super::super::facts::{self, Accepted, Origin};
use super::super::revisions;
use super::super::sources::AsOf;
use crate::decision::{Facts, Question};
use crate::domain::{Moment, NotAskable, PageMoment, PastMoment, Revision, Timestamp};
use crate::ledger::chain::Head;
use crate::store::{Result, StoreError};

/// EPR's own entries about rows of the registry: messages have an event id, whatever source they claim.
macro_rules! of_registry {
    () => {
        "l.source = 'entity_permissions_core' AND l.event_id IS NULL AND l.action IN ( \
         'entity.create', 'entity.update', 'entity.archive', 'entity.baseline', \
         'role.create', 'role.update', 'role.baseline', \
         'role_assignment.create', 'role_assignment.delete', 'role_assignment.baseline', \
         'principal.create', 'principal.update', 'principal.erase', 'principal.baseline')"
    };
}
pub(super) use of_registry;

/// The heads of the registry, the ledger and history, and what a moment is found by, in one snapshot.
const HEADS: &str = concat!(
    "SELECT ",
    in_recovery!(),
    " AS recovering, o.sequence AS decisive, o.entry_hash AS decisive_hash, o.registry_sequence, \
     CAST(o.incarnation AS TEXT) AS incarnation, ",
    moment_columns!("$1", "$2"),
    " FROM registry_head o CROSS JOIN audit_chain_head h CROSS JOIN history_head x \
     WHERE o.id = 1 AND h.id = 1 AND x.id = 1"
);

/// The state of a time.
const OF_TIME: &str = "SELECT t.sequence FROM registry_times t WHERE t.recorded_at <= $1 \
     ORDER BY t.recorded_at DESC, t.sequence DESC LIMIT 1";

/// Where the ledger and history end, and what a moment was found by.
pub(in super::super) struct Heads {
    /// The state that a read of the present would have.
    accepted: Accepted,
    head: i64,
    complete_to: i64,
    began: i64,
    is_filled: bool,
    /// The state of the time of the moment.
    of_time: Option<i64>,
    /// The time of the entry of the revision of the moment.
    entry_time: Option<Timestamp>,
    first_timed: Option<i64>,
}

impl Heads {
    /// Reads the row of a statement with the columns of [`HEADS`]; an error unless `known` is an entry of this ledger.
    pub(in super::super) async fn read(conn: &mut Conn, row: &Row, known: Option<&Head>) -> Result<Self> {
        let mut origin = Origin::default();
        origin.add(row)?;
        let number = |name| row.try_get::<Option<i64>, _>(name).map_err(classify).map(Option::unwrap_or_default);
        let entry_time: Option<SqlTime> = row.try_get("entry_time").map_err(classify)?;
        Ok(Self {
            head: number("head")?,
            complete_to: number("complete_to")?.max(0),
            began: number("began")?,
            is_filled: row.try_get("filled").map_err(classify)?,
            of_time: row.try_get("of_time").map_err(classify)?,
            entry_time: entry_time.map(read_time).transpose()?,
            first_timed: row.try_get("first_timed").map_err(classify)?,
            accepted: origin.accept(conn, known).await?,
        })
    }
}

async fn heads(conn: &mut Conn, known: Option<&Head>, moment: Moment) -> Result<Heads> {
    let row = sqlx::query(HEADS)
        .bind(moment.at.map(bind_time))
        .bind(moment.revision.map(|revision| revision.sequence))
        .fetch_optional(&mut *conn)
        .await
        .map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("history_head", "its row is missing"))?;
    Heads::read(conn, &row, known).await
}

/// The most reads of facts about a time until the state of the time stays the same: changes may be recorded meanwhile.
const MAX_READS: usize = 5;

/// Returns the moment that `moment` names, and the facts of `question` in it. Facts and moment are read by one
/// statement: about a revision there is no other one, about a time one before, which finds its state.
///
/// # Errors
/// Those of [`resolve`].
pub(in super::super) async fn facts(
    conn: &mut Conn,
    question: &Question,
    (moment, now): (Moment, Timestamp),
    known: Option<&Head>,
) -> Result<(PastMoment, Option<Facts>, Accepted)> {
    let mut sequence = match (moment.revision, moment.at) {
        (Some(revision), _) => revision.sequence,
        (None, Some(at)) => {
            let found = sqlx::query_scalar(OF_TIME).bind(bind_time(at)).fetch_optional(&mut *conn).await;
            found.map_err(classify)?.unwrap_or(0)
        }
        (None, None) => 0,
    };
    for _ in 0..MAX_READS {
        let (found, heads) = facts::read_past(&mut *conn, question, (sequence, moment), known).await?;
        let past = settle(&mut *conn, &heads, moment, now).await?;
        if past.revision.sequence == sequence {
            return Ok((past, found, heads.accepted));
        }
        sequence = past.revision.sequence;
    }
    Err(StoreError::Contention("the registry changes while the state of a time is read".into()))
}

/// Returns the state that `moment` names, and its time. `now` is the present time: at a later one the registry is the
/// present one.
///
/// The state of a time is the last one that was recorded at that time or before, by the clock of the database and under
/// the ledger's lock (`registry_times`): what a read of that time saw.
///
/// # Errors
/// `NotAskable`; `Unavailable` on a server that lacks the entry `known`.
pub(in super::super) async fn resolve(
    conn: &mut Conn,
    known: Option<&Head>,
    moment: Moment,
    now: Timestamp,
) -> Result<(PastMoment, Accepted)> {
    let heads = heads(&mut *conn, known, moment).await?;
    let past = settle(conn, &heads, moment, now).await?;
    Ok((past, heads.accepted))
}

/// The moment that `moment` names, as `heads` say.
async fn settle(conn: &mut Conn, heads: &Heads, moment: Moment, now: Timestamp) -> Result<PastMoment> {
    let present = heads.accepted.revision;
    let incomplete = || NotAskable::Incomplete { complete_to: Revision { sequence: heads.complete_to, ..present } };
    if !heads.is_filled {
        return Err(incomplete().into());
    }
    let (sequence, at) = match (moment.revision, moment.at) {
        (Some(revision), at) => (reached(revision, heads)?, at.or(heads.entry_time)),
        (None, Some(at)) if at >= now => (present.sequence, Some(at)),
        (None, Some(at)) => (heads.of_time.unwrap_or(0), Some(at)),
        (None, None) => (present.sequence, Some(now)),
    };
    let is_known = if heads.began > 0 {
        sequence >= heads.began
    } else {
        heads.first_timed.is_some_and(|first| sequence >= first)
    };
    if !is_known {
        let first = first(conn, heads).await?;
        if sequence < first.revision.sequence {
            return Err(NotAskable::BeforeFirst { first }.into());
        }
    }
    // Up to the newest change history is complete, or it lacks no change before the sequence.
    if sequence > heads.complete_to && present.sequence > heads.complete_to {
        return Err(incomplete().into());
    }
    let at = at.ok_or_else(|| StoreError::corrupt("ledger", format!("entry {sequence} is missing")))?;
    Ok(PastMoment { revision: Revision { sequence, ..present }, at })
}

/// The state that a page of a list is read at.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct PageState {
    /// Where the rows are.
    pub(in super::super) when: AsOf,
    pub(in super::super) revision: Revision,
    /// The time that windows are compared with; `None` for the present one.
    pub(in super::super) at: Option<Timestamp>,
}

impl PageState {
    /// The state that `moment` names. While the registry is still at the revision of the first page, the tables of the
    /// present have it.
    ///
    /// # Errors
    /// Those of [`resolve`].
    pub(in super::super) async fn of(
        conn: &mut Conn,
        known: Option<&Head>,
        moment: PageMoment,
    ) -> Result<(Self, Accepted)> {
        let (asked, now) = match moment {
            PageMoment::Present => {
                let (accepted, _) = revisions::read(conn, known).await?;
                return Ok((Self { when: AsOf::Now, revision: accepted.revision, at: None }, accepted));
            }
            PageMoment::Pinned(first) => {
                let (accepted, _) = revisions::read(&mut *conn, known).await?;
                if accepted.revision == first.revision {
                    return Ok((Self { when: AsOf::Now, revision: first.revision, at: Some(first.at) }, accepted));
                }
                (Moment { at: Some(first.at), revision: Some(first.revision) }, first.at)
            }
            PageMoment::Asked(moment, now) => match moment.of_present(now) {
                Some(at) => {
                    let (accepted, _) = revisions::read(conn, known).await?;
                    return Ok((Self { when: AsOf::Now, revision: accepted.revision, at: Some(at) }, accepted));
                }
                None => (moment, now),
            },
        };
        let (past, accepted) = resolve(conn, known, asked, now).await?;
        let when = AsOf::Entry(past.revision.sequence);
        Ok((Self { when, revision: past.revision, at: Some(past.at) }, accepted))
    }
}

/// The sequence of a revision that this ledger has reached.
fn reached(revision: Revision, heads: &Heads) -> Result<i64> {
    let present = heads.accepted.revision;
    match revision.partial_cmp(&Revision { sequence: heads.head, ..present }) {
        None => Err(NotAskable::OtherIncarnation { present }.into()),
        Some(Ordering::Greater) => Err(NotAskable::Unreached { present }.into()),
        Some(_) => Ok(revision.sequence),
    }
}

/// The first moment that can be asked.
async fn first(conn: &mut Conn, heads: &Heads) -> Result<PastMoment> {
    let sequence = if heads.began > 0 {
        Some(heads.began)
    } else {
        let first =
            concat!("SELECT l.sequence FROM audit_logs l WHERE ", changes_registry!(), " ORDER BY l.sequence LIMIT 1");
        sqlx::query_scalar(first).fetch_optional(&mut *conn).await.map_err(classify)?
    };
    let sequence: i64 = sequence.ok_or(NotAskable::NoHistory)?;
    // Entries of one append have one time.
    let at: Option<SqlTime> = sqlx::query_scalar(
        "SELECT t.recorded_at FROM registry_times t WHERE t.sequence >= $1 ORDER BY t.sequence LIMIT 1",
    )
    .bind(sequence)
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    let at = at.ok_or_else(|| StoreError::corrupt("registry_times", format!("no time from {sequence} on")))?;
    Ok(PastMoment { revision: Revision { sequence, ..heads.accepted.revision }, at: read_time(at)? })
}
