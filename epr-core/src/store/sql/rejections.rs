//! Statements on `audit_rejections`.

use sqlx::{QueryBuilder, Row as _};

use super::dialect::{Conn, Db, Row, SqlTime, bind_time, classify, read_time};
use crate::domain::Timestamp;
use crate::domain::audit::{KeptRejection, Rejection, RejectionKind};
use crate::domain::fields::Choice;
use crate::store::{Result, StoreError};

pub(super) async fn keep(conn: &mut Conn, rejections: &[Rejection], now: Timestamp) -> Result<()> {
    // In one order, so that two workers with the same messages do not deadlock.
    let mut sorted: Vec<&Rejection> = rejections.iter().collect();
    sorted.sort_by(|a, b| a.message_id.cmp(&b.message_id));
    for rejection in sorted {
        sqlx::query(
            "INSERT INTO audit_rejections (message_id, kind, reason, body, body_bytes, first_seen_at, last_seen_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $6) \
             ON CONFLICT (message_id) DO UPDATE SET kind = excluded.kind, reason = excluded.reason, \
               times_seen = audit_rejections.times_seen + 1, last_seen_at = excluded.last_seen_at",
        )
        .bind(&rejection.message_id)
        .bind(rejection.kind.word())
        .bind(&rejection.reason)
        .bind(&rejection.body)
        .bind(rejection.body_bytes)
        .bind(bind_time(now))
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    }
    Ok(())
}

pub(super) async fn list(conn: &mut Conn, limit: u32, before: Option<i64>) -> Result<Vec<KeptRejection>> {
    let mut query = QueryBuilder::<Db>::new(
        "SELECT r.id, r.message_id, r.kind, r.reason, r.body, r.body_bytes, r.times_seen, r.first_seen_at, \
         r.last_seen_at \
         FROM audit_rejections r",
    );
    if let Some(before) = before {
        query.push(" WHERE r.id < ").push_bind(before);
    }
    query.push(" ORDER BY r.id DESC LIMIT ").push_bind(i64::from(limit));
    let rows = query.build().fetch_all(conn).await.map_err(classify)?;
    rows.iter().map(read).collect()
}

fn read(row: &Row) -> Result<KeptRejection> {
    let kind: &str = row.try_get("kind").map_err(classify)?;
    let at = |column| row.try_get::<SqlTime, _>(column).map_err(classify).and_then(read_time);
    Ok(KeptRejection {
        id: row.try_get("id").map_err(classify)?,
        rejection: Rejection {
            message_id: row.try_get("message_id").map_err(classify)?,
            kind: RejectionKind::from_word(kind).ok_or_else(|| StoreError::corrupt("rejection kind", kind))?,
            reason: row.try_get("reason").map_err(classify)?,
            body: row.try_get("body").map_err(classify)?,
            body_bytes: row.try_get("body_bytes").map_err(classify)?,
        },
        times_seen: row.try_get("times_seen").map_err(classify)?,
        first_seen_at: at("first_seen_at")?,
        last_seen_at: at("last_seen_at")?,
    })
}
