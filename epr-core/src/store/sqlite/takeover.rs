//! The tables of an older implementation in a SQLite file: kept under names that begin with `before_`, and restored
//! from there.

#![allow(
    clippy::unused_async,
    reason = "the signatures are PostgreSQL's; a file needs no server's answer for some of them"
)]

use sqlx::error::DatabaseError;
use sqlx::{AssertSqlSafe, Row as _};

use super::dialect::{Conn, Row, classify, columns};
use super::sql::takeover::TABLES;
use crate::store::Result;

/// The table that keeps the statements of the older tables' indexes. Index names are unique in the whole file, so the
/// indexes themselves are dropped.
const INDEXES: &str = "before_indexes";

/// Sets a table aside.
pub(super) async fn set_aside_table(conn: &mut Conn, table: &'static str) -> Result<()> {
    let indexes: Vec<(String, String)> = sqlx::query_as(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND tbl_name = $1 AND sql IS NOT NULL",
    )
    .bind(table)
    .fetch_all(&mut *conn)
    .await
    .map_err(classify)?;
    run(&mut *conn, format!("CREATE TABLE IF NOT EXISTS {INDEXES} (statement TEXT NOT NULL)")).await?;
    for (name, statement) in indexes {
        let keep = AssertSqlSafe(format!("INSERT INTO {INDEXES} VALUES ($1)"));
        sqlx::query(keep).bind(statement).execute(&mut *conn).await.map_err(classify)?;
        run(&mut *conn, format!("DROP INDEX \"{}\"", name.replace('"', "\"\""))).await?;
    }
    run(conn, format!("ALTER TABLE {table} RENAME TO before_{table}")).await
}

/// Returns the older tables that are kept.
pub(super) async fn kept_tables(conn: &mut Conn) -> Result<Vec<&'static str>> {
    let mut kept = Vec::new();
    for (table, _) in TABLES {
        if !columns(&mut *conn, &format!("before_{table}")).await?.is_empty() {
            kept.push(table);
        }
    }
    Ok(kept)
}

/// Returns the expression of a row of the table `t` as a JSON object.
pub(super) async fn row_as_json(conn: &mut Conn, table: &str) -> Result<String> {
    let members = columns(conn, table).await?.into_iter().map(|column| match column.as_str() {
        "attributes" | "scope_types" | "payload" | "context" => format!("'{column}', json(t.{column})"),
        _ => format!("'{column}', t.{column}"),
    });
    Ok(format!("json_object({})", members.collect::<Vec<_>>().join(", ")))
}

/// Does nothing: a transaction that writes is exclusive.
pub(super) async fn exclude_others(_: &mut Conn, _: &[String]) -> Result<()> {
    Ok(())
}

/// Restores the name of a table.
pub(super) async fn put_back(conn: &mut Conn, table: &str) -> Result<()> {
    run(conn, format!("ALTER TABLE before_{table} RENAME TO {table}")).await
}

/// Does nothing: the schema has no functions here.
pub(super) async fn remove_functions(_: &mut Conn, _: Vec<String>) -> Result<()> {
    Ok(())
}

/// Recreates the older indexes. A file that an earlier version took over has no record of them.
pub(super) async fn tidy(conn: &mut Conn) -> Result<()> {
    if columns(&mut *conn, INDEXES).await?.is_empty() {
        return Ok(());
    }
    let list = AssertSqlSafe(format!("SELECT statement FROM {INDEXES}"));
    let statements: Vec<String> = sqlx::query_scalar(list).fetch_all(&mut *conn).await.map_err(classify)?;
    for statement in statements {
        run(&mut *conn, statement).await?;
    }
    run(conn, format!("DROP TABLE {INDEXES}")).await
}

async fn run(conn: &mut Conn, statement: String) -> Result<()> {
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(conn).await.map_err(classify)?;
    Ok(())
}

/// Returns SQLite's message.
pub(super) fn reason(error: &dyn DatabaseError) -> String {
    error.message().to_owned()
}

/// The position of the next page.
pub(super) struct Pages {
    statement: &'static str,
    after: i64,
}

/// Begins reading.
pub(super) async fn open_pages(_: &mut Conn, statement: &'static str) -> Result<Pages> {
    Ok(Pages { statement, after: i64::MIN })
}

/// The next page; empty at the end.
pub(super) async fn next_page(conn: &mut Conn, pages: &mut Pages) -> Result<Vec<Row>> {
    let page = sqlx::query(pages.statement).bind(pages.after).fetch_all(conn).await.map_err(classify)?;
    if let Some(last) = page.last() {
        pages.after = last.try_get("page_key").map_err(classify)?;
    }
    Ok(page)
}

/// Does nothing: a trigger costs one more row here, however many rows there are.
pub(super) async fn pause_triggers(_: &mut Conn, _: &'static str) -> Result<Vec<String>> {
    Ok(Vec::new())
}

pub(super) async fn resume_triggers(_: &mut Conn, _: Vec<String>) -> Result<()> {
    Ok(())
}
