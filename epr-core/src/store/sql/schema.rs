//! Bringing the schema up to date, and saying how it stands.

use std::path::PathBuf;

use sqlx::migrate::{Migrate as _, MigrateError};

use super::{Db, MIGRATIONS, acquire, adopt, classify, patient, unless_silent};
use crate::store::{Result, SchemaState, StoreError};

/// What migrations need besides a connection.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Where processes exclude each other, when the database itself has no lock for it.
    pub(crate) lock_file: Option<PathBuf>,
    /// Whether a connection may be closed without losing data.
    pub(crate) closable: bool,
}

/// The name of sqlx's own table.
const APPLIED: &str = "_sqlx_migrations";

fn known() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0)
}

/// Applies what is missing.
pub(super) async fn migrate(pool: &sqlx::Pool<Db>, target: &Target) -> Result<SchemaState> {
    let _lock = match &target.lock_file {
        Some(path) => Some(exclusive(path.clone()).await?),
        None => None,
    };
    let before = state(pool).await?;
    if before.applied > before.known {
        return Err(StoreError::SchemaTooNew { applied: before.applied, known: before.known });
    }
    adopt::adopt(pool).await?;
    let mut conn = pool.acquire().await.map_err(classify)?;
    // It will be too patient for requests, and after a failure, or when nobody waits for it any more, it may still hold the
    // migration lock. A database in memory lives in its connection, which then stays as it is.
    if target.closable {
        conn.close_on_drop();
    }
    patient(&mut conn).await?;
    MIGRATIONS.run_direct(None, &mut *conn, false).await.map_err(failed)?;
    Ok(SchemaState { applied: known(), known: known() })
}

pub(super) fn failed(fault: MigrateError) -> StoreError {
    match fault {
        MigrateError::VersionMissing(applied) => StoreError::SchemaTooNew { applied, known: known() },
        MigrateError::Execute(fault) => classify(fault),
        fault => StoreError::Migration(fault.to_string()),
    }
}

/// Reads which migrations were applied.
pub(super) async fn state(pool: &sqlx::Pool<Db>) -> Result<SchemaState> {
    let mut conn = acquire(pool).await?;
    let listed = unless_silent(async { Ok(conn.list_applied_migrations(APPLIED).await) }).await?;
    let applied = match listed {
        Ok(list) => list.iter().map(|migration| migration.version).max().unwrap_or(0),
        Err(MigrateError::Execute(sqlx::Error::Database(fault))) if no_such_table(&*fault) => 0,
        Err(MigrateError::Execute(fault)) => return Err(classify(fault)),
        Err(fault) => return Err(StoreError::Migration(fault.to_string())),
    };
    Ok(SchemaState { applied, known: known() })
}

fn no_such_table(fault: &dyn sqlx::error::DatabaseError) -> bool {
    fault.code().as_deref() == Some("42P01") || fault.message().contains("no such table")
}

/// Takes a lock on a file beside the database, released when the file is closed or the process dies.
async fn exclusive(path: PathBuf) -> Result<std::fs::File> {
    tokio::task::spawn_blocking(move || {
        let file = std::fs::File::create(path)?;
        file.lock()?;
        Ok(file)
    })
    .await
    .map_err(|fault| StoreError::Backend(fault.into()))?
    .map_err(|fault: std::io::Error| StoreError::Unavailable(fault.into()))
}
