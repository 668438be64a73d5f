//! Lists that are read row by row, in batches, so that a visitor that stops early leaves little unread on the
//! connection.
//!
//! A batch is one statement and one snapshot; the next one begins after the last row that was read. INVARIANT: lists
//! are ordered by columns that never change, so that a row that stays is seen exactly once.

use futures_util::TryStreamExt as _;
use sqlx::{QueryBuilder, Row as _};

use super::dialect::{Conn, Db, Row, SqlTime, bind_id, bind_time, classify, read_id, read_time};
use crate::store::{Cursor, Page, Result, RowVisitor};

/// Rows of the first batch. A driver reads the rest of a statement before the connection is used again: with rows of 1
/// MB, a statement for a whole page would read half a gigabyte in vain.
const FIRST_BATCH: u32 = 64;
/// The most rows in a batch.
const MAX_BATCH: u32 = 512;

/// The reader of a row, and the function that returns its position in the list.
pub(super) type Columns<T, P> = (fn(&Row) -> Result<T>, fn(&T) -> P);

/// Shows at most `limit` rows to `visit` until it says `false`. `query` builds the statement for a number of rows
/// behind a position.
pub(super) async fn show<T, P: Copy>(
    conn: &mut Conn,
    range: (u32, Option<P>),
    query: impl Fn(Option<P>, u32) -> QueryBuilder<Db>,
    columns: Columns<T, P>,
    visit: RowVisitor<'_, T>,
) -> Result<()> {
    show_from(conn, FIRST_BATCH, range, query, columns, visit).await
}

/// [`show`] with another number of rows in the first batch, of which each following one has twice as many.
pub(super) async fn show_from<T, P: Clone>(
    conn: &mut Conn,
    first_batch: u32,
    (limit, mut after): (u32, Option<P>),
    query: impl Fn(Option<P>, u32) -> QueryBuilder<Db>,
    (read, position): Columns<T, P>,
    visit: RowVisitor<'_, T>,
) -> Result<()> {
    let (mut left, mut size) = (limit, first_batch);
    while left > 0 {
        let batch = left.min(size);
        let mut statement = query(after.clone(), batch);
        let mut rows = statement.build().fetch(&mut *conn);
        let mut seen = 0;
        while let Some(row) = rows.try_next().await.map_err(classify)? {
            let value = read(&row)?;
            drop(row);
            seen += 1;
            after = Some(position(&value));
            if !visit(value) {
                return Ok(());
            }
        }
        if seen < batch {
            break;
        }
        left -= seen;
        size = (size * 2).min(MAX_BATCH);
    }
    Ok(())
}

/// The keyset condition, the order and the limit of a list that is ordered by creation, newest first.
pub(super) fn after(query: &mut QueryBuilder<Db>, table: &'static str, page: Page) {
    position(query, table, page.after);
    query.push(" ORDER BY ").push(table).push(".created_at DESC, ").push(table).push(".id DESC LIMIT ");
    query.push_bind(i64::from(page.limit));
}

/// The keyset condition.
pub(super) fn position(query: &mut QueryBuilder<Db>, table: &'static str, after: Option<Cursor>) {
    if let Some(cursor) = after {
        query.push(" AND (").push(table).push(".created_at, ").push(table).push(".id) < (");
        query.push_bind(bind_time(cursor.created_at)).push(", ").push_bind(bind_id(cursor.id)).push(")");
    }
}

/// Returns the last row of a list that fits into about `bytes`, when others follow. `rows` selects `created_at`, `id`
/// and the size of each row as `size`.
pub(super) async fn end(conn: &mut Conn, mut rows: QueryBuilder<Db>, bytes: i64) -> Result<Option<Cursor>> {
    rows.push(") s) t WHERE t.total > ").push_bind(bytes);
    rows.push(" ORDER BY t.created_at DESC, t.id DESC LIMIT 2");
    let found = rows.build().fetch_all(conn).await.map_err(classify)?;
    let [last, _following] = found.as_slice() else { return Ok(None) };
    Ok(Some(Cursor {
        created_at: read_time(last.try_get::<SqlTime, _>("created_at").map_err(classify)?)?,
        id: last.try_get("id").map(read_id).map_err(classify)?,
    }))
}

/// The beginning of the statement of [`end`]; a SELECT of the rows follows.
pub(super) const SUMMED: &str = "SELECT t.created_at, t.id FROM (SELECT s.created_at, s.id, \
     SUM(s.size) OVER (ORDER BY s.created_at DESC, s.id DESC ROWS UNBOUNDED PRECEDING) AS total FROM (";
