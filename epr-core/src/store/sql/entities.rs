//! Statements on `entities`.

use std::sync::LazyLock;

use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::columns::{Columns, InsertValues, Names, Selected, UpdateValues, read_type};
use super::dialect::{Conn, Db, Row, bind_id, classify};
use super::entity_search::{EntitySearch, has_ancestor, is_in_subtree, kinds, name_range};
use super::listing::{self, after, position};
use super::searched;
use crate::domain::input::value::Sink as _;
use crate::domain::{Branch, Entity, EntityFilter, EntityType};
use crate::store::{Cursor, Page, Result, RowVisitor};

/// The columns of an entity `e`.
pub(super) static SELECTED: LazyLock<String> = LazyLock::new(|| {
    let mut selected = Selected::of("e");
    Entity::describe_to(&mut selected);
    selected.sql
});

fn select(end: &str) -> QueryBuilder<Db> {
    QueryBuilder::new(format!("SELECT {}{end}", *SELECTED))
}

/// Selects entities with the name and the type of their parent; a condition and an order are added.
pub(super) fn select_with_parent() -> QueryBuilder<Db> {
    select(", p.name AS parent_name, p.type AS parent_type FROM entities e JOIN entities p ON p.id = e.parent_id")
}

pub(super) fn read(row: &Row) -> Result<Entity> {
    Entity::read_from(&mut Columns(row))
}

/// Inserts the entity; `false` when another one has its type and name, or its type and external id.
pub(super) async fn insert(conn: &mut Conn, entity: &Entity) -> Result<bool> {
    static NAMES: LazyLock<String> = LazyLock::new(|| {
        let mut names = Names::default();
        Entity::describe_to(&mut names);
        names.0
    });
    let mut query = QueryBuilder::<Db>::new(format!("INSERT INTO entities ({}) ", *NAMES));
    query.push_values([entity], |mut row, entity| entity.write_to(&mut InsertValues(&mut row)));
    query.push(" ON CONFLICT DO NOTHING");
    let done = query.build().execute(conn).await.map_err(classify)?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn get(conn: &mut Conn, entity: Uuid) -> Result<Option<Entity>> {
    one(conn, select(" FROM entities e WHERE e.id = ").push_bind(bind_id(entity))).await
}

/// The entity with this unique key.
pub(super) async fn named(conn: &mut Conn, entity_type: &EntityType, name: &str) -> Result<Option<Entity>> {
    let mut query = select(" FROM entities e WHERE e.name = ");
    query.push_bind(name).push(" AND e.type = ").push_bind(entity_type.word());
    one(conn, &mut query).await
}

pub(super) async fn lock(conn: &mut Conn, entity: Uuid) -> Result<Option<Entity>> {
    let mut query = select(" FROM entities e WHERE e.id = ");
    query.push_bind(bind_id(entity)).push(for_update!("e"));
    one(conn, &mut query).await
}

async fn one(conn: &mut Conn, query: &mut QueryBuilder<Db>) -> Result<Option<Entity>> {
    let row = query.build().fetch_optional(conn).await.map_err(classify)?;
    row.as_ref().map(read).transpose()
}

/// Returns whether another entity of the same type has the external id of `entity`.
pub(super) async fn has_external_id_of(conn: &mut Conn, entity: &Entity) -> Result<bool> {
    let mut query = QueryBuilder::<Db>::new("SELECT EXISTS (SELECT 1 FROM entities WHERE external_id = ");
    query.push_bind(&entity.external_id).push(" AND type = ").push_bind(entity.entity_type.word());
    query.push(" AND id <> ").push_bind(bind_id(entity.id)).push(")");
    query.build_query_scalar().fetch_one(conn).await.map_err(classify)
}

/// Updates everything that a change can set; `false` when another entity has the type and the new name, or the type and
/// the new external id.
pub(super) async fn update(conn: &mut Conn, entity: &Entity) -> Result<bool> {
    let mut query = QueryBuilder::<Db>::new("UPDATE entities SET ");
    let mut columns = UpdateValues(query.separated(", "));
    entity.write_changeable_to(&mut columns);
    columns.put("updated_at", &entity.updated_at);
    query.push(" WHERE id = ").push_bind(bind_id(entity.id));
    let outcome = query.build().execute(conn).await;
    match outcome {
        Ok(_) => Ok(true),
        // An update touches no other unique keys than those two.
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(classify(error)),
    }
}

/// The FROM and the conditions of a list that is read in the order of an index.
fn matching(query: &mut QueryBuilder<Db>, filter: &EntityFilter) {
    query.push(" FROM entities e WHERE ");
    kinds(query, filter);
    if let Some(name) = &filter.name {
        query.push(" AND e.name = ").push_bind(name.as_str().to_owned());
    }
    if let Some(prefix) = &filter.name_prefix {
        name_range(query, prefix.as_str());
    }
    if let Some(parent) = filter.parent_id {
        query.push(" AND e.parent_id = ").push_bind(bind_id(parent));
    }
    if let Some(external_id) = &filter.external_id {
        query.push(" AND e.external_id = ").push_bind(external_id.as_str().to_owned());
    }
}

/// The first `most` entities that match `filter`, in the order of their names.
pub(super) async fn by_name(conn: &mut Conn, filter: &EntityFilter, most: u32) -> Result<Vec<Entity>> {
    let mut query = select("");
    matching(&mut query, filter);
    if let Some(root) = filter.ancestor_id {
        has_ancestor(&mut query, filter.parent_id, root);
    }
    query.push(concat!(" ORDER BY ", byte_order!("e.name"), ", e.id LIMIT ")).push_bind(i64::from(most));
    let rows = query.build().fetch_all(conn).await.map_err(classify)?;
    rows.iter().map(read).collect()
}

/// Selects a page that is read in the order of an index, or has at most a few rows.
#[must_use]
pub fn list_query(filter: &EntityFilter, page: Page) -> QueryBuilder<Db> {
    let mut query = select("");
    matching(&mut query, filter);
    if let Some(root) = filter.ancestor_id {
        has_ancestor(&mut query, filter.parent_id, root);
    }
    after(&mut query, "e", page);
    query
}

pub(super) async fn list(
    conn: &mut Conn,
    filter: &EntityFilter,
    page: Page,
    visit: RowVisitor<'_, Entity>,
) -> Result<()> {
    if let Some(search) = EntitySearch::of(&mut *conn, filter).await? {
        return searched::show(conn, &search, page, visit).await;
    }
    let query = |position, limit| list_query(filter, Page { limit, after: position });
    let position = |entity: &Entity| Cursor { created_at: entity.created_at, id: entity.id };
    listing::show(conn, (page.limit, page.after), query, (read, position), visit).await
}

/// Returns the last row of the list that fits into `bytes`.
pub(super) async fn end(conn: &mut Conn, filter: &EntityFilter, bytes: i64) -> Result<Option<Cursor>> {
    let mut query = QueryBuilder::<Db>::new(listing::SUMMED);
    // The names of the members, ids and times take 300 bytes.
    query.push(
        "SELECT e.created_at, e.id, 300 + octet_length(e.name) + octet_length(CAST(e.attributes AS TEXT)) \
           + COALESCE(20 + octet_length(e.external_id), 0) AS size",
    );
    matching(&mut query, filter);
    if let Some(root) = filter.ancestor_id {
        is_in_subtree(&mut query, root);
    }
    listing::end(conn, query, bytes).await
}

/// Selects a page of the entities directly below `parent`, or of the roots.
#[must_use]
pub fn branches_query(parent: Option<Uuid>, page: Page) -> QueryBuilder<Db> {
    // As a value and not as EXISTS, for which the planner can read every entity once.
    let mut query = select(
        ", (SELECT 1 FROM entities c WHERE c.parent_id = e.id AND c.status <> 'archived' LIMIT 1) AS child \
           FROM entities e WHERE e.status <> 'archived' AND e.parent_id",
    );
    match parent {
        Some(parent) => query.push(" = ").push_bind(bind_id(parent)),
        None => query.push(" IS NULL"),
    };
    position(&mut query, "e", page.after);
    // The whole order of the index: for PostgreSQL, no parent is not one parent.
    query.push(" ORDER BY e.parent_id, e.created_at DESC, e.id DESC LIMIT ").push_bind(i64::from(page.limit));
    query
}

pub(super) async fn branches(
    conn: &mut Conn,
    parent: Option<Uuid>,
    page: Page,
    visit: RowVisitor<'_, Branch>,
) -> Result<()> {
    let query = |position, limit| branches_query(parent, Page { limit, after: position });
    let position = |branch: &Branch| Cursor { created_at: branch.entity.created_at, id: branch.entity.id };
    listing::show(conn, (page.limit, page.after), query, (read_branch, position), visit).await
}

fn read_branch(row: &Row) -> Result<Branch> {
    let child: Option<i32> = row.try_get("child").map_err(classify)?;
    Ok(Branch { entity: read(row)?, has_children: child.is_some() })
}

pub(super) async fn type_of(conn: &mut Conn, entity: Uuid) -> Result<Option<EntityType>> {
    let word: Option<String> = sqlx::query_scalar("SELECT type FROM entities WHERE id = $1")
        .bind(bind_id(entity))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    word.as_deref().map(read_type).transpose()
}
