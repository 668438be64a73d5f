//! What a takeover needs on SQLite: the rows of a statement, read in pages by the key of the row.

use sqlx::Row as _;

use super::dialect::{Conn, Row, classify};
use crate::store::Result;

/// Where the next page begins.
pub(super) struct Pages {
    statement: &'static str,
    after: i64,
}

/// Begins reading.
#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL")]
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

/// A trigger costs one more row here, however many there are.
#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL")]
pub(super) async fn pause_triggers(_: &mut Conn, _: &'static str) -> Result<Vec<String>> {
    Ok(Vec::new())
}

#[allow(clippy::unused_async, reason = "the same signature as on PostgreSQL")]
pub(super) async fn resume_triggers(_: &mut Conn, _: Vec<String>) -> Result<()> {
    Ok(())
}
