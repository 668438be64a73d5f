//! Statements on `audit_verification`: the last verification of the ledger.

use sqlx::Row as _;

use super::dialect::{Conn, SqlTime, bind_time, classify, read_time};
use crate::domain::audit::LastVerification;
use crate::store::Result;

pub(super) async fn keep(conn: &mut Conn, kept: &LastVerification) -> Result<()> {
    sqlx::query(
        "INSERT INTO audit_verification (id, verified_at, first_sequence, last_sequence, finding) \
         VALUES (1, $1, $2, $3, $4) ON CONFLICT (id) DO UPDATE SET verified_at = excluded.verified_at, \
           first_sequence = excluded.first_sequence, last_sequence = excluded.last_sequence, \
           finding = excluded.finding",
    )
    .bind(bind_time(kept.verified_at))
    .bind(kept.first_sequence)
    .bind(kept.last_sequence)
    .bind(&kept.finding)
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(())
}

pub(super) async fn last(conn: &mut Conn) -> Result<Option<LastVerification>> {
    let row =
        sqlx::query("SELECT v.verified_at, v.first_sequence, v.last_sequence, v.finding FROM audit_verification v")
            .fetch_optional(conn)
            .await
            .map_err(classify)?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(LastVerification {
        verified_at: row.try_get::<SqlTime, _>("verified_at").map_err(classify).and_then(read_time)?,
        first_sequence: row.try_get("first_sequence").map_err(classify)?,
        last_sequence: row.try_get("last_sequence").map_err(classify)?,
        finding: row.try_get("finding").map_err(classify)?,
    }))
}
