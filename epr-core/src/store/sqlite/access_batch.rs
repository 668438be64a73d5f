//! Reads of lists of access for many ranges or principals in one statement each.

use std::collections::HashMap;

use super::super::{PrincipalKey, Result};
use super::dialect::{Conn, classify};
use super::sql::AsOf;
use super::sql::access::rows::{RangeRow, RangeStart, Registered, read_registered};
use crate::domain::Json;

/// The rows of every range, for each item of a JSON list with its entity, its role and the principal before. A subquery
/// in `FROM` could not read the item: the one in `IN` finds the rows.
macro_rules! ranges_statement {
    ($when:tt, $table:literal) => {
        concat!(
            "SELECT item.position, ",
            range_columns!("found"),
            " FROM ",
            json_rows!("$1"),
            " ",
            join_probing!(
                $table,
                "found",
                "found.rowid IN (",
                assignments_range!(
                    $when,
                    "a.rowid",
                    "item.value ->> 0",
                    "item.value ->> 1",
                    ("item.value ->> 2", "item.value ->> 3"),
                    "$2"
                ),
                ")"
            )
        )
    };
}

pub(super) const RANGES: &str = ranges_statement!(now, "role_assignments");
const PAST_RANGES: &str = ranges_statement!((at "$3"), "assignment_versions");

macro_rules! registered_statement {
    ($when:tt) => {
        concat!(
            "SELECT ",
            registered_columns!($when, "$2"),
            " FROM ",
            json_rows!("$1"),
            " ",
            join_principal!($when, "p", "(item.value ->> 0)", "(item.value ->> 1)")
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
    let item = |RangeStart { entity_id, role_id, after: (after_id, after_type) }: &RangeStart| {
        let ids = [entity_id, role_id, after_id].map(|id| Json::from(id.to_string()));
        Json::List(ids.into_iter().chain([Json::from(after_type.as_str())]).collect())
    };
    let query = match when {
        AsOf::Now => sqlx::query(RANGES),
        AsOf::Entry(_) => sqlx::query(PAST_RANGES),
    };
    let query = query
        .bind(Json::List(starts.iter().map(item).collect()).to_string())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX));
    let query = match when {
        AsOf::Now => query,
        AsOf::Entry(at) => query.bind(at),
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
    let mut all = RangeRow::by_range(&rows, starts.len(), 0)?;
    // The subquery finds the rows of the range; their order in the join is not promised.
    for range in &mut all {
        range.sort_by(|one, other| one.principal.cmp(&other.principal));
    }
    Ok(all)
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
    let item = |(id, kind): &PrincipalKey| Json::List(vec![Json::from(kind.as_str()), Json::from(id.to_string())]);
    let query = match when {
        AsOf::Now => sqlx::query(registered_statement!(now)),
        AsOf::Entry(_) => sqlx::query(registered_statement!((at "$3"))),
    };
    let query = query.bind(Json::List(principals.iter().map(item).collect()).to_string()).bind(with_attributes);
    let query = match when {
        AsOf::Now => query,
        AsOf::Entry(at) => query.bind(at),
    };
    let rows = query.fetch_all(conn).await.map_err(classify)?;
    rows.iter().map(read_registered).collect()
}
