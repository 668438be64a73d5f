//! Takes rows beyond the head of the chain out of the ledger, and keeps them as they were.

use futures_util::TryStreamExt as _;
use sqlx::Row as _;

use super::dialect::{Conn, classify};
use crate::store::foreign::{ForeignRows, Tally};
use crate::store::{Result, StoreError};

/// Moves every row beyond `head` to `audit_logs_set_aside`. To be called with the ledger's lock held.
pub(super) async fn foreign_rows(conn: &mut Conn, head: i64) -> Result<ForeignRows> {
    let before: i64 = sqlx::query_scalar("SELECT COALESCE(MAX(id), 0) FROM audit_logs_set_aside")
        .fetch_one(&mut *conn)
        .await
        .map_err(classify)?;
    sqlx::query(concat!(
        "INSERT INTO audit_logs_set_aside (sequence, entry) SELECT l.sequence, ",
        row_text!(),
        " FROM audit_logs l WHERE l.sequence > $1 ORDER BY l.sequence"
    ))
    .bind(head)
    .execute(&mut *conn)
    .await
    .map_err(classify)?;
    let mut tally = Tally::new();
    {
        let kept = "SELECT sequence, entry FROM audit_logs_set_aside WHERE id > $1 ORDER BY sequence";
        let mut rows = sqlx::query(kept).bind(before).fetch(&mut *conn);
        while let Some(row) = rows.try_next().await.map_err(classify)? {
            tally.add(row.try_get(0).map_err(classify)?, row.try_get(1).map_err(classify)?);
        }
    }
    let rows = tally.finish(head);
    let removed = sqlx::query("DELETE FROM audit_logs WHERE sequence > $1").bind(head).execute(conn).await;
    let removed = removed.map_err(classify)?.rows_affected();
    if removed != rows.count {
        return Err(StoreError::Contention(format!("{removed} rows were removed, {} were kept", rows.count).into()));
    }
    Ok(rows)
}
