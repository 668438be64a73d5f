//! Reads of lists of access for many ranges or principals, one statement each: an embedded database has no round trip
//! that a batch would save.

use std::collections::HashMap;

use super::super::{PrincipalKey, Result};
use super::dialect::{Conn, bind_id, classify};
use super::sql::AsOf;
use super::sql::access::rows::{RangeRow, RangeStart, Registered, read_registered};

/// The statement of a range.
pub(super) const RANGE: &str = assignments_range!(now, "$1", "$2", ("$3", "$4"), "$5");
const PAST_RANGE: &str = assignments_range!((at "$6"), "$1", "$2", ("$3", "$4"), "$5");

macro_rules! registered_statement {
    ($when:tt) => {
        concat!("SELECT ", registered_columns!($when, "$3"), from_principal!($when, "p", "$1", "$2"))
    };
}

/// Returns the first `limit` assignments of each range, in the order of the list.
pub(super) async fn ranges(
    conn: &mut Conn,
    starts: &[RangeStart],
    limit: usize,
    when: AsOf,
) -> Result<Vec<Vec<RangeRow>>> {
    let mut all = Vec::with_capacity(starts.len());
    for RangeStart { entity_id, role_id, after: (after_id, after_type) } in starts {
        let query = match when {
            AsOf::Now => sqlx::query(RANGE),
            AsOf::Entry(_) => sqlx::query(PAST_RANGE),
        };
        let query = query
            .bind(bind_id(*entity_id))
            .bind(bind_id(*role_id))
            .bind(bind_id(*after_id))
            .bind(after_type)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX));
        let query = match when {
            AsOf::Now => query,
            AsOf::Entry(at) => query.bind(at),
        };
        let rows = query.fetch_all(&mut *conn).await.map_err(classify)?;
        all.push(rows.iter().map(RangeRow::read).collect::<Result<Vec<_>>>()?);
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
    let mut found = HashMap::with_capacity(principals.len());
    for (id, kind) in principals {
        let query = match when {
            AsOf::Now => sqlx::query(registered_statement!(now)),
            AsOf::Entry(_) => sqlx::query(registered_statement!((at "$4"))),
        };
        let query = query.bind(kind).bind(bind_id(*id)).bind(with_attributes);
        let query = match when {
            AsOf::Now => query,
            AsOf::Entry(at) => query.bind(at),
        };
        let row = query.fetch_optional(&mut *conn).await.map_err(classify)?;
        if let Some(row) = &row {
            let (key, registered) = read_registered(row)?;
            found.insert(key, registered);
        }
    }
    Ok(found)
}
