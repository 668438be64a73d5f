//! Lists of entities by the beginning of their names or by an ancestor: the statements of their search.
//!
//! Must never loop: in a cycle, `UNION` finds no new row.

use std::sync::LazyLock;

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::dialect::{Conn, Db, Row, bind_id, classify};
use super::entities::{self, SELECTED};
use super::listing::after;
use super::searched::{FEW_CANDIDATES, FOUND, NEWEST, NEWEST_ROWS, OF_NEWEST, SearchIn, Searched, count_newest};
use crate::domain::{Entity, EntityFilter};
use crate::store::text_range::end_of_prefix;
use crate::store::{Page, Result};

/// The rows with the ids in a JSON list, newest first.
static ROWS: LazyLock<String> = LazyLock::new(|| {
    let joined = concat!(
        " FROM ",
        json_items!("$1"),
        " ",
        join_probing!("entities", "e", "e.id = ", uuid_value!("item.value")),
        " ORDER BY e.created_at DESC, e.id DESC"
    );
    format!("SELECT {}{joined}", *SELECTED)
});

/// How the candidates of a filter are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntityCandidates<'a> {
    /// By the beginning of their names.
    Names(&'a str),
    /// By a walk down from this entity.
    Subtree(Uuid),
}

/// The search for entities that match a filter.
#[derive(Debug, Clone, Copy)]
pub struct EntitySearch<'a> {
    filter: &'a EntityFilter,
    candidates: EntityCandidates<'a>,
}

impl<'a> EntitySearch<'a> {
    /// The searches that `filter` needs, either of which finds its rows. None when it has neither condition, or another
    /// one by which an index finds the rows.
    #[must_use]
    pub fn all_of(filter: &'a EntityFilter) -> Vec<Self> {
        if filter.name.is_some() || filter.external_id.is_some() || filter.parent_id.is_some() {
            return Vec::new();
        }
        let names = filter.name_prefix.as_ref().map(|prefix| EntityCandidates::Names(prefix.as_str()));
        let subtree = filter.ancestor_id.map(EntityCandidates::Subtree);
        names.into_iter().chain(subtree).map(|candidates| Self { filter, candidates }).collect()
    }

    /// The cheapest of the searches that `filter` needs.
    pub(super) async fn of(conn: &mut Conn, filter: &'a EntityFilter) -> Result<Option<Self>> {
        let all = Self::all_of(filter);
        if let [names, subtree] = all.as_slice() {
            let count: i64 =
                names.count(FEW_CANDIDATES + 1).build_query_scalar().fetch_one(conn).await.map_err(classify)?;
            return Ok(Some(if count <= FEW_CANDIDATES { *names } else { *subtree }));
        }
        Ok(all.first().copied())
    }
}

impl Searched<Entity> for EntitySearch<'_> {
    fn count(&self, most: i64) -> QueryBuilder<Db> {
        match self.candidates {
            EntityCandidates::Names(prefix) => {
                let mut query = QueryBuilder::<Db>::new("SELECT COUNT(*) FROM (SELECT 1 FROM entities e WHERE 1 = 1");
                name_range(&mut query, prefix);
                // The order makes the databases read the index and not the table.
                query.push(concat!(" ORDER BY ", byte_order!("e.name"), " LIMIT ")).push_bind(most).push(") t");
                query
            }
            EntityCandidates::Subtree(root) => {
                let mut query = QueryBuilder::<Db>::new("");
                below(&mut query, "id", root);
                query.push(" SELECT COUNT(*) FROM (SELECT 1 FROM below LIMIT ").push_bind(most).push(") t");
                query
            }
        }
    }

    fn positions(&self, among: SearchIn, page: Page) -> QueryBuilder<Db> {
        let (mut query, name, ancestor) = match (among, self.candidates) {
            (SearchIn::NewestRows, _) => (newest_rows(self.filter, page), true, true),
            (SearchIn::Candidates, EntityCandidates::Names(prefix)) => {
                let mut query = QueryBuilder::<Db>::new(
                    "WITH named AS MATERIALIZED (SELECT e.id, e.created_at, e.type, e.status, e.parent_id \
                       FROM entities e WHERE 1 = 1",
                );
                name_range(&mut query, prefix);
                query.push(") SELECT e.created_at, e.id FROM named e WHERE ");
                kinds(&mut query, self.filter);
                (query, false, true)
            }
            (SearchIn::Candidates, EntityCandidates::Subtree(root)) => {
                let mut query = QueryBuilder::<Db>::new("");
                below(&mut query, "id, created_at, type, status, name", root);
                query.push(" SELECT e.created_at, e.id FROM below e WHERE ");
                kinds(&mut query, self.filter);
                // In a cycle an entity is below itself.
                query.push(" AND e.id <> ").push_bind(bind_id(root));
                (query, true, false)
            }
        };
        if let Some(prefix) = self.filter.name_prefix.as_ref().filter(|_| name) {
            name_range(&mut query, prefix.as_str());
        }
        if let Some(root) = self.filter.ancestor_id.filter(|_| ancestor) {
            has_ancestor(&mut query, None, root);
        }
        // The newest rows begin after the position of the page already.
        let begin = page.after.filter(|_| among == SearchIn::Candidates);
        after(&mut query, "e", Page { limit: page.limit, after: begin });
        if among == SearchIn::NewestRows {
            query.push(FOUND);
            // Counting is worth a walk through a subtree, but not a range of an index.
            if matches!(self.candidates, EntityCandidates::Subtree(_)) {
                count_newest(&mut query, page.limit);
            }
        }
        query
    }

    fn rows(&self) -> &'static str {
        &ROWS
    }

    fn read(&self, row: &Row) -> Result<Entity> {
        entities::read(row)
    }

    fn admits(&self, row: &Entity) -> bool {
        self.filter.admits(row)
    }
}

/// The search among the newest rows that match by type and status, which indexes have in the order of the list.
fn newest_rows(filter: &EntityFilter, page: Page) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::<Db>::new(NEWEST);
    query.push("SELECT e.created_at, e.id, e.parent_id, e.name FROM entities e WHERE ");
    kinds(&mut query, filter);
    let limit = u32::try_from(NEWEST_ROWS).unwrap_or(u32::MAX);
    after(&mut query, "e", Page { limit, after: page.after });
    query.push(OF_NEWEST).push("SELECT e.created_at, e.id FROM newest e WHERE 1 = 1");
    query
}

/// The conditions on type and status of `e`. A status is written and not bound: the planner has to see that a partial
/// index contains the rows.
pub(super) fn kinds(query: &mut QueryBuilder<Db>, filter: &EntityFilter) {
    use crate::domain::EntityStatus::{Active, Archived, Inactive};
    query.push(match filter.status {
        None => "e.status <> 'archived'",
        Some(Active) => "e.status <> 'archived' AND e.status = 'active'",
        Some(Inactive) => "e.status = 'inactive'",
        Some(Archived) => "e.status = 'archived'",
    });
    if !filter.types.is_empty() {
        query.push(" AND e.type IN (");
        let mut types = query.separated(", ");
        for entity_type in &filter.types {
            types.push_bind(entity_type.word().to_owned());
        }
        query.push(")");
    }
}

/// The condition that the name of `e` begins with `prefix`.
pub(super) fn name_range(query: &mut QueryBuilder<Db>, prefix: &str) {
    query.push(concat!(" AND ", byte_order!("e.name"), " >= ")).push_bind(prefix.to_owned());
    if let Some(end) = end_of_prefix(prefix) {
        query.push(concat!(" AND ", byte_order!("e.name"), " < ")).push_bind(end);
    }
}

/// The condition that `e` is below `root`, tested by a walk up from `e`. `parent`: the parent of every `e`, if it is
/// known, which needs one walk for all rows.
pub(super) fn has_ancestor(query: &mut QueryBuilder<Db>, parent: Option<Uuid>, root: Uuid) {
    query.push(" AND e.id <> ").push_bind(bind_id(root)).push(" AND EXISTS (WITH RECURSIVE above(id) AS (SELECT ");
    match parent {
        Some(parent) => query.push_bind(bind_id(parent)),
        None => query.push("e.parent_id"),
    };
    query.push(concat!(
        " UNION SELECT p.parent_id FROM above a ",
        join_probing!("entities", "p", "p.id = a.id"),
        ") SELECT 1 FROM above WHERE above.id = "
    ));
    query.push_bind(bind_id(root)).push(")");
}

/// The condition that `e` is below `root`, tested with the set of all entities below it.
pub(super) fn is_in_subtree(query: &mut QueryBuilder<Db>, root: Uuid) {
    query.push(" AND e.id <> ").push_bind(bind_id(root)).push(" AND e.id IN (");
    below(query, "id", root);
    query.push(" SELECT below.id FROM below)");
}

/// The beginning of a statement with `columns` of all entities below `root` in the table `below`.
pub(super) fn below(query: &mut QueryBuilder<Db>, columns: &'static str, root: Uuid) {
    let qualified = columns.split(", ").map(|column| format!("c.{column}")).collect::<Vec<_>>().join(", ");
    query.push("WITH RECURSIVE below(").push(columns).push(") AS (SELECT ").push(&qualified);
    query.push(" FROM entities c WHERE c.parent_id = ").push_bind(bind_id(root)).push(" UNION SELECT ");
    query.push(&qualified).push(concat!(" FROM below b ", join_probing!("entities", "c", "c.parent_id = b.id"), ")"));
}
