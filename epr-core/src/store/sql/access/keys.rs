//! Statements on `list_keys`: the keys of page tokens.

use sqlx::Row as _;

use super::super::dialect::{Conn, Row, SqlTime, bind_time, classify, read_time};
use crate::domain::Timestamp;
use crate::store::{ListKey, Result, StoreError};

fn read(row: &Row) -> Result<ListKey> {
    let key: Vec<u8> = row.try_get("key").map_err(classify)?;
    Ok(ListKey {
        number: row.try_get("number").map_err(classify)?,
        key: key.try_into().map_err(|_| StoreError::corrupt("list_keys.key", "not 32 bytes"))?,
        started_at: read_time(row.try_get::<SqlTime, _>("started_at").map_err(classify)?)?,
    })
}

pub(in super::super) async fn list(conn: &mut Conn) -> Result<Vec<ListKey>> {
    let rows = sqlx::query("SELECT number, key, started_at FROM list_keys ORDER BY number DESC")
        .fetch_all(conn)
        .await
        .map_err(classify)?;
    rows.iter().map(read).collect()
}

/// Starts a key unless the newest one started after `unless_after`; deletes those whose successors started before
/// `obsolete`. Returns the keys.
pub(in super::super) async fn rotate(
    conn: &mut Conn,
    key: &[u8; 32],
    now: Timestamp,
    (unless_after, obsolete): (Timestamp, Timestamp),
) -> Result<Vec<ListKey>> {
    // Two transactions that do this at once take the same number, and the second one inserts nothing.
    sqlx::query(concat!(
        "INSERT INTO list_keys (number, key, started_at) \
         SELECT COALESCE((SELECT MAX(number) FROM list_keys), 0) + 1, $1, ",
        time_value!("$2"),
        " WHERE NOT EXISTS (SELECT 1 FROM list_keys WHERE started_at > ",
        time_value!("$3"),
        ") ON CONFLICT DO NOTHING"
    ))
    .bind(key.to_vec())
    .bind(bind_time(now))
    .bind(bind_time(unless_after))
    .execute(&mut *conn)
    .await
    .map_err(classify)?;
    sqlx::query("DELETE FROM list_keys WHERE number < (SELECT MAX(n.number) FROM list_keys n WHERE n.started_at < $1)")
        .bind(bind_time(obsolete))
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    list(conn).await
}
