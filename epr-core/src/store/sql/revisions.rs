//! The incarnation of the ledger, and how far it and the registry have come.

use sqlx::{Executor, Row as _};

use super::dialect::{Conn, Db, Id, Row, SqlTime, bind_id, bind_time, classify, read_id, read_time};
use super::facts::{Accepted, Origin, read_revision};
use crate::domain::{Incarnation, Revision, Timestamp};
use crate::ledger::chain::Head;
use crate::store::{RecordedIncarnation, Result, StoreError};

/// The newest changes of the registry and the head of the ledger, in one snapshot.
const STATE: &str = concat!(
    "SELECT ",
    in_recovery!(),
    " AS recovering, o.sequence AS decisive, o.entry_hash AS decisive_hash, o.registry_sequence, \
     CAST(o.incarnation AS TEXT) AS incarnation, h.sequence AS head \
     FROM registry_head o CROSS JOIN audit_chain_head h WHERE o.id = 1 AND h.id = 1"
);

/// Returns the state of the registry and the sequence of the ledger's head; an error unless `known` is an entry of this
/// database's ledger.
pub(in super::super) async fn read(conn: &mut Conn, known: Option<&Head>) -> Result<(Accepted, i64)> {
    let row = sqlx::query(STATE).fetch_optional(&mut *conn).await.map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("ledger", "its head row is missing"))?;
    let mut origin = Origin::default();
    origin.add(&row)?;
    let head = row.try_get("head").map_err(classify)?;
    Ok((origin.accept(conn, known).await?, head))
}

/// Returns the newest revision that `conn` sees.
pub(in super::super) async fn newest<'c>(conn: impl Executor<'c, Database = Db>) -> Result<Revision> {
    let row = sqlx::query(
        "SELECT r.registry_sequence, CAST(r.incarnation AS TEXT) AS incarnation FROM registry_head r WHERE r.id = 1",
    )
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    read_revision(&row.ok_or_else(|| StoreError::corrupt("registry_head", "its row is missing"))?)
}

/// Begins an incarnation whose first entry has this sequence. The transaction must have the ledger's lock.
pub(super) async fn reincarnate(
    conn: &mut Conn,
    (incarnation, first_sequence): (Incarnation, i64),
    now: Timestamp,
) -> Result<()> {
    sqlx::query("UPDATE registry_head SET incarnation = $1 WHERE id = 1")
        .bind(bind_id(incarnation.0))
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    sqlx::query(
        "INSERT INTO ledger_incarnations (incarnation, started_at, first_sequence, why) \
         VALUES ($1, $2, $3, 'reincarnate')",
    )
    .bind(bind_id(incarnation.0))
    .bind(bind_time(now))
    .bind(first_sequence)
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(())
}

/// Returns every incarnation, the oldest first.
pub(super) async fn incarnations(conn: &mut Conn) -> Result<Vec<RecordedIncarnation>> {
    let rows = sqlx::query(
        "SELECT i.incarnation, i.started_at, i.first_sequence, i.why FROM ledger_incarnations i \
         ORDER BY i.first_sequence, i.started_at",
    )
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    rows.iter().map(read_incarnation).collect()
}

fn read_incarnation(row: &Row) -> Result<RecordedIncarnation> {
    Ok(RecordedIncarnation {
        incarnation: Incarnation(row.try_get::<Id, _>("incarnation").map(read_id).map_err(classify)?),
        started_at: read_time(row.try_get::<SqlTime, _>("started_at").map_err(classify)?)?,
        first_sequence: row.try_get("first_sequence").map_err(classify)?,
        why: row.try_get("why").map_err(classify)?,
    })
}
