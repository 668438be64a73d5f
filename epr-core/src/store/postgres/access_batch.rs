//! Reads of lists of access for many ranges or principals in one statement each.

use std::collections::HashMap;

use super::super::{PrincipalKey, Result};
use super::dialect::{Conn, classify};
use super::sql::AsOf;
use super::sql::access::rows::{RangeRow, RangeStart, Registered, read_registered};

/// The statement of a range, once for each row of four arrays. The arrays come from subqueries so that the planner does
/// not see their length: it would plan again for lengths that differ from its estimate.
macro_rules! ranges_statement {
    ($when:tt) => {
        concat!(
            "SELECT q.position, found.* \
             FROM unnest((SELECT $1::uuid[]), (SELECT $2::uuid[]), (SELECT $3::uuid[]), (SELECT $4::text[])) \
                  WITH ORDINALITY AS q(entity_id, role_id, after_id, after_type, position) \
             CROSS JOIN LATERAL (",
            assignments_range!(
                $when,
                range_columns!("a"),
                "q.entity_id",
                "q.role_id",
                ("q.after_id", "q.after_type"),
                "$5"
            ),
            ") found"
        )
    };
}

pub(super) const RANGES: &str = ranges_statement!(now);
const PAST_RANGES: &str = ranges_statement!((at "$6"));

macro_rules! registered_statement {
    ($when:tt) => {
        concat!(
            "SELECT ",
            registered_columns!($when, "$3"),
            " FROM unnest((SELECT $1::text[]), (SELECT $2::uuid[])) AS q(type, id) ",
            join_principal!($when, "p", "q.type", "q.id")
        )
    };
}

/// Returns the first `limit` assignments of each range, in the order of the list.
pub(super) async fn ranges(
    conn: &mut Conn,
    starts: &[RangeStart],
    limit: usize,
    when: AsOf,
) -> Result<Vec<Vec<RangeRow>>> {
    let query = match when {
        AsOf::Now => sqlx::query(RANGES),
        AsOf::Entry(_) => sqlx::query(PAST_RANGES),
    };
    let query = query
        .bind(starts.iter().map(|start| start.entity_id).collect::<Vec<_>>())
        .bind(starts.iter().map(|start| start.role_id).collect::<Vec<_>>())
        .bind(starts.iter().map(|start| start.after.0).collect::<Vec<_>>())
        .bind(starts.iter().map(|start| start.after.1.as_str()).collect::<Vec<_>>())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let query = match when {
        AsOf::Now => query,
        AsOf::Entry(at) => query.bind(at),
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
    RangeRow::by_range(&rows, starts.len(), 1)
}

/// Returns those of `principals` that are registered, with their attributes if `with_attributes`.
pub(super) async fn registrations(
    conn: &mut Conn,
    principals: &[PrincipalKey],
    with_attributes: bool,
    when: AsOf,
) -> Result<HashMap<PrincipalKey, Registered>> {
    if principals.is_empty() {
        return Ok(HashMap::new());
    }
    let query = match when {
        AsOf::Now => sqlx::query(registered_statement!(now)),
        AsOf::Entry(_) => sqlx::query(registered_statement!((at "$4"))),
    };
    let query = query
        .bind(principals.iter().map(|(_, kind)| kind.as_str()).collect::<Vec<_>>())
        .bind(principals.iter().map(|(id, _)| *id).collect::<Vec<_>>())
        .bind(with_attributes);
    let query = match when {
        AsOf::Now => query,
        AsOf::Entry(at) => query.bind(at),
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
    rows.iter().map(read_registered).collect()
}
