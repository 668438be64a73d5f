//! The border of the ledger, and dropping entries up to it.
//!
//! Must never delete a row whose hash is not the archived one, or without keeping its hash: the triggers of migration
//! 43 refuse that as well.

use async_trait::async_trait;
use sqlx::Row as _;
use uuid::Uuid;

use super::dialect::{Conn, SqlTime, bind_id, bind_time, classify, read_time};
use super::tx::SqlTx;
use crate::domain::Incarnation;
use crate::ledger::hex::read_hex;
use crate::store::{BorderTx, DropStep, LedgerBorder, Result, StepDropped, StoreError};

/// The migration without which a program does not know the border.
const KNOWN_FROM: i64 = 43;

/// The entries `l` that stay: those that the registry, its history and the incarnations are made from.
macro_rules! stays {
    () => {
        "(l.source = 'entity_permissions_core' AND substr(l.action, 1, 14) <> 'authorization.')"
    };
}

#[async_trait]
impl BorderTx for SqlTx {
    async fn drop_entries(&mut self, step: &DropStep<'_>) -> Result<StepDropped> {
        self.step(async |conn| drop_entries(conn, step).await).await
    }
}

/// The sequence of the border; 0 before the first drop.
pub(super) async fn sequence(conn: &mut Conn) -> Result<i64> {
    let row = sqlx::query_scalar("SELECT b.sequence FROM ledger_border b WHERE b.id = 1");
    row.fetch_one(conn).await.map_err(classify)
}

pub(super) async fn read(conn: &mut Conn) -> Result<Option<LedgerBorder>> {
    let row = sqlx::query(
        "SELECT b.sequence, b.archive, CAST(b.incarnation AS TEXT) AS incarnation, b.dropped_at FROM ledger_border b \
         WHERE b.id = 1",
    )
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("ledger_border", "its row is missing"))?;
    let sequence: i64 = row.try_get("sequence").map_err(classify)?;
    if sequence == 0 {
        return Ok(None);
    }
    let incarnation = Uuid::try_parse(row.try_get("incarnation").map_err(classify)?);
    Ok(Some(LedgerBorder {
        sequence,
        archive: row.try_get("archive").map_err(classify)?,
        incarnation: Incarnation(incarnation.map_err(|error| StoreError::corrupt("ledger_border", error))?),
        dropped_at: read_time(row.try_get::<SqlTime, _>("dropped_at").map_err(classify)?)?,
    }))
}

async fn drop_entries(conn: &mut Conn, step: &DropStep<'_>) -> Result<StepDropped> {
    let after: i64 =
        sqlx::query_scalar(concat!("SELECT b.sequence FROM ledger_border b WHERE b.id = 1", for_update!("b")))
            .fetch_one(&mut *conn)
            .await
            .map_err(classify)?;
    if after != step.after {
        return Ok(StepDropped::Moved(after));
    }
    let Some(last) = i64::try_from(step.archived.len()).ok().and_then(|count| after.checked_add(count)) else {
        return Ok(StepDropped::Differs(after));
    };
    if let Some(sequence) = first_difference(&mut *conn, step, last).await? {
        return Ok(StepDropped::Differs(sequence));
    }
    sqlx::query(concat!(
        "INSERT INTO dropped_entries (sequence, entry_hash, event_id, previous_hash, occurred_at) \
         SELECT l.sequence, ",
        hex_bytes!("l.entry_hash"),
        ", l.event_id, CASE WHEN l.event_id IS NOT NULL THEN ",
        hex_bytes!("l.previous_hash"),
        " END, l.occurred_at FROM audit_logs l \
         WHERE l.sequence > $1 AND l.sequence <= $2 AND NOT ",
        stays!(),
        // Somebody may have kept one, which is the same: a trigger refuses any other.
        " ON CONFLICT (sequence) DO NOTHING"
    ))
    .bind(after)
    .bind(last)
    .execute(&mut *conn)
    .await
    .map_err(classify)?;
    sqlx::query(concat!(
        "UPDATE ledger_border SET sequence = $1, \
         entry_hash = (SELECT l.entry_hash FROM audit_logs l WHERE l.sequence = $1), archive = $2, incarnation = $3, \
         dropped_at = ",
        time_value!("$4"),
        " WHERE id = 1"
    ))
    .bind(last)
    .bind(step.archive)
    .bind(bind_id(step.incarnation.0))
    .bind(bind_time(step.now))
    .execute(&mut *conn)
    .await
    .map_err(classify)?;
    let delete = concat!("DELETE FROM audit_logs AS l WHERE l.sequence > $1 AND l.sequence <= $2 AND NOT ", stays!());
    let deleted = sqlx::query(delete).bind(after).bind(last).execute(&mut *conn).await.map_err(classify)?;
    let kept: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM dropped_entries WHERE sequence > $1 AND sequence <= $2")
        .bind(after)
        .bind(last)
        .fetch_one(&mut *conn)
        .await
        .map_err(classify)?;
    let deleted = deleted.rows_affected();
    if i64::try_from(deleted) != Ok(kept) {
        return Err(StoreError::corrupt("audit_logs", format!("{kept} hashes are kept of {deleted} rows")));
    }
    if after == 0 {
        // Programs that do not know the border would take the entries for lost, and record a repeated event again.
        let named = sqlx::query("UPDATE _sqlx_migrations SET oldest_program = $1 WHERE version = $1")
            .bind(KNOWN_FROM)
            .execute(conn)
            .await
            .map_err(classify)?;
        if named.rows_affected() != 1 {
            return Err(StoreError::corrupt("_sqlx_migrations", format!("migration {KNOWN_FROM} is missing")));
        }
    }
    Ok(StepDropped::Dropped(deleted))
}

/// The first entry that the database lacks or has with another hash than the archive.
async fn first_difference(conn: &mut Conn, step: &DropStep<'_>, last: i64) -> Result<Option<i64>> {
    let stored: Vec<(i64, String)> = sqlx::query_as(
        "SELECT l.sequence, l.entry_hash FROM audit_logs l WHERE l.sequence > $1 AND l.sequence <= $2 \
         ORDER BY l.sequence",
    )
    .bind(step.after)
    .bind(last)
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    let mut stored = stored.iter();
    let expected = (step.after + 1..).zip(step.archived);
    Ok(expected
        .into_iter()
        .find(|(sequence, archived)| {
            stored.next().is_none_or(|(found, hash)| found != sequence || read_hex(hash).as_ref() != Some(*archived))
        })
        .map(|(sequence, _)| sequence))
}
