//! What a replica and the primary say of their ledgers, before a replica answers a read.

use sqlx::Row as _;

use super::dialect::{Conn, classify};
use super::facts::read_revision;
use super::ledger::read_head;
use crate::domain::Timestamp;
use crate::store::replica::{PrimaryReport, ReplicaReport};
use crate::store::{Result, StoreError};

/// The server, the ledger and the schema, in the snapshot that is open.
const REPLICA: &str = concat!(
    "SELECT ",
    in_recovery!(),
    " AS recovering, h.sequence, h.entry_hash, r.registry_sequence, CAST(r.incarnation AS TEXT) AS incarnation, \
     (SELECT MAX(m.version) FROM _sqlx_migrations m WHERE m.success) AS applied \
     FROM audit_chain_head h CROSS JOIN registry_head r WHERE h.id = 1 AND r.id = 1"
);

/// The head of the ledger, and the entry `$1`.
const PRIMARY: &str = concat!(
    "SELECT h.sequence AS head, CAST(r.incarnation AS TEXT) AS incarnation, r.registry_sequence, \
     COALESCE((SELECT l.entry_hash FROM audit_logs l WHERE l.sequence = $1), (SELECT ",
    hex_text!("d.entry_hash"),
    " FROM dropped_entries d WHERE d.sequence = $1)) AS entry_hash \
     FROM audit_chain_head h CROSS JOIN registry_head r WHERE h.id = 1 AND r.id = 1"
);

/// Returns what the server says of itself in the snapshot that is open.
pub(super) async fn of_replica(conn: &mut Conn) -> Result<ReplicaReport> {
    let row = sqlx::query(REPLICA).fetch_optional(conn).await.map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("ledger", "its head row is missing"))?;
    Ok(ReplicaReport {
        is_standby: row.try_get("recovering").map_err(classify)?,
        revision: read_revision(&row)?,
        head: read_head(&row)?,
        schema: row.try_get::<Option<i64>, _>("applied").map_err(classify)?.unwrap_or(0),
    })
}

/// Returns what the primary says of its ledger, and of the entry with this sequence.
pub(super) async fn of_primary(conn: &mut Conn, sequence: i64) -> Result<PrimaryReport> {
    let row = sqlx::query(PRIMARY).bind(sequence).fetch_optional(conn).await.map_err(classify)?;
    let row = row.ok_or_else(|| StoreError::corrupt("ledger", "its head row is missing"))?;
    Ok(PrimaryReport {
        incarnation: read_revision(&row)?.incarnation,
        head: row.try_get("head").map_err(classify)?,
        entry_hash: row.try_get("entry_hash").map_err(classify)?,
    })
}

/// Returns the sequence of the head of the ledger.
pub(super) async fn position(conn: &mut Conn) -> Result<i64> {
    sqlx::query_scalar("SELECT h.sequence FROM audit_chain_head h WHERE h.id = 1")
        .fetch_one(conn)
        .await
        .map_err(classify)
}

/// Returns whether the registry has changed after `at`: then the state of that time is known.
pub(super) async fn has_changed_after(conn: &mut Conn, at: Timestamp) -> Result<bool> {
    const CHANGED: &str = "SELECT EXISTS (SELECT 1 FROM registry_times t WHERE t.recorded_at > $1)";
    sqlx::query_scalar(CHANGED).bind(super::dialect::bind_time(at)).fetch_one(conn).await.map_err(classify)
}
