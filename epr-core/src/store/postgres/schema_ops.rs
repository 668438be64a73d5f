//! The schema on PostgreSQL: ownership of tables, missing privileges, the migration lock, tables that are set aside.
//!
//! Errors say which statement grants a missing privilege.

use std::time::Duration;

use sqlx::migrate::Migration;
use sqlx::{AssertSqlSafe, Connection as _, Row as _};

use super::advisory_locks;
use super::dialect::{Conn, Pool, Row, classify};
use super::sql::schema::{Applied, are_ours, read_applied};
use crate::store::{Result, StoreError};

/// The interval at which a process tries to take the lock of migrations. It does not wait inside a statement:
/// `CREATE INDEX CONCURRENTLY` waits for every statement that began before.
const LOCK_POLL: Duration = Duration::from_millis(200);

/// Returns an error for a database that would not return texts as they were written.
pub(in super::super) async fn check_database(conn: &mut Conn) -> Result<()> {
    let encoding: String =
        sqlx::query_scalar("SELECT current_setting('server_encoding')").fetch_one(conn).await.map_err(classify)?;
    if encoding == "UTF8" {
        return Ok(());
    }
    Err(StoreError::Unsuitable(format!(
        "the database has the encoding {encoding}, and EPR needs UTF8: create one with CREATE DATABASE … ENCODING \
         'UTF8' \
         TEMPLATE template0, and name it in EPR_DATABASE_URL"
    )))
}

/// Returns EPR's applied migrations, in their order. The search path may lead to another application's table of that
/// name.
pub(in super::super) async fn applied_migrations(conn: &mut Conn) -> Result<Vec<Applied>> {
    let tables = sqlx::query(
        "SELECT format('%I._sqlx_migrations', s.name) AS name, CAST(s.name AS text) AS schema, \
         s.name = current_schema() AS first, \
                has_table_privilege(c.oid, 'SELECT') AS readable \
         FROM unnest(current_schemas(false)) WITH ORDINALITY s(name, place) \
         JOIN pg_namespace n ON n.nspname = s.name \
         JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = '_sqlx_migrations' ORDER BY s.place",
    )
    .fetch_all(&mut *conn)
    .await
    .map_err(classify)?;
    for table in &tables {
        let name: String = table.try_get("name").map_err(classify)?;
        let first: bool = table.try_get("first").map_err(classify)?;
        if !table.try_get::<bool, _>("readable").map_err(classify)? {
            if first {
                return Err(
                    missing_right(&mut *conn, &format!("read {name}"), &format!("GRANT SELECT ON {name} TO")).await
                );
            }
            continue;
        }
        let list = format!("SELECT version, description, checksum FROM {name} WHERE success ORDER BY version");
        let rows = sqlx::query(sqlx::AssertSqlSafe(list)).fetch_all(&mut *conn).await.map_err(classify)?;
        let applied = rows.iter().map(read_applied).collect::<Result<Vec<_>>>()?;
        match (are_ours(&applied), first) {
            (true, true) => return Ok(applied),
            (true, false) if applied.is_empty() => {}
            (true, false) => {
                let schema: String = table.try_get("schema").map_err(classify)?;
                return Err(StoreError::Unsuitable(format!(
                    "EPR's tables are in the schema {schema}, \
                     but the search_path of this role begins with another one: new \
                     tables would be made there. Put {schema} first in search_path"
                )));
            }
            (false, true) => return Err(foreign_table_error(conn, "_sqlx_migrations").await),
            (false, false) => {}
        }
    }
    Ok(Vec::new())
}

/// Removes the time limits of this transaction, as for a migration. Timestamps without a zone are read as UTC.
pub(in super::super) async fn use_no_limits(conn: &mut Conn) -> Result<()> {
    const NO_LIMITS: &str = "SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; \
                           SET LOCAL idle_in_transaction_session_timeout = 0; SET LOCAL TIME ZONE 'UTC'";
    sqlx::raw_sql(NO_LIMITS).execute(conn.driver()).await.map_err(classify)?;
    Ok(())
}

/// Makes this the only process that changes the schema, until the end of the transaction.
pub(in super::super) async fn lock_schema(conn: &mut Conn) -> Result<()> {
    use_no_limits(&mut *conn).await?;
    loop {
        let locked: bool = sqlx::query_scalar("SELECT pg_try_advisory_xact_lock($1)")
            .bind(advisory_locks::SCHEMA)
            .fetch_one(&mut *conn)
            .await
            .map_err(classify)?;
        if locked {
            return Ok(());
        }
        tokio::time::sleep(LOCK_POLL).await;
    }
}

/// Returns an error unless this role may create tables in the current schema.
pub(in super::super) async fn may_create(conn: &mut Conn) -> Result<()> {
    let (schema, may): (Option<String>, Option<bool>) =
        sqlx::query_as("SELECT CAST(current_schema() AS text), has_schema_privilege(current_schema(), 'CREATE')")
            .fetch_one(&mut *conn)
            .await
            .map_err(classify)?;
    match (schema, may) {
        (Some(_), Some(true)) => Ok(()),
        (Some(schema), _) => {
            let grant = format!("GRANT USAGE, CREATE ON SCHEMA {} TO", quoted(&schema));
            Err(missing_right(conn, &format!("create tables in the schema {schema}"), &grant).await)
        }
        (None, _) => Err(StoreError::Unsuitable(
            "the search_path of this role names no schema that exists: create one (CREATE SCHEMA epr AUTHORIZATION …) \
             and \
             name it there (ALTER ROLE … SET search_path = epr)"
                .into(),
        )),
    }
}

/// Returns the columns of a table of that schema; none when there is no such table.
pub(in super::super) async fn columns(conn: &mut Conn, table: &str) -> Result<Vec<String>> {
    sqlx::query_scalar(
        "SELECT CAST(attname AS text) FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped \
         AND attrelid = to_regclass(format('%I.%I', current_schema(), $1))",
    )
    .bind(table)
    .fetch_all(conn)
    .await
    .map_err(classify)
}

/// Sets a table aside, with its indexes and constraints.
pub(in super::super) async fn set_aside_table(conn: &mut Conn, table: &'static str) -> Result<()> {
    let (exists, may_make, owner, is_ours): (bool, bool, String, bool) = sqlx::query_as(
        "SELECT to_regnamespace('epr_before') IS NOT NULL, has_database_privilege(current_database(), 'CREATE'), \
           CAST(pg_get_userbyid(c.relowner) AS text), pg_has_role(c.relowner, 'USAGE') \
         FROM pg_class c WHERE c.oid = to_regclass(format('%I.%I', current_schema(), $1))",
    )
    .bind(table)
    .fetch_one(&mut *conn)
    .await
    .map_err(classify)?;
    if !is_ours {
        let grant = format!("GRANT {} TO", quoted(&owner));
        return Err(missing_right(conn, &format!("move the table {table}, which belongs to {owner},"), &grant).await);
    }
    if !exists {
        if !may_make {
            let grant = "CREATE SCHEMA epr_before AUTHORIZATION";
            return Err(missing_right(conn, "create the schema epr_before, where older tables are kept,", grant).await);
        }
        sqlx::raw_sql("CREATE SCHEMA epr_before").execute(conn.driver()).await.map_err(classify)?;
    }
    let may: bool = sqlx::query_scalar(
        "SELECT has_schema_privilege('epr_before', 'USAGE, CREATE') \
                                        AND has_schema_privilege('epr_before', 'CREATE')",
    )
    .fetch_one(&mut *conn)
    .await
    .map_err(classify)?;
    if !may {
        let grant = "GRANT USAGE, CREATE ON SCHEMA epr_before TO";
        return Err(missing_right(conn, "move tables into the schema epr_before", grant).await);
    }
    let moved = format!("ALTER TABLE {table} SET SCHEMA epr_before");
    sqlx::raw_sql(sqlx::AssertSqlSafe(moved))
        .execute(conn.driver())
        .await
        .map_err(|error| explain_migration_error(error, 0))?;
    Ok(())
}

/// Applies a migration that builds indexes concurrently, statement by statement.
pub(in super::super) async fn apply_outside(pool: &Pool, migration: &Migration) -> Result<()> {
    // Outside the pool, which may have no other connection than the one with the lock.
    let mut conn = pool.connect_outside_pool().await?;
    for statement in statements(migration.sql.as_str()) {
        let done = sqlx::raw_sql(sqlx::AssertSqlSafe(statement)).execute(&mut conn).await;
        done.map_err(|error| explain_migration_error(error, migration.version))?;
    }
    conn.close().await.map_err(classify)
}

/// Splits a file into statements, each of which ends with `;` at the end of a line.
fn statements(sql: &str) -> impl Iterator<Item = String> {
    let code: String =
        sql.lines().filter(|line| !line.trim_start().starts_with("--")).fold(String::new(), |mut all, line| {
            all.push_str(line);
            all.push('\n');
            all
        });
    let all: Vec<String> = code.split(";\n").map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect();
    all.into_iter()
}

/// Explains which privilege is missing, or which object of another application is in the way.
pub(in super::super) fn explain_migration_error(error: sqlx::Error, version: i64) -> StoreError {
    let sqlx::Error::Database(db_error) = &error else { return classify(error) };
    let what = if version == 0 { "the schema".to_owned() } else { format!("migration {version}") };
    match db_error.code().as_deref() {
        // Insufficient privilege.
        Some("42501") => StoreError::Unsuitable(format!(
            "{what} cannot be applied, because this role lacks a right ({}): run `epr migrate` as the role that owns \
             EPR's \
             tables, or GRANT that role to this one",
            db_error.message()
        )),
        // A table, type, function or index of that name.
        Some("42P07" | "42710" | "42723") => StoreError::Unsuitable(format!(
            "{what} cannot be applied: {}, and it is not EPR's. Give EPR a schema of its own ({OWN_SCHEMA})",
            db_error.message()
        )),
        _ => match classify(error) {
            StoreError::Backend(cause) => StoreError::Migration(format!("{what}: {cause}")),
            other => other,
        },
    }
}

const OWN_SCHEMA: &str = "CREATE SCHEMA epr AUTHORIZATION …; ALTER ROLE … IN DATABASE … SET search_path = epr";

/// The error of a table that belongs to another application.
pub(in super::super) async fn foreign_table_error(conn: &mut Conn, table: &str) -> StoreError {
    let found: std::result::Result<(String, String, String), _> = sqlx::query_as(
        "SELECT CAST(current_schema() AS text), quote_ident(current_user), quote_ident(current_database())",
    )
    .fetch_one(conn)
    .await;
    match found {
        Ok((schema, role, database)) => StoreError::Unsuitable(format!(
            "the table {table} in the schema {schema} belongs to another application: these tables are not EPR's. Give \
             EPR a \
             schema of its own: CREATE SCHEMA epr AUTHORIZATION {role}; ALTER ROLE {role} IN DATABASE {database} SET \
             search_path = epr"
        )),
        Err(error) => classify(error),
    }
}

/// The error that names a missing privilege and the statement that grants it.
async fn missing_right(conn: &mut Conn, what: &str, grant: &str) -> StoreError {
    let role: std::result::Result<String, _> =
        sqlx::query_scalar("SELECT quote_ident(current_user)").fetch_one(conn).await;
    match role {
        Ok(role) => StoreError::Unsuitable(format!("the role {role} may not {what}: run {grant} {role}")),
        Err(error) => classify(error),
    }
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The rows of a statement, read in pages by a cursor of the running transaction.
pub(super) struct Pages;

/// Begins reading; one at a time in a transaction.
pub(super) async fn open_pages(conn: &mut Conn, declaration: &'static str) -> Result<Pages> {
    sqlx::raw_sql(declaration).execute(conn.driver()).await.map_err(classify)?;
    Ok(Pages)
}

/// The next page; empty at the end.
pub(super) async fn next_page(conn: &mut Conn, _: &mut Pages) -> Result<Vec<Row>> {
    let page = sqlx::query("FETCH 1000 FROM older_rows").fetch_all(&mut *conn).await.map_err(classify)?;
    if page.is_empty() {
        sqlx::raw_sql("CLOSE older_rows").execute(conn.driver()).await.map_err(classify)?;
    }
    Ok(page)
}

/// Disables the triggers of a table during the copy; returns the statements that enable them as they were.
pub(super) async fn pause_triggers(conn: &mut Conn, table: &'static str) -> Result<Vec<String>> {
    let resume = sqlx::query_scalar(
        "SELECT format('ALTER TABLE %I ENABLE %s TRIGGER %I', $1, \
             CASE tgenabled WHEN 'A' THEN 'ALWAYS' WHEN 'R' THEN 'REPLICA' ELSE '' END, tgname) \
         FROM pg_trigger WHERE tgrelid = to_regclass(format('%I.%I', current_schema(), $1)) \
           AND NOT tgisinternal AND tgenabled <> 'D'",
    )
    .bind(table)
    .fetch_all(&mut *conn)
    .await
    .map_err(classify)?;
    let pause = format!("ALTER TABLE {table} DISABLE TRIGGER USER");
    sqlx::raw_sql(AssertSqlSafe(pause)).execute(conn.driver()).await.map_err(classify)?;
    Ok(resume)
}

/// Enables triggers again.
pub(super) async fn resume_triggers(conn: &mut Conn, statements: Vec<String>) -> Result<()> {
    for statement in statements {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn.driver()).await.map_err(classify)?;
    }
    Ok(())
}
