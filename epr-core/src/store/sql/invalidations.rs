//! Statements on `cache_renewals`.

use sqlx::{Executor, Row as _};

use super::dialect::{Conn, Db, Id, Row, classify, read_id};
use crate::store::{Invalidation, Result};

pub(in super::super) fn read(row: &Row) -> Result<Invalidation> {
    Ok(Invalidation {
        id: row.try_get("id").map_err(classify)?,
        principal: row.try_get::<Option<Id>, _>("principal_id").map_err(classify)?.map(read_id),
    })
}

/// The most invalidations that are read one by one; more are replaced by one of all principals.
const MAX_READ: i64 = 1000;

/// Returns the invalidations after `id`, in their order.
pub(in super::super) async fn after<'c>(conn: impl Executor<'c, Database = Db>, id: i64) -> Result<Vec<Invalidation>> {
    let rows = sqlx::query("SELECT id, principal_id FROM cache_renewals WHERE id > $1 ORDER BY id LIMIT $2")
        .bind(id)
        .bind(MAX_READ)
        .fetch_all(conn)
        .await
        .map_err(classify)?;
    let mut invalidations = rows.iter().map(read).collect::<Result<Vec<_>>>()?;
    if rows.len() == usize::try_from(MAX_READ).unwrap_or(0) {
        invalidations.push(Invalidation { id: 0, principal: None });
    }
    Ok(invalidations)
}

/// Returns the identity of the database.
pub(in super::super) async fn database<'c>(conn: impl Executor<'c, Database = Db>) -> Result<String> {
    sqlx::query_scalar("SELECT CAST(id AS TEXT) FROM cache_namespace").fetch_one(conn).await.map_err(classify)
}

pub(super) async fn delete(conn: &mut Conn, ids: &[i64]) -> Result<()> {
    let mut query = sqlx::QueryBuilder::<Db>::new("DELETE FROM cache_renewals WHERE id IN (");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(*id);
    }
    list.push_unseparated(")");
    query.build().execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Removes invalidations that are older than any cache entry can be; returns how many.
pub(super) async fn purge(conn: &mut Conn) -> Result<u64> {
    let gone = sqlx::query(concat!("DELETE FROM cache_renewals WHERE ", written_a_day_ago!()))
        .execute(conn)
        .await
        .map_err(classify)?;
    Ok(gone.rows_affected())
}
