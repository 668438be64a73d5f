//! Statements about the schema on SQLite.

use super::dialect::{Conn, acquire, classify, columns};
use super::pool::Pool;
use super::sql::schema;
use crate::store::StoreError;

/// Returns EPR's applied migrations, in their order.
pub(super) async fn applied_migrations(conn: &mut Conn) -> Result<Vec<schema::Applied>, StoreError> {
    if columns(&mut *conn, schema::APPLIED).await?.is_empty() {
        return Ok(Vec::new());
    }
    let rows =
        sqlx::query("SELECT version, description, checksum FROM _sqlx_migrations WHERE success ORDER BY version")
            .fetch_all(&mut *conn)
            .await
            .map_err(classify)?;
    let applied = rows.iter().map(schema::read_applied).collect::<Result<Vec<_>, StoreError>>()?;
    if schema::are_ours(&applied) { Ok(applied) } else { Err(foreign_table_error(conn, schema::APPLIED).await) }
}

/// Applies a migration that runs outside a transaction elsewhere.
pub(super) async fn apply_outside(pool: &Pool, migration: &sqlx::migrate::Migration) -> Result<(), StoreError> {
    let mut conn = acquire(pool).await?;
    let done = sqlx::raw_sql(migration.sql.clone()).execute(&mut *conn).await;
    done.map(|_| ()).map_err(|error| explain_migration_error(error, migration.version))
}

/// Explains why a migration failed.
pub(super) fn explain_migration_error(error: sqlx::Error, version: i64) -> StoreError {
    match classify(error) {
        StoreError::Backend(cause) => StoreError::Migration(format!("migration {version}: {cause}")),
        other => other,
    }
}

/// The error of a table that belongs to another application.
pub(super) async fn foreign_table_error(_: &mut Conn, table: &str) -> StoreError {
    StoreError::Unsuitable(format!(
        "the table {table} in this file belongs to another application: these tables are not EPR's. Give EPR a file of \
         its own"
    ))
}
