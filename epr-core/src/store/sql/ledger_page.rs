//! Pages of the ledger: the statement that a filter makes.
//!
//! A page is in the order of the sequence. For a filter by time that order is slow unless most of the ledger matches:
//! the entries of one day in the middle would be searched from the end of the chain. So the index on time is read
//! first, for a bounded number of entries, to find the range of their sequences. Must never leave out an entry: the
//! range only narrows the search.

use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::dialect::{Conn, Db, Id, Row, SqlTime, bind_id, bind_time, classify, read_id, read_time};
use super::listing;
use crate::domain::audit::CanonicalDetails;
use crate::domain::{AuditEntry, AuditFilter, AuditPage};
use crate::store::{Result, RowVisitor, StoreError};

/// Up to this many entries, a time span is read by the index on time and then sorted.
const FEW: i64 = 5_000;

/// Up to this many entries, the index on time is read to the end of the span.
const LOOKED_UP: i64 = 50_000;

/// The facts about a filter that the index on time shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeSpan {
    /// There is no filter by time, or it matches too many entries.
    Unknown,
    /// It matches few entries, perhaps far apart in the sequence.
    Few,
    /// The first and the last sequence of its entries.
    Between(i64, i64),
}

impl TimeSpan {
    /// Reads the row that [`span_query`] selects.
    ///
    /// # Errors
    /// The row is corrupt.
    pub fn of(row: &Row) -> Result<Self> {
        let number = |column| row.try_get::<Option<i64>, _>(column).map_err(classify);
        Ok(match (number("entries")?.unwrap_or_default(), number("first")?, number("last")?) {
            (..=FEW, _, _) => Self::Few,
            (..=LOOKED_UP, Some(first), Some(last)) => Self::Between(first, last),
            _ => Self::Unknown,
        })
    }
}

/// Selects the row of [`TimeSpan::of`]; `None` when the filter has no time.
#[must_use]
pub fn span_query(filter: &AuditFilter) -> Option<QueryBuilder<Db>> {
    if filter.occurred_from.is_none() && filter.occurred_to.is_none() {
        return None;
    }
    let mut query = QueryBuilder::<Db>::new(
        "SELECT COUNT(*) AS entries, MIN(t.sequence) AS first, MAX(t.sequence) AS last \
         FROM (SELECT l.sequence FROM audit_logs l WHERE 1 = 1",
    );
    times(&mut query, filter);
    // The order makes the databases read the index rather than the table.
    query.push(" ORDER BY l.occurred_at LIMIT ").push_bind(LOOKED_UP + 1).push(") t");
    Some(query)
}

/// The columns of an entry `l`.
pub(super) const COLUMNS: &str = "SELECT l.sequence, l.previous_hash, l.entry_hash, l.hash_version, l.event_id, \
     l.source, l.action, l.actor_id, l.actor_type, l.entity_id, l.entity_type, l.correlation_id, \
     CAST(l.details AS TEXT) AS details, l.occurred_at";

/// The entries that an index finds by the principal in their details. Decisions are most of a ledger and are not among
/// them: the index would cost each of them an insertion.
const ABOUT_PRINCIPALS: &str = " AND l.source = 'entity_permissions_core' AND l.action IN ('principal.create', \
     'principal.erase', 'principal.update', 'role_assignment.create', 'role_assignment.delete')";
/// The entries that an index finds by the assignment in their details.
const ABOUT_ASSIGNMENTS: &str = " AND l.source = 'entity_permissions_core' \
     AND l.action IN ('role_assignment.create', 'role_assignment.delete')";

/// Selects a page.
#[must_use]
pub fn page_query(filter: &AuditFilter, page: AuditPage, span: TimeSpan) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::<Db>::new(COLUMNS);
    let Some(principal) = filter.principal_id else {
        query.push(" FROM audit_logs l WHERE 1 = 1");
        conditions(&mut query, filter, page, span);
        in_order(&mut query, page, span);
        return query;
    };
    // Two indexes find its entries, each in the order of the page: a page is among the first of both.
    query.push(" FROM (SELECT t.sequence FROM (SELECT l.sequence FROM audit_logs l WHERE ");
    if span == TimeSpan::Few {
        query.push("l.actor_id = ").push_bind(bind_id(principal));
        conditions(&mut query, filter, page, span);
        in_order(&mut query, page, span);
    } else {
        by_actor(&mut query, principal, filter, page, span);
    }
    query.push(") t UNION SELECT t.sequence FROM (SELECT l.sequence FROM audit_logs l WHERE 1 = 1");
    query.push(ABOUT_PRINCIPALS);
    query.push(concat!(" AND ", id_in_details!("principal_id"), " = ")).push_bind(principal.to_string());
    conditions(&mut query, filter, page, span);
    in_order(&mut query, page, span);
    query.push(concat!(") t) m ", join_probing!("audit_logs", "l", "l.sequence = m.sequence")));
    in_order(&mut query, page, TimeSpan::Unknown);
    query
}

/// The entries of an actor, as a range of the index on actor and sequence.
///
/// An equality would let the database read the ledger in its order and filter by the actor: it expects an actor's
/// entries everywhere, and reads all of the ledger when they are at its other end. Only that index has this order.
fn by_actor(query: &mut QueryBuilder<Db>, actor: Uuid, filter: &AuditFilter, page: AuditPage, span: TimeSpan) {
    query.push("l.actor_id >= ").push_bind(bind_id(actor)).push(" AND l.actor_id <= ").push_bind(bind_id(actor));
    if let Some(after) = page.after {
        query.push(" AND (l.actor_id, l.sequence) ").push(if page.ascending { "> (" } else { "< (" });
        query.push_bind(bind_id(actor)).push(", ").push_bind(after).push(")");
    }
    conditions(query, filter, page, span);
    let order = if page.ascending { " LIMIT " } else { " DESC LIMIT " };
    query.push(" ORDER BY l.actor_id").push(if page.ascending { "" } else { " DESC" });
    query.push(", l.sequence").push(order).push_bind(i64::from(page.limit));
}

/// The conditions of a page but the one on the principal, on entries `l`.
fn conditions(query: &mut QueryBuilder<Db>, filter: &AuditFilter, page: AuditPage, span: TimeSpan) {
    for (column, wanted) in [
        ("action", &filter.action),
        ("entity_type", &filter.entity_type),
        ("source", &filter.source),
        ("correlation_id", &filter.correlation_id),
    ] {
        if let Some(text) = wanted {
            query.push(" AND l.").push(column).push(" = ").push_bind(text.clone());
        }
    }
    for (column, wanted) in
        [("actor_id", filter.actor_id), ("entity_id", filter.entity_id), ("event_id", filter.event_id)]
    {
        if let Some(wanted) = wanted {
            query.push(" AND l.").push(column).push(" = ").push_bind(bind_id(wanted));
        }
    }
    if let Some(assignment) = filter.assignment_id {
        query.push(ABOUT_ASSIGNMENTS).push(concat!(" AND ", id_in_details!("assignment_id"), " = "));
        query.push_bind(assignment.to_string());
    }
    times(query, filter);
    let sequence = sequence_in(span);
    let mut bound = |comparison: &str, value: Option<i64>| {
        if let Some(value) = value {
            query.push(" AND ").push(sequence).push(comparison).push_bind(value);
        }
    };
    bound(" >= ", filter.from_sequence);
    bound(" <= ", filter.to_sequence);
    if let TimeSpan::Between(first, last) = span {
        bound(" >= ", Some(first));
        bound(" <= ", Some(last));
    }
    bound(if page.ascending { " > " } else { " < " }, page.after);
}

/// The sequence of `l`. An expression instead of the column prevents both databases from reading by the index on it.
fn sequence_in(span: TimeSpan) -> &'static str {
    if span == TimeSpan::Few { "+l.sequence" } else { "l.sequence" }
}

/// The order and the limit of a page.
fn in_order(query: &mut QueryBuilder<Db>, page: AuditPage, span: TimeSpan) {
    query.push(" ORDER BY ").push(sequence_in(span)).push(if page.ascending { " LIMIT " } else { " DESC LIMIT " });
    query.push_bind(i64::from(page.limit));
}

fn times(query: &mut QueryBuilder<Db>, filter: &AuditFilter) {
    if let Some(from) = filter.occurred_from {
        query.push(" AND l.occurred_at >= ").push_bind(bind_time(from));
    }
    if let Some(to) = filter.occurred_to {
        query.push(" AND l.occurred_at <= ").push_bind(bind_time(to));
    }
}

/// Shows a page to `visit` until it says `false`.
pub(super) async fn list(
    conn: &mut Conn,
    filter: &AuditFilter,
    page: AuditPage,
    visit: RowVisitor<'_, AuditEntry>,
) -> Result<()> {
    let span = match span_query(filter) {
        Some(mut query) => TimeSpan::of(&query.build().fetch_one(&mut *conn).await.map_err(classify)?)?,
        None => TimeSpan::Unknown,
    };
    let query = |after, limit| page_query(filter, AuditPage { limit, after, ..page }, span);
    listing::show(conn, (page.limit, page.after), query, (read, |entry| entry.sequence), visit).await
}

pub(super) fn read(row: &Row) -> Result<AuditEntry> {
    let optional_id =
        |column| Ok::<_, StoreError>(row.try_get::<Option<Id>, _>(column).map_err(classify)?.map(read_id));
    Ok(AuditEntry {
        sequence: row.try_get("sequence").map_err(classify)?,
        previous_hash: row.try_get("previous_hash").map_err(classify)?,
        entry_hash: row.try_get("entry_hash").map_err(classify)?,
        hash_version: row.try_get("hash_version").map_err(classify)?,
        event_id: optional_id("event_id")?,
        source: row.try_get("source").map_err(classify)?,
        action: row.try_get("action").map_err(classify)?,
        actor_id: optional_id("actor_id")?,
        actor_type: row.try_get("actor_type").map_err(classify)?,
        entity_id: optional_id("entity_id")?,
        entity_type: row.try_get("entity_type").map_err(classify)?,
        correlation_id: row.try_get("correlation_id").map_err(classify)?,
        details: CanonicalDetails(row.try_get("details").map_err(classify)?),
        occurred_at: read_time(row.try_get::<SqlTime, _>("occurred_at").map_err(classify)?)?,
    })
}
