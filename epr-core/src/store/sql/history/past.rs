//! The state that a moment of the past names, and whether history has it.

use std::cmp::Ordering;

use sqlx::Row as _;

use super::super::dialect::{Conn, Row, SqlTime, bind_time, classify, read_time};
use super::super::facts::{Accepted, Origin};
use super::super::revisions;
use super::super::sources::AsOf;
use crate::domain::{Moment, NotAskable, PageMoment, PastMoment, Revision, Timestamp};
use crate::ledger::chain::Head;
use crate::store::{Result, StoreError};

/// EPR's own entries about rows of the registry: messages have an event id, whatever source they claim. The
/// condition of the index `ix_audit_logs_registry_time`.
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

/// Entries are appended in nearly the order of their times. Of those within this many seconds the last one counts.
const MAX_DISORDER_SECONDS: i64 = 10;

/// The heads of the registry, the ledger and history, in one snapshot.
const HEADS: &str = concat!(
    "SELECT ",
    in_recovery!(),
    " AS recovering, o.sequence AS decisive, o.entry_hash AS decisive_hash, o.registry_sequence, \
     CAST(o.incarnation AS TEXT) AS incarnation, h.sequence AS head, x.sequence AS complete_to, x.began, x.filled \
     FROM registry_head o CROSS JOIN audit_chain_head h CROSS JOIN history_head x \
     WHERE o.id = 1 AND h.id = 1 AND x.id = 1"
);

/// Where the ledger and history end.
struct Heads {
    /// The state that a read of the present would have.
    accepted: Accepted,
    head: i64,
    complete_to: i64,
    began: i64,
    is_filled: bool,
}

async fn heads(conn: &mut Conn, known: Option<&Head>) -> Result<Heads> {
    let row = sqlx::query(HEADS).fetch_optional(&mut *conn).await.map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("history_head", "its row is missing"))?;
    let mut origin = Origin::default();
    origin.add(&row)?;
    let complete_to = row.try_get::<i64, _>("complete_to").map_err(classify)?.max(0);
    let head = row.try_get("head").map_err(classify)?;
    let (began, is_filled) = (row.try_get("began").map_err(classify)?, row.try_get("filled").map_err(classify)?);
    Ok(Heads { accepted: origin.accept(conn, known).await?, head, complete_to, began, is_filled })
}

/// Returns the state that `moment` names, and its time. `now` is the present time: at a later one the registry is the
/// present one.
///
/// Which entry belongs to a time: the last one, in the order of the ledger, of those whose time is within
/// [`MAX_DISORDER_SECONDS`] before the latest time that is not after it.
///
/// # Errors
/// `NotAskable`; `Unavailable` on a server that lacks the entry `known`.
pub(in super::super) async fn resolve(
    conn: &mut Conn,
    known: Option<&Head>,
    moment: Moment,
    now: Timestamp,
) -> Result<(PastMoment, Accepted)> {
    let heads = heads(&mut *conn, known).await?;
    let present = heads.accepted.revision;
    let incomplete = || NotAskable::Incomplete { complete_to: Revision { sequence: heads.complete_to, ..present } };
    if !heads.is_filled {
        return Err(incomplete().into());
    }
    let (sequence, at) = match (moment.revision, moment.at) {
        (Some(revision), at) => {
            let sequence = reached(revision, &heads)?;
            (sequence, at.or(time_of(&mut *conn, sequence).await?))
        }
        (None, Some(at)) if at >= now => (present.sequence, Some(at)),
        (None, Some(at)) => (newest_at(&mut *conn, at).await?.unwrap_or(0), Some(at)),
        (None, None) => (present.sequence, Some(now)),
    };
    let first = first(&mut *conn, &heads).await?;
    if sequence < first.revision.sequence {
        return Err(NotAskable::BeforeFirst { first }.into());
    }
    // Up to the newest change history is complete, or it lacks no change before the sequence.
    if sequence > heads.complete_to && present.sequence > heads.complete_to {
        return Err(incomplete().into());
    }
    let at = at.ok_or_else(|| StoreError::corrupt("ledger", format!("entry {sequence} is missing")))?;
    Ok((PastMoment { revision: Revision { sequence, ..present }, at }, heads.accepted))
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
    let found = if heads.began > 0 {
        time_of(&mut *conn, heads.began).await?.map(|at| (heads.began, at))
    } else {
        let first = concat!(
            "SELECT l.sequence, l.occurred_at FROM audit_logs l WHERE ",
            of_registry!(),
            " ORDER BY l.sequence LIMIT 1"
        );
        let row = sqlx::query(first).fetch_optional(conn).await.map_err(classify)?;
        row.map(|row| Ok::<_, StoreError>((row.try_get("sequence").map_err(classify)?, read_occurred_at(&row)?)))
            .transpose()?
    };
    let (sequence, at) = found.ok_or(NotAskable::NoHistory)?;
    Ok(PastMoment { revision: Revision { sequence, ..heads.accepted.revision }, at })
}

async fn time_of(conn: &mut Conn, sequence: i64) -> Result<Option<Timestamp>> {
    let row = sqlx::query("SELECT l.occurred_at FROM audit_logs l WHERE l.sequence = $1")
        .bind(sequence)
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    row.as_ref().map(read_occurred_at).transpose()
}

fn read_occurred_at(row: &Row) -> Result<Timestamp> {
    read_time(row.try_get::<SqlTime, _>("occurred_at").map_err(classify)?)
}

/// The sequence that belongs to a time; `None` before the first entry.
async fn newest_at(conn: &mut Conn, at: Timestamp) -> Result<Option<i64>> {
    let latest = concat!(
        "SELECT l.occurred_at FROM audit_logs l WHERE ",
        of_registry!(),
        " AND l.occurred_at <= $1 ORDER BY l.occurred_at DESC, l.sequence DESC LIMIT 1"
    );
    let row = sqlx::query(latest).bind(bind_time(at)).fetch_optional(&mut *conn).await.map_err(classify)?;
    let Some(latest) = row.as_ref().map(read_occurred_at).transpose()? else { return Ok(None) };
    let newest = concat!(
        "SELECT MAX(l.sequence) FROM audit_logs l WHERE ",
        of_registry!(),
        " AND l.occurred_at <= $1 AND l.occurred_at > $2"
    );
    sqlx::query_scalar(newest)
        .bind(bind_time(latest))
        .bind(bind_time(latest.plus_seconds(-MAX_DISORDER_SECONDS)))
        .fetch_one(conn)
        .await
        .map_err(classify)
}
