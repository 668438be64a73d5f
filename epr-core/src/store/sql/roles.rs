//! Statements on `roles`, `permissions` and `role_permissions`.

use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::dialect::{Conn, Db, Row, SqlTime, bind_id, bind_time, classify, read_id, read_time};
use super::entities::read_type;
use super::listing::{self, after};
use crate::domain::fields::Choice;
use crate::domain::{EntityType, Json, Role, Timestamp};
use crate::store::{Cursor, Page, Result, RowVisitor, StoreError};

macro_rules! columns {
    () => {
        concat!(
            "r.id, r.name, r.description, CAST(r.scope_types AS TEXT) AS scope_types, r.is_system, (SELECT ",
            json_list!("p.action"),
            " FROM role_permissions rp JOIN permissions p ON p.id = rp.permission_id WHERE rp.role_id = r.id) AS actions, \
             r.created_at, r.updated_at"
        )
    };
}

/// Roles with the number and the last end of their assignments; a condition and an order are added.
pub(super) const WITH_ENDED: &str = concat!(
    "SELECT ",
    columns!(),
    ", (SELECT COUNT(*) FROM role_assignments x WHERE x.role_id = r.id) AS ended, \
       (SELECT MAX(x.expires_at) FROM role_assignments x WHERE x.role_id = r.id) AS last_ended_at FROM roles r"
);

fn read_texts(what: &'static str, text: &str) -> Result<Vec<String>> {
    serde_json::from_str(text).map_err(|error| StoreError::corrupt(what, error))
}

pub(super) fn read_scope_types(text: &str) -> Result<Vec<EntityType>> {
    read_texts("scope types", text)?.iter().map(|word| read_type(word)).collect()
}

fn write_scope_types(types: &[EntityType]) -> String {
    Json::List(types.iter().map(|entity_type| Json::from(entity_type.word())).collect()).to_string()
}

pub(super) fn read(row: &Row) -> Result<Role> {
    let mut permissions = read_texts("permissions", row.try_get("actions").map_err(classify)?)?;
    // Sorted here, so that the order does not depend on the collation of the database.
    permissions.sort_unstable();
    Ok(Role {
        id: row.try_get("id").map(read_id).map_err(classify)?,
        name: row.try_get("name").map_err(classify)?,
        description: row.try_get("description").map_err(classify)?,
        scope_types: read_scope_types(row.try_get("scope_types").map_err(classify)?)?,
        is_system: row.try_get("is_system").map_err(classify)?,
        permissions,
        created_at: read_time(row.try_get::<SqlTime, _>("created_at").map_err(classify)?)?,
        updated_at: read_time(row.try_get::<SqlTime, _>("updated_at").map_err(classify)?)?,
    })
}

pub(super) async fn insert(conn: &mut Conn, role: &Role) -> Result<bool> {
    let done = sqlx::query(concat!(
        "INSERT INTO roles (id, name, description, scope_types, is_system, created_at, updated_at) VALUES ($1, $2, $3, ",
        json_value!("$4"),
        ", $5, $6, $7) ON CONFLICT (name) DO NOTHING"
    ))
    .bind(bind_id(role.id))
    .bind(&role.name)
    .bind(&role.description)
    .bind(write_scope_types(&role.scope_types))
    .bind(role.is_system)
    .bind(bind_time(role.created_at))
    .bind(bind_time(role.updated_at))
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn get(conn: &mut Conn, role: Uuid) -> Result<Option<Role>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM roles r WHERE r.id = $1"))
        .bind(bind_id(role))
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    row.as_ref().map(read).transpose()
}

/// Finds a role by its unique key.
pub(super) async fn named(conn: &mut Conn, name: &str) -> Result<Option<Role>> {
    let row = sqlx::query(concat!("SELECT ", columns!(), " FROM roles r WHERE r.name = $1"))
        .bind(name)
        .fetch_optional(conn)
        .await
        .map_err(classify)?;
    row.as_ref().map(read).transpose()
}

pub(super) async fn lock(conn: &mut Conn, role: Uuid) -> Result<Option<Role>> {
    // Lock first, read in a second statement: the actions are read after the lock is held.
    sqlx::query(concat!("SELECT r.id FROM roles r WHERE r.id = $1", for_update!("r")))
        .bind(bind_id(role))
        .fetch_optional(&mut *conn)
        .await
        .map_err(classify)?;
    get(conn, role).await
}

pub(super) async fn list(conn: &mut Conn, page: Page, visit: RowVisitor<'_, Role>) -> Result<()> {
    let query = |position, limit| {
        let mut query = QueryBuilder::<Db>::new(concat!("SELECT ", columns!(), " FROM roles r WHERE 1 = 1"));
        after(&mut query, "r", Page { limit, after: position });
        query
    };
    let position = |role: &Role| Cursor { created_at: role.created_at, id: role.id };
    listing::show(conn, (page.limit, page.after), query, (read, position), visit).await
}

/// Returns the last row of the list that fits into `bytes`.
pub(super) async fn end(conn: &mut Conn, bytes: i64) -> Result<Option<Cursor>> {
    let mut query = QueryBuilder::<Db>::new(listing::SUMMED);
    query.push(
        "SELECT r.created_at, r.id, 1500 + COALESCE((SELECT SUM(octet_length(p.action) + 3) FROM role_permissions rp \
           JOIN permissions p ON p.id = rp.permission_id WHERE rp.role_id = r.id), 0) AS size FROM roles r",
    );
    listing::end(conn, query, bytes).await
}

pub(super) async fn update(conn: &mut Conn, role: &Role) -> Result<()> {
    sqlx::query(concat!(
        "UPDATE roles SET description = $2, scope_types = ",
        json_value!("$3"),
        ", updated_at = $4 WHERE id = $1"
    ))
    .bind(bind_id(role.id))
    .bind(&role.description)
    .bind(write_scope_types(&role.scope_types))
    .bind(bind_time(role.updated_at))
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(())
}

/// Creates the actions that are new. `actions` must be sorted: two transactions that create the same ones then lock
/// them in the same order.
pub(super) async fn ensure_actions(conn: &mut Conn, actions: &[&str], now: Timestamp) -> Result<()> {
    sqlx::query(concat!(
        "INSERT INTO permissions (action, created_at) SELECT item.value, ",
        time_value!("$2"),
        " FROM ",
        json_items!("$1"),
        " WHERE true ON CONFLICT (action) DO NOTHING"
    ))
    .bind(Json::from(actions.to_vec()).to_string())
    .bind(bind_time(now))
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(())
}

pub(super) async fn set_actions(conn: &mut Conn, role: Uuid, actions: &[String], now: Timestamp) -> Result<()> {
    let mut sorted: Vec<&str> = actions.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sqlx::query("DELETE FROM role_permissions WHERE role_id = $1")
        .bind(bind_id(role))
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    ensure_actions(&mut *conn, &sorted, now).await?;
    sqlx::query(concat!(
        "INSERT INTO role_permissions (role_id, permission_id) SELECT ",
        uuid_value!("$1"),
        ", p.id FROM ",
        json_items!("$2"),
        " JOIN permissions p ON p.action = item.value"
    ))
    .bind(bind_id(role))
    .bind(Json::from(sorted).to_string())
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(())
}
