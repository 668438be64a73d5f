//! Statements on `audit_checkpoints` and `audit_tiles`, and the hashes of entries that they are made from.

use sqlx::Row as _;

use super::dialect::{Conn, Row, SqlTime, bind_id, bind_time, classify, entries, read_id, read_time};
use super::revisions;
use crate::domain::{Incarnation, Timestamp};
use crate::ledger::GENESIS_HASH;
use crate::ledger::merkle::Hash;
use crate::store::{Cosignature, EntryHashes, Result, StoreError, StoredCheckpoint, StoredTile};

/// The columns of a checkpoint.
macro_rules! checkpoint_columns {
    () => {
        "SELECT c.incarnation, c.size, c.root, c.note, c.signed_at FROM audit_checkpoints c "
    };
}

fn hash_of(bytes: &[u8]) -> Result<Hash> {
    Hash::try_from(bytes).map_err(|_| StoreError::corrupt("root", "not 32 bytes"))
}

fn read_checkpoint(row: &Row) -> Result<StoredCheckpoint> {
    Ok(StoredCheckpoint {
        incarnation: Incarnation(row.try_get("incarnation").map(read_id).map_err(classify)?),
        size: row.try_get("size").map_err(classify)?,
        root: hash_of(row.try_get("root").map_err(classify)?)?,
        note: row.try_get("note").map_err(classify)?,
        signed_at: time_of(row, "signed_at")?,
    })
}

fn time_of(row: &Row, column: &str) -> Result<Timestamp> {
    read_time(row.try_get::<SqlTime, _>(column).map_err(classify)?)
}

pub(super) async fn last(conn: &mut Conn, incarnation: Incarnation) -> Result<Option<StoredCheckpoint>> {
    let row = sqlx::query(concat!(checkpoint_columns!(), "WHERE c.incarnation = $1 ORDER BY c.size DESC LIMIT 1"))
        .bind(bind_id(incarnation.0))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    row.as_ref().map(read_checkpoint).transpose()
}

/// The last checkpoint of an incarnation that this transaction ends: no signer adds another one before its end.
pub(super) async fn last_of_ending(conn: &mut Conn, incarnation: Incarnation) -> Result<Option<StoredCheckpoint>> {
    entries::lock_checkpoints(&mut *conn).await?;
    last(conn, incarnation).await
}

pub(super) async fn list(
    conn: &mut Conn,
    incarnation: Incarnation,
    after: i64,
    limit: u32,
) -> Result<Vec<StoredCheckpoint>> {
    let rows = sqlx::query(concat!(
        checkpoint_columns!(),
        "WHERE c.incarnation = $1 AND c.size > $2 ORDER BY c.size LIMIT $3"
    ))
    .bind(bind_id(incarnation.0))
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    rows.iter().map(read_checkpoint).collect()
}

pub(super) async fn signing_times(
    conn: &mut Conn,
    incarnation: Incarnation,
    after: i64,
    limit: u32,
) -> Result<Vec<(i64, Timestamp)>> {
    let rows = sqlx::query(
        "SELECT c.size, c.signed_at FROM audit_checkpoints c \
         WHERE c.incarnation = $1 AND c.size > $2 ORDER BY c.size LIMIT $3",
    )
    .bind(bind_id(incarnation.0))
    .bind(after)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    rows.iter().map(|row| Ok((row.try_get("size").map_err(classify)?, time_of(row, "signed_at")?))).collect()
}

pub(super) async fn tile_count(conn: &mut Conn, incarnation: Incarnation, level: u8) -> Result<i64> {
    // The last one and not a count, which would read all of them.
    let last: Option<i64> =
        sqlx::query_scalar("SELECT MAX(t.number) FROM audit_tiles t WHERE t.incarnation = $1 AND t.level = $2")
            .bind(bind_id(incarnation.0))
            .bind(i32::from(level))
            .fetch_one(conn)
            .await
            .map_err(classify)?;
    Ok(last.map_or(0, |last| last + 1))
}

pub(super) async fn tile_roots(
    conn: &mut Conn,
    incarnation: Incarnation,
    level: u8,
    (first, end): (i64, i64),
) -> Result<Vec<Hash>> {
    let roots: Vec<Vec<u8>> = sqlx::query_scalar(
        "SELECT t.root FROM audit_tiles t \
         WHERE t.incarnation = $1 AND t.level = $2 AND t.number >= $3 AND t.number < $4 ORDER BY t.number",
    )
    .bind(bind_id(incarnation.0))
    .bind(i32::from(level))
    .bind(first)
    .bind(end)
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    roots.iter().map(|root| hash_of(root)).collect()
}

pub(super) async fn tiles(
    conn: &mut Conn,
    incarnation: Incarnation,
    level: u8,
    (first, limit): (i64, u32),
) -> Result<Vec<StoredTile>> {
    let rows = sqlx::query(
        "SELECT t.number, t.root, t.hashes FROM audit_tiles t \
         WHERE t.incarnation = $1 AND t.level = $2 AND t.number >= $3 ORDER BY t.number LIMIT $4",
    )
    .bind(bind_id(incarnation.0))
    .bind(i32::from(level))
    .bind(first)
    .bind(i64::from(limit))
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    let read = |row: &Row| {
        Ok(StoredTile {
            level,
            number: row.try_get("number").map_err(classify)?,
            root: hash_of(row.try_get("root").map_err(classify)?)?,
            hashes: row.try_get("hashes").map_err(classify)?,
        })
    };
    rows.iter().map(read).collect()
}

/// The hashes of the entries from `first` to `last`, also of those that were dropped. What a dropped entry names as the
/// hash before it is the hash of the entry before it.
pub(super) async fn entry_hashes(conn: &mut Conn, first: i64, last: i64) -> Result<Vec<EntryHashes>> {
    let rows = sqlx::query(concat!(
        "SELECT l.sequence, l.previous_hash, l.entry_hash FROM audit_logs l \
         WHERE l.sequence >= $1 AND l.sequence <= $2 UNION ALL SELECT d.sequence, NULL, ",
        hex_text!("d.entry_hash"),
        " FROM dropped_entries d WHERE d.sequence >= $1 AND d.sequence <= $2 \
           AND d.sequence <= (SELECT b.sequence FROM ledger_border b WHERE b.id = 1) ORDER BY 1"
    ))
    // The entry before has the hash that the first one does not have any more.
    .bind(first.saturating_sub(1))
    .bind(last)
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    let mut found = Vec::with_capacity(rows.len());
    let mut before = (0, GENESIS_HASH.to_owned());
    for row in &rows {
        let sequence: i64 = row.try_get(0).map_err(classify)?;
        let entry_hash: String = row.try_get(2).map_err(classify)?;
        let (sequence_before, hash_before) = std::mem::replace(&mut before, (sequence, entry_hash.clone()));
        if sequence < first {
            continue;
        }
        let previous_hash = match row.try_get::<Option<String>, _>(1).map_err(classify)? {
            Some(named) => named,
            None if sequence_before + 1 == sequence => hash_before,
            None => return Err(StoreError::corrupt("audit_logs", format!("entry {} is missing", sequence - 1))),
        };
        found.push(EntryHashes { sequence, previous_hash, entry_hash });
    }
    Ok(found)
}

pub(super) async fn add_tiles(conn: &mut Conn, incarnation: Incarnation, tiles: &[StoredTile]) -> Result<()> {
    for tile in tiles {
        sqlx::query(
            "INSERT INTO audit_tiles (incarnation, level, number, root, hashes) VALUES ($1, $2, $3, $4, $5) \
             ON CONFLICT DO NOTHING",
        )
        .bind(bind_id(incarnation.0))
        .bind(i32::from(tile.level))
        .bind(tile.number)
        .bind(tile.root.to_vec())
        .bind(&tile.hashes)
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    }
    Ok(())
}

pub(super) async fn add(
    conn: &mut Conn,
    previous: i64,
    checkpoint: &StoredCheckpoint,
    tiles: &[StoredTile],
) -> Result<bool> {
    entries::lock_checkpoints(&mut *conn).await?;
    let last: Option<i64> = sqlx::query_scalar("SELECT MAX(c.size) FROM audit_checkpoints c WHERE c.incarnation = $1")
        .bind(bind_id(checkpoint.incarnation.0))
        .fetch_one(&mut *conn)
        .await
        .map_err(classify)?;
    if last.unwrap_or(0) != previous || revisions::newest(&mut *conn).await?.incarnation != checkpoint.incarnation {
        return Ok(false);
    }
    add_tiles(&mut *conn, checkpoint.incarnation, tiles).await?;
    sqlx::query(concat!(
        "INSERT INTO audit_checkpoints (incarnation, size, root, note, signed_at) VALUES ($1, $2, $3, $4, ",
        time_value!("$5"),
        ")"
    ))
    .bind(bind_id(checkpoint.incarnation.0))
    .bind(checkpoint.size)
    .bind(checkpoint.root.to_vec())
    .bind(&checkpoint.note)
    .bind(bind_time(checkpoint.signed_at))
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(true)
}

pub(super) async fn cosignatures(conn: &mut Conn, incarnation: Incarnation, size: i64) -> Result<Vec<Cosignature>> {
    let rows = sqlx::query(
        "SELECT c.witness, c.line, c.received_at FROM audit_cosignatures c \
         WHERE c.incarnation = $1 AND c.size = $2 ORDER BY c.witness",
    )
    .bind(bind_id(incarnation.0))
    .bind(size)
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    let read = |row: &Row| {
        Ok(Cosignature {
            witness: row.try_get("witness").map_err(classify)?,
            line: row.try_get("line").map_err(classify)?,
            received_at: time_of(row, "received_at")?,
        })
    };
    rows.iter().map(read).collect()
}

pub(super) async fn add_cosignature(
    conn: &mut Conn,
    incarnation: Incarnation,
    size: i64,
    cosignature: &Cosignature,
) -> Result<()> {
    sqlx::query(concat!(
        "INSERT INTO audit_cosignatures (incarnation, size, witness, line, received_at) VALUES ($1, $2, $3, $4, ",
        time_value!("$5"),
        ") ON CONFLICT DO NOTHING"
    ))
    .bind(bind_id(incarnation.0))
    .bind(size)
    .bind(&cosignature.witness)
    .bind(&cosignature.line)
    .bind(bind_time(cosignature.received_at))
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(())
}
