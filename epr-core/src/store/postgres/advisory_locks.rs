//! PostgreSQL's advisory locks, whose numbers are all here so that no two are alike. Any constants do: the database
//! belongs to EPR. Those of transactions are held until the end of the transaction.

use super::dialect::{Conn, classify, use_no_limits};
use crate::store::Result;

/// Changes of parents take it, creations of children share it.
pub(super) const HIERARCHY: i64 = 0x4550_5201;

/// Migrations.
pub(super) const SCHEMA: i64 = 0x4550_5202;

/// Signers of checkpoints.
const CHECKPOINTS: i64 = 0x4550_5203;

/// Those that complete the tables of history from the ledger.
const HISTORY: i64 = 0x4550_5204;

/// Excludes every other transaction that locks or shares the hierarchy, until the end of this one.
pub(super) async fn lock_hierarchy(conn: &mut Conn) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(HIERARCHY).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Excludes every other transaction that completes the tables of history, until the end of this one, which has no time
/// limits.
pub(super) async fn lock_history(conn: &mut Conn) -> Result<()> {
    use_no_limits(&mut *conn).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(HISTORY).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Excludes transactions that lock the hierarchy, until the end of this one.
pub(super) async fn share_hierarchy(conn: &mut Conn) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock_shared($1)").bind(HIERARCHY).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Excludes every other transaction that appends a checkpoint, until the end of this one.
pub(super) async fn lock_checkpoints(conn: &mut Conn) -> Result<()> {
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(CHECKPOINTS).execute(conn).await.map_err(classify)?;
    Ok(())
}
