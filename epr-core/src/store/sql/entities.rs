//! Statements on `entities`.

use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::dialect::{Conn, Db, Id, Row, SqlTime, bind_id, bind_time, classify, read_id, read_time};
use super::listing::{self, after};
use crate::domain::fields::Choice;
use crate::domain::{Entity, EntityFilter, EntityStatus, EntityType, Json, JsonObject};
use crate::store::{Cursor, Page, Result, RowVisitor, StoreError};

macro_rules! columns {
    () => {
        "e.id, e.name, e.type, e.status, e.parent_id, CAST(e.attributes AS TEXT) AS attributes, e.created_at, e.updated_at"
    };
}

/// Entities, with the name and type of an archived parent; a condition and an order are added.
pub(super) const WITH_PARENT: &str = concat!(
    "SELECT ",
    columns!(),
    ", p.name AS parent_name, p.type AS parent_type FROM entities e JOIN entities p ON p.id = e.parent_id"
);

pub(super) fn read_type(word: &str) -> Result<EntityType> {
    EntityType::from_word(word).ok_or_else(|| StoreError::corrupt("entity type", word))
}

/// Reads a JSON object as this program wrote it.
pub(super) fn read_object(what: &'static str, text: &str) -> Result<JsonObject> {
    match Json::parse(text.as_bytes()) {
        Ok(Json::Object(members)) => Ok(members),
        Ok(_) => Err(StoreError::corrupt(what, "not an object")),
        Err(error) => Err(StoreError::corrupt(what, error)),
    }
}

pub(super) fn read(row: &Row) -> Result<Entity> {
    let status: &str = row.try_get("status").map_err(classify)?;
    Ok(Entity {
        id: row.try_get("id").map(read_id).map_err(classify)?,
        name: row.try_get("name").map_err(classify)?,
        entity_type: read_type(row.try_get("type").map_err(classify)?)?,
        status: EntityStatus::from_word(status).ok_or_else(|| StoreError::corrupt("entity status", status))?,
        parent_id: row.try_get::<Option<Id>, _>("parent_id").map_err(classify)?.map(read_id),
        attributes: read_object("attributes", row.try_get("attributes").map_err(classify)?)?,
        created_at: read_time(row.try_get::<SqlTime, _>("created_at").map_err(classify)?)?,
        updated_at: read_time(row.try_get::<SqlTime, _>("updated_at").map_err(classify)?)?,
    })
}

pub(super) async fn insert(conn: &mut Conn, entity: &Entity) -> Result<bool> {
    let done = sqlx::query(concat!(
        "INSERT INTO entities (id, name, type, status, parent_id, attributes, created_at, updated_at) \
         VALUES ($1, $2, $3, $4, $5, ",
        json_value!("$6"),
        ", $7, $8) ON CONFLICT (name, type) DO NOTHING"
    ))
    .bind(bind_id(entity.id))
    .bind(&entity.name)
    .bind(entity.entity_type.word())
    .bind(entity.status.word())
    .bind(entity.parent_id.map(bind_id))
    .bind(Json::Object(entity.attributes.clone()).to_string())
    .bind(bind_time(entity.created_at))
    .bind(bind_time(entity.updated_at))
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn get(conn: &mut Conn, entity: Uuid) -> Result<Option<Entity>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM entities e WHERE e.id = $1"))
        .bind(bind_id(entity))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    row.as_ref().map(read).transpose()
}

/// Finds an entity by its unique key.
pub(super) async fn named(conn: &mut Conn, entity_type: EntityType, name: &str) -> Result<Option<Entity>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM entities e WHERE e.name = $1 AND e.type = $2"))
        .bind(name)
        .bind(entity_type.word())
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn lock(conn: &mut Conn, entity: Uuid) -> Result<Option<Entity>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM entities e WHERE e.id = $1", for_update!("e")))
        .bind(bind_id(entity))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn update(conn: &mut Conn, entity: &Entity) -> Result<bool> {
    let outcome = sqlx::query(concat!(
        "UPDATE entities SET name = $2, status = $3, parent_id = $4, attributes = ",
        json_value!("$5"),
        ", updated_at = $6 WHERE id = $1"
    ))
    .bind(bind_id(entity.id))
    .bind(&entity.name)
    .bind(entity.status.word())
    .bind(entity.parent_id.map(bind_id))
    .bind(Json::Object(entity.attributes.clone()).to_string())
    .bind(bind_time(entity.updated_at))
    .execute(conn)
    .await;
    match outcome {
        Ok(_) => Ok(true),
        // The only unique key that an update touches is (name, type).
        Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(classify(error)),
    }
}

fn matching(query: &mut QueryBuilder<Db>, filter: &EntityFilter) {
    query.push(" FROM entities e WHERE e.status <> 'archived'");
    if !filter.types.is_empty() {
        query.push(" AND e.type IN (");
        let mut types = query.separated(", ");
        for entity_type in &filter.types {
            types.push_bind(entity_type.word());
        }
        query.push(")");
    }
    if let Some(parent) = filter.parent_id {
        query.push(" AND e.parent_id = ").push_bind(bind_id(parent));
    }
}

pub(super) async fn list(
    conn: &mut Conn,
    filter: &EntityFilter,
    page: Page,
    visit: RowVisitor<'_, Entity>,
) -> Result<()> {
    let query = |position, limit| {
        let mut query = QueryBuilder::<Db>::new(concat!("SELECT ", columns!()));
        matching(&mut query, filter);
        after(&mut query, "e", Page { limit, after: position });
        query
    };
    let position = |entity: &Entity| Cursor { created_at: entity.created_at, id: entity.id };
    listing::show(conn, (page.limit, page.after), query, (read, position), visit).await
}

/// Returns the last row of the list that fits into `bytes`.
pub(super) async fn end(conn: &mut Conn, filter: &EntityFilter, bytes: i64) -> Result<Option<Cursor>> {
    let mut query = QueryBuilder::<Db>::new(listing::SUMMED);
    // The names of the members, ids and times take 300 bytes.
    query.push(
        "SELECT e.created_at, e.id, 300 + octet_length(e.name) + octet_length(CAST(e.attributes AS TEXT)) AS size",
    );
    matching(&mut query, filter);
    listing::end(conn, query, bytes).await
}

pub(super) async fn type_of(conn: &mut Conn, entity: Uuid) -> Result<Option<EntityType>> {
    let word: Option<String> = sqlx::query_scalar("SELECT type FROM entities WHERE id = $1")
        .bind(bind_id(entity))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    word.as_deref().map(read_type).transpose()
}
