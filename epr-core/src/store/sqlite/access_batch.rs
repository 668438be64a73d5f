//! Reads of lists of access for many ranges or principals, one statement each: an embedded database has no round trip
//! that a batch would save.

use std::collections::HashMap;

use super::super::{PrincipalKey, Result};
use super::dialect::{Conn, bind_id, classify};
use super::sql::access::rows::{RangeRow, RangeStart, Registered, read_registered};

/// The statement of a range.
pub(super) const RANGE: &str = assignments_range!(assignments_by_range!(), "$1", "$2", ("$3", "$4"), "$5");

const REGISTERED: &str =
    concat!("SELECT ", registered_columns!("$3"), " FROM principals p WHERE p.type = $1 AND p.id = $2");

/// Returns the first `limit` assignments of each range, in the order of the list.
pub(super) async fn ranges(conn: &mut Conn, starts: &[RangeStart], limit: usize) -> Result<Vec<Vec<RangeRow>>> {
    let mut all = Vec::with_capacity(starts.len());
    for RangeStart { entity_id, role_id, after: (after_id, after_type) } in starts {
        let rows = sqlx::query(RANGE)
            .bind(bind_id(*entity_id))
            .bind(bind_id(*role_id))
            .bind(bind_id(*after_id))
            .bind(after_type)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX))
            .fetch_all(&mut *conn)
            .await
            .map_err(classify)?;
        all.push(rows.iter().map(RangeRow::read).collect::<Result<Vec<_>>>()?);
    }
    Ok(all)
}

/// Returns those of `principals` that are registered, with their attributes if `with_attributes`.
pub(super) async fn registrations(
    conn: &mut Conn,
    principals: &[PrincipalKey],
    with_attributes: bool,
) -> Result<HashMap<PrincipalKey, Registered>> {
    let mut found = HashMap::with_capacity(principals.len());
    for (id, kind) in principals {
        let row = sqlx::query(REGISTERED)
            .bind(kind)
            .bind(bind_id(*id))
            .bind(with_attributes)
            .fetch_optional(&mut *conn)
            .await
            .map_err(classify)?;
        if let Some(row) = &row {
            let (key, registered) = read_registered(row)?;
            found.insert(key, registered);
        }
    }
    Ok(found)
}
