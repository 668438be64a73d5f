//! A page of the change feed: the entries that changed the registry, oldest first.
//!
//! INVARIANT: sequences are assigned under the ledger's lock, so that a snapshot that has an entry has every one before
//! it. A reader that goes on after the last entry of a page misses none.

use std::cmp::Ordering;

use sqlx::QueryBuilder;

use super::dialect::{Conn, Db};
use super::facts::Accepted;
use super::ledger_page::{COLUMNS, read};
use super::{listing, revisions};
use crate::domain::moment::NotAskable;
use crate::domain::{Change, Revision};
use crate::ledger::chain::Head;
use crate::store::{Result, RowVisitor};

/// The entries of the first batch. A stream stops at 64 KiB: of entries of 1 MiB each few are read in vain.
const FIRST_BATCH: u32 = 4;

/// Selects a page of the entries after a sequence.
#[must_use]
pub fn changes_query(after: i64, limit: u32) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    query.push(concat!(" FROM audit_logs l ", only_by_index!("ix_audit_logs_changes"), " WHERE "));
    query.push(concat!(changes_registry!(), " AND l.sequence > ")).push_bind(after);
    query.push(" ORDER BY l.sequence LIMIT ").push_bind(i64::from(limit));
    query
}

/// Shows at most `limit` changes after a revision to `visit` until it says `false`; returns the state of the registry
/// in the snapshot that is open.
///
/// # Errors
/// `NotAskable` when this ledger has not reached the revision; `Unavailable` on a server that lacks the entry `known`.
pub(super) async fn visit(
    conn: &mut Conn,
    known: Option<&Head>,
    (after, limit): (Option<Revision>, u32),
    visit: RowVisitor<'_, Change>,
) -> Result<Accepted> {
    let (accepted, head) = revisions::read(&mut *conn, known).await?;
    let present = accepted.revision;
    if let Some(after) = after {
        match after.partial_cmp(&Revision { sequence: head, ..present }) {
            None => return Err(NotAskable::OtherIncarnation { present }.into()),
            Some(Ordering::Greater) => return Err(NotAskable::Unreached { present }.into()),
            Some(_) => {}
        }
    }
    let after = after.map_or(0, |after| after.sequence);
    // What most readers ask when nothing has happened.
    if after >= present.sequence {
        return Ok(accepted);
    }
    let query = |last: Option<i64>, limit| changes_query(last.unwrap_or(after), limit);
    let mut visit = |entry: crate::domain::AuditEntry| {
        let revision = Revision { sequence: entry.sequence, ..present };
        visit(Change { revision, entry })
    };
    let columns: listing::Columns<_, _> = (read, |entry: &crate::domain::AuditEntry| entry.sequence);
    listing::show_from(conn, FIRST_BATCH, (limit, None), query, columns, &mut visit).await?;
    Ok(accepted)
}
