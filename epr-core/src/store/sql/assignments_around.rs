//! Lists of the assignments around an entity: on it, above it, below it.
//!
//! Must never loop: in a cycle, `UNION` finds no new row. An entity is neither above nor below itself there.

use std::sync::LazyLock;

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::assignments::{JOIN_NAMES, NAMES_OF, SELECTED, select_named};
use super::dialect::{Conn, Db, Id, Row, bind_id, classify, read_id};
use super::entity_search::below;
use super::listing::{self, after, position};
use super::reports::read_named;
use super::searched::{self, FOUND, NEWEST, NEWEST_ROWS, OF_NEWEST, SearchIn, Searched, count_newest};
use crate::domain::{NamedAssignment, Reach};
use crate::store::{Cursor, Page, Result, RowVisitor};

pub(super) async fn list(
    conn: &mut Conn,
    (entity, reach): (Uuid, Reach),
    page: Page,
    visit: RowVisitor<'_, NamedAssignment>,
) -> Result<()> {
    let range = (page.limit, page.after);
    match reach {
        Reach::Here => {
            let query = |position, limit| here_query(entity, Page { limit, after: position });
            listing::show(conn, range, query, (read_named, position_of), visit).await
        }
        Reach::Inherited => {
            let Some(above) = ancestors(&mut *conn, entity).await? else { return Ok(()) };
            let query = |position, limit| inherited_query(&above, Page { limit, after: position });
            listing::show(conn, range, query, (read_named, position_of), visit).await
        }
        Reach::Below => searched::show(conn, &BelowSearch::of(entity), page, visit).await,
    }
}

fn position_of(row: &NamedAssignment) -> Cursor {
    Cursor { created_at: row.assignment.created_at, id: row.assignment.id }
}

/// Selects a page of the assignments on the entity.
#[must_use]
pub fn here_query(entity: Uuid, page: Page) -> QueryBuilder<Db> {
    let mut query = select_named();
    query.push(" WHERE a.entity_id = ").push_bind(bind_id(entity));
    after(&mut query, "a", page);
    query
}

/// The ids of the entities above `entity`; `None` when it does not exist.
async fn ancestors(conn: &mut Conn, entity: Uuid) -> Result<Option<Vec<Uuid>>> {
    let mut query = QueryBuilder::<Db>::new(
        "WITH RECURSIVE above(id, parent_id) AS (SELECT e.id, e.parent_id FROM entities e WHERE e.id = ",
    );
    query.push_bind(bind_id(entity)).push(concat!(
        " UNION SELECT p.id, p.parent_id FROM above a ",
        join_probing!("entities", "p", "p.id = a.parent_id"),
        ") SELECT above.id FROM above"
    ));
    let ids: Vec<Id> = query.build_query_scalar().fetch_all(conn).await.map_err(classify)?;
    let ids: Vec<Uuid> = ids.into_iter().map(read_id).collect();
    let is_known = ids.contains(&entity);
    Ok(is_known.then(|| ids.into_iter().filter(|id| *id != entity).collect()))
}

/// Selects a page of the assignments on any of `above`, and of the global ones. Each has its newest read by the index,
/// so that an ancestor with many costs as much as one with few.
#[must_use]
pub fn inherited_query(above: &[Uuid], page: Page) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::<Db>::new("WITH newest(id) AS (");
    for (number, entity) in above.iter().map(Some).chain([None]).enumerate() {
        query.push(if number == 0 { "" } else { " UNION ALL " });
        query.push("SELECT t.id FROM (SELECT a.id FROM role_assignments a WHERE a.entity_id");
        match entity {
            Some(entity) => query.push(" = ").push_bind(bind_id(*entity)),
            None => query.push(" IS NULL"),
        };
        position(&mut query, "a", page.after);
        // The whole order of the index: for PostgreSQL, no entity is not one entity.
        query.push(" ORDER BY a.entity_id, a.created_at DESC, a.id DESC LIMIT ");
        query.push_bind(i64::from(page.limit)).push(") t");
    }
    query.push(") SELECT ").push(&*SELECTED).push(NAMES_OF);
    query.push(concat!(" FROM newest n ", join_probing!("role_assignments", "a", "a.id = n.id"))).push(JOIN_NAMES);
    query.push(" ORDER BY a.created_at DESC, a.id DESC LIMIT ").push_bind(i64::from(page.limit));
    query
}

/// The rows with the ids in a JSON list, newest first.
static ROWS: LazyLock<String> = LazyLock::new(|| {
    let joined = concat!(
        " FROM ",
        json_items!("$1"),
        " ",
        join_probing!("role_assignments", "a", "a.id = ", uuid_value!("item.value")),
    );
    format!("SELECT {}{NAMES_OF}{joined}{JOIN_NAMES} ORDER BY a.created_at DESC, a.id DESC", *SELECTED)
});

/// The search for the assignments on the entities below one.
#[derive(Debug, Clone, Copy)]
pub struct BelowSearch {
    root: Uuid,
}

impl BelowSearch {
    /// The search below `root`.
    #[must_use]
    pub fn of(root: Uuid) -> Self {
        Self { root }
    }
}

impl Searched<NamedAssignment> for BelowSearch {
    /// Entities count too: a walk through many of them is as long without assignments. Of the assignments, those on the
    /// first entities.
    fn count(&self, most: i64) -> QueryBuilder<Db> {
        let mut query = QueryBuilder::<Db>::new("SELECT (");
        below(&mut query, "id", self.root);
        query.push(" SELECT COUNT(*) FROM (SELECT 1 FROM below LIMIT ").push_bind(most).push(") t) + (");
        below(&mut query, "id", self.root);
        query.push(" SELECT COUNT(*) FROM (SELECT 1 FROM (SELECT below.id FROM below LIMIT ").push_bind(most);
        query.push(concat!(") b ", join_probing!("role_assignments", "a", "a.entity_id = b.id"), " LIMIT "));
        query.push_bind(most).push(") t)");
        query
    }

    fn positions(&self, among: SearchIn, page: Page) -> QueryBuilder<Db> {
        match among {
            SearchIn::Candidates => {
                let mut query = QueryBuilder::<Db>::new("");
                below(&mut query, "id", self.root);
                query.push(concat!(
                    " SELECT a.created_at, a.id FROM below b ",
                    join_probing!("role_assignments", "a", "a.entity_id = b.id"),
                    " WHERE b.id <> "
                ));
                query.push_bind(bind_id(self.root));
                after(&mut query, "a", page);
                query
            }
            SearchIn::NewestRows => {
                let mut query = QueryBuilder::<Db>::new(NEWEST);
                query.push("SELECT a.created_at, a.id, a.entity_id FROM role_assignments a WHERE 1 = 1");
                let limit = u32::try_from(NEWEST_ROWS).unwrap_or(u32::MAX);
                after(&mut query, "a", Page { limit, after: page.after });
                query.push(OF_NEWEST).push("SELECT a.created_at, a.id FROM newest a WHERE a.entity_id <> ");
                query.push_bind(bind_id(self.root)).push(concat!(
                    " AND EXISTS (WITH RECURSIVE above(id) AS (SELECT e.parent_id FROM entities e WHERE e.id = \
                       a.entity_id UNION SELECT p.parent_id FROM above v ",
                    join_probing!("entities", "p", "p.id = v.id"),
                    ") SELECT 1 FROM above WHERE above.id = "
                ));
                query.push_bind(bind_id(self.root)).push(")");
                after(&mut query, "a", Page { limit: page.limit, after: None });
                query.push(FOUND);
                count_newest(&mut query, page.limit);
                query
            }
        }
    }

    fn rows(&self) -> &'static str {
        &ROWS
    }

    fn read(&self, row: &Row) -> Result<NamedAssignment> {
        read_named(row)
    }

    /// An assignment never moves, and its entity rarely does: the page shows it where it was found.
    fn admits(&self, _: &NamedAssignment) -> bool {
        true
    }
}
