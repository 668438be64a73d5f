//! The tables of an older implementation on PostgreSQL: kept in the schema `epr_before`, and restored from there.

use sqlx::AssertSqlSafe;
use sqlx::error::DatabaseError;
use sqlx::postgres::PgDatabaseError;

use super::dialect::{Conn, classify};
use super::sql::takeover::TABLES;
use crate::store::{Result, StoreError};

/// Returns the older tables that are kept.
pub(super) async fn kept_tables(conn: &mut Conn) -> Result<Vec<&'static str>> {
    let found: Vec<String> = sqlx::query_scalar(
        "SELECT CAST(c.relname AS text) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = 'epr_before' AND c.relkind IN ('r', 'p')",
    )
    .fetch_all(conn)
    .await
    .map_err(classify)?;
    let tables = TABLES.iter().map(|(table, _)| *table);
    Ok(tables.filter(|table| found.iter().any(|found| found == table)).collect())
}

/// Returns the expression of a row of the table `t` as a JSON object.
pub(super) async fn row_as_json(_: &mut Conn, _: &str) -> Result<String> {
    Ok("CAST(row_to_json(t) AS text)".into())
}

/// Locks the tables against every other session until the end of the transaction; an error while a process of EPR
/// follows changes.
pub(super) async fn exclude_others(conn: &mut Conn, tables: &[String]) -> Result<()> {
    let listening: i64 = sqlx::query_scalar(
        "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1",
    )
    .bind(super::changes::SESSION)
    .fetch_one(&mut *conn)
    .await
    .map_err(classify)?;
    if listening > 0 {
        return Err(StoreError::NotHandedBack(format!(
            "{listening} processes of EPR are running on this database: stop every process of EPR, then run this again"
        )));
    }
    // A transaction under way ends within its own limit.
    let lock = format!("SET LOCAL lock_timeout = '30s'; LOCK TABLE {} IN ACCESS EXCLUSIVE MODE", tables.join(", "));
    sqlx::raw_sql(AssertSqlSafe(lock)).execute(conn.driver()).await.map_err(classify)?;
    Ok(())
}

/// Moves a table back from the schema where it was kept, with its indexes and constraints.
pub(super) async fn put_back(conn: &mut Conn, table: &str) -> Result<()> {
    let schema: String = sqlx::query_scalar("SELECT quote_ident(CAST(current_schema() AS text))")
        .fetch_one(&mut *conn)
        .await
        .map_err(classify)?;
    let moved = AssertSqlSafe(format!("ALTER TABLE epr_before.{table} SET SCHEMA {schema}"));
    sqlx::raw_sql(moved).execute(conn.driver()).await.map_err(classify)?;
    Ok(())
}

/// Removes functions by name.
pub(super) async fn remove_functions(conn: &mut Conn, functions: Vec<String>) -> Result<()> {
    for function in functions {
        let drop = AssertSqlSafe(format!("DROP FUNCTION IF EXISTS {function}"));
        sqlx::raw_sql(drop).execute(conn.driver()).await.map_err(classify)?;
    }
    Ok(())
}

/// Removes the schema that kept the tables, if it is empty and belongs to this role.
pub(super) async fn tidy(conn: &mut Conn) -> Result<()> {
    let removable: bool = sqlx::query_scalar(
        "SELECT pg_has_role(n.nspowner, 'USAGE') \
                AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.refclassid = 'pg_namespace'::regclass AND d.refobjid \
                = n.oid) \
         FROM pg_namespace n WHERE n.nspname = 'epr_before'",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(classify)?;
    if removable {
        sqlx::raw_sql("DROP SCHEMA epr_before").execute(conn.driver()).await.map_err(classify)?;
    }
    Ok(())
}

/// Returns the server's message, with the objects that depend on the table.
pub(super) fn reason(error: &dyn DatabaseError) -> String {
    match error.try_downcast_ref::<PgDatabaseError>().and_then(PgDatabaseError::detail) {
        Some(detail) => format!("{} ({})", error.message(), detail.replace('\n', "; ")),
        None => error.message().to_owned(),
    }
}
