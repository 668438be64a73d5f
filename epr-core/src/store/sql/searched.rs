//! Lists that no index has both by their filter and in their order: the search for a page.
//!
//! Such a filter has candidates, which an index finds, but in another order than that of the list. A few candidates are
//! read and sorted for each page. Many are not: the page is looked for among the newest rows first, where it usually
//! is, and only if they neither fill it nor are all rows, among all candidates. So a page reads a bounded number of
//! rows of the table and at most the candidates, however large the table is. Must never leave out a row: the three
//! ways find the same rows.

use futures_util::TryStreamExt as _;
use sqlx::{QueryBuilder, Row as _};

use super::dialect::{Conn, Db, Id, Row, SqlTime, classify, read_id, read_time};
use crate::domain::Json;
use crate::store::{Cursor, Page, Result, RowVisitor};

/// Up to this many candidates, all of them are read for a page.
pub const FEW_CANDIDATES: i64 = 10_000;
/// The number of the newest rows among which a page is looked for when there are more candidates.
pub const NEWEST_ROWS: i64 = 5_000;

/// The most rows of one page of positions. A list without a limit is read in such pages.
const MAX_POSITIONS: u32 = 1_001;
/// The most rows that are read by their ids in one statement: see [`super::listing`].
const MAX_BATCH: usize = 512;
/// The number of rows of the first batch.
const FIRST_BATCH: usize = 64;

/// Where the rows of a page are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SearchIn {
    /// Among all candidates.
    Candidates,
    /// Among the newest [`NEWEST_ROWS`] of the rows that an index has in the order of the list.
    NewestRows,
}

/// The statements of a list whose pages are searched.
pub trait Searched<T> {
    /// Selects the number of candidates, at most `most`.
    fn count(&self, most: i64) -> QueryBuilder<Db>;

    /// Selects `created_at` and `id` of at most `limit` rows of the list after a position, in its order. Among the
    /// newest rows perhaps also one row more, by [`count_newest`].
    fn positions(&self, among: SearchIn, page: Page) -> QueryBuilder<Db>;

    /// The statement that selects the rows with the ids in the JSON list `$1`, in the order of the list.
    fn rows(&self) -> &'static str;

    /// Reads a row.
    ///
    /// # Errors
    /// The row is corrupt.
    fn read(&self, row: &Row) -> Result<T>;

    /// Returns `true` if the row still matches: it may have changed since its position was found.
    fn admits(&self, row: &T) -> bool;
}

/// Shows at most `page.limit` rows to `visit` until it says `false`.
pub(super) async fn show<T>(
    conn: &mut Conn,
    searched: &impl Searched<T>,
    page: Page,
    visit: RowVisitor<'_, T>,
) -> Result<()> {
    let mut query = searched.count(FEW_CANDIDATES + 1);
    let candidates: i64 = query.build_query_scalar().fetch_one(&mut *conn).await.map_err(classify)?;
    let few = candidates <= FEW_CANDIDATES;
    let (mut left, mut after) = (page.limit, page.after);
    while left > 0 {
        let wanted = Page { limit: left.min(MAX_POSITIONS), after };
        let is_full = |found: &[Cursor]| u32::try_from(found.len()).is_ok_and(|rows| rows >= wanted.limit);
        let (mut found, mut is_all) = (Vec::new(), false);
        if !few {
            (found, is_all) = positions(&mut *conn, searched, SearchIn::NewestRows, wanted).await?;
        }
        if !is_full(&found) && !is_all {
            (found, _) = positions(&mut *conn, searched, SearchIn::Candidates, wanted).await?;
        }
        // A row that no longer matches is replaced by the next one: a page that is short has to be the last.
        let Some(shown) = show_rows(&mut *conn, searched, &found, visit).await? else { break };
        if !is_full(&found) {
            break;
        }
        left = left.saturating_sub(shown);
        after = found.last().copied();
    }
    Ok(())
}

/// The beginning of the statement of positions among the newest rows. The SELECT of those rows follows, then
/// [`OF_NEWEST`], the SELECT of the positions from `newest`, and [`FOUND`].
pub(super) const NEWEST: &str = "WITH newest AS NOT MATERIALIZED (";
pub(super) const OF_NEWEST: &str = "), found AS MATERIALIZED (";
pub(super) const FOUND: &str = ") SELECT f.created_at, f.id, CAST(NULL AS bigint) AS looked_at FROM found f";

/// Adds to a statement that ends with [`FOUND`] a row without an id, whose `looked_at` is the number of the newest
/// rows, if the page of `limit` positions is not full. They are counted in the snapshot in which they were searched.
pub(super) fn count_newest(query: &mut QueryBuilder<Db>, limit: u32) {
    query.push(" UNION ALL SELECT NULL, NULL, COUNT(*) FROM newest WHERE (SELECT COUNT(*) FROM found) < ");
    query.push_bind(i64::from(limit));
}

/// Returns the positions, and whether the newest rows were all rows, so that no other row can match. That is known only
/// of a page that is not full.
async fn positions<T>(
    conn: &mut Conn,
    searched: &impl Searched<T>,
    among: SearchIn,
    page: Page,
) -> Result<(Vec<Cursor>, bool)> {
    let rows = searched.positions(among, page).build().fetch_all(conn).await.map_err(classify)?;
    let (mut found, mut is_all) = (Vec::with_capacity(rows.len()), false);
    for row in &rows {
        match row.try_get::<Option<Id>, _>("id").map_err(classify)?.map(read_id) {
            Some(id) => {
                let created_at = read_time(row.try_get::<SqlTime, _>("created_at").map_err(classify)?)?;
                found.push(Cursor { created_at, id });
            }
            None => is_all = row.try_get::<i64, _>("looked_at").map_err(classify)? < NEWEST_ROWS,
        }
    }
    // The rows of two SELECTs have no order together.
    found.sort_unstable_by_key(|one| std::cmp::Reverse((one.created_at, one.id)));
    Ok((found, is_all))
}

/// Reads the rows at these positions and shows them to `visit`; returns their number, or `None` when it has stopped.
async fn show_rows<T>(
    conn: &mut Conn,
    searched: &impl Searched<T>,
    positions: &[Cursor],
    visit: RowVisitor<'_, T>,
) -> Result<Option<u32>> {
    let (mut left, mut size, mut shown) = (positions, FIRST_BATCH, 0);
    while !left.is_empty() {
        let (batch, rest) = left.split_at(size.min(left.len()));
        let ids: Vec<String> = batch.iter().map(|position| position.id.to_string()).collect();
        let mut rows = sqlx::query(searched.rows()).bind(Json::from(ids).to_string()).fetch(&mut *conn);
        while let Some(row) = rows.try_next().await.map_err(classify)? {
            let value = searched.read(&row)?;
            drop(row);
            if searched.admits(&value) {
                shown += 1;
                if !visit(value) {
                    return Ok(None);
                }
            }
        }
        (left, size) = (rest, (size * 2).min(MAX_BATCH));
    }
    Ok(Some(shown))
}
