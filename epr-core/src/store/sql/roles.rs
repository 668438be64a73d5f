//! Statements on `roles`, `permissions` and `role_permissions`.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use sqlx::QueryBuilder;
use uuid::Uuid;

use super::columns::{Columns, InsertValues, Names, Selected, UpdateValues, condition_text};
use super::dialect::{Conn, Db, Row, bind_id, bind_time, classify};
use super::listing::{self, after};
use crate::domain::condition::Condition;
use crate::domain::input::value::Sink as _;
use crate::domain::{Json, Role, Timestamp};
use crate::store::{Cursor, Page, Result, RowVisitor};

/// The columns of a role `r`, its actions, and the conditions of those.
static SELECTED: LazyLock<String> = LazyLock::new(|| {
    let mut selected = Selected::of("r");
    Role::describe_to(&mut selected);
    selected.sql + PERMISSIONS
});

/// The actions of a role `r`, and the conditions of those.
pub(super) const PERMISSIONS: &str = concat!(
    ", (SELECT ",
    json_list!("p.action"),
    " FROM role_permissions rp JOIN permissions p ON p.id = rp.permission_id WHERE rp.role_id = r.id) AS permissions, \
     (SELECT ",
    json_map!("p.action", "rp.condition"),
    " FROM role_permissions rp JOIN permissions p ON p.id = rp.permission_id \
     WHERE rp.role_id = r.id AND rp.condition IS NOT NULL) AS conditions"
);

fn select(end: &str) -> QueryBuilder<Db> {
    QueryBuilder::new(format!("SELECT {}{end}", *SELECTED))
}

/// Selects roles with what became of their assignments; a condition and an order are added.
pub(super) fn select_with_ended() -> QueryBuilder<Db> {
    select(
        ", (SELECT COUNT(*) FROM role_assignments x WHERE x.role_id = r.id) AS ended, \
           (SELECT MAX(x.expires_at) FROM role_assignments x WHERE x.role_id = r.id) AS last_ended_at FROM roles r",
    )
}

pub(super) fn read(row: &Row) -> Result<Role> {
    Role::read_from(&mut Columns(row))
}

/// Inserts the role without its actions; `false` when another one has its name.
pub(super) async fn insert(conn: &mut Conn, role: &Role) -> Result<bool> {
    static NAMES: LazyLock<String> = LazyLock::new(|| {
        let mut names = Names::default();
        Role::describe_to(&mut names);
        names.0
    });
    let mut query = QueryBuilder::<Db>::new(format!("INSERT INTO roles ({}) ", *NAMES));
    query.push_values([role], |mut row, role| role.write_to(&mut InsertValues(&mut row)));
    query.push(" ON CONFLICT (name) DO NOTHING");
    let done = query.build().execute(conn).await.map_err(classify)?;
    Ok(done.rows_affected() == 1)
}

pub(super) async fn get(conn: &mut Conn, role: Uuid) -> Result<Option<Role>> {
    one(conn, select(" FROM roles r WHERE r.id = ").push_bind(bind_id(role))).await
}

/// The role with this unique key.
pub(super) async fn named(conn: &mut Conn, name: &str) -> Result<Option<Role>> {
    one(conn, select(" FROM roles r WHERE r.name = ").push_bind(name)).await
}

async fn one(conn: &mut Conn, query: &mut QueryBuilder<Db>) -> Result<Option<Role>> {
    let row = query.build().fetch_optional(conn).await.map_err(classify)?;
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
        let mut query = select(" FROM roles r WHERE 1 = 1");
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
        "SELECT r.created_at, r.id, 1500 + COALESCE((SELECT SUM(octet_length(p.action) + 3 \
           + COALESCE(octet_length(p.action) + octet_length(rp.condition) + 5, 0)) FROM role_permissions rp \
           JOIN permissions p ON p.id = rp.permission_id WHERE rp.role_id = r.id), 0) AS size FROM roles r",
    );
    listing::end(conn, query, bytes).await
}

/// Updates everything that a change can set, except the actions.
pub(super) async fn update(conn: &mut Conn, role: &Role) -> Result<()> {
    let mut query = QueryBuilder::<Db>::new("UPDATE roles SET ");
    let mut columns = UpdateValues(query.separated(", "));
    role.write_changeable_to(&mut columns);
    columns.put("updated_at", &role.updated_at);
    query.push(" WHERE id = ").push_bind(bind_id(role.id));
    query.build().execute(conn).await.map_err(classify)?;
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

/// Makes `actions` the role's actions, each with its condition if it has one.
pub(super) async fn set_actions(
    conn: &mut Conn,
    role: Uuid,
    actions: &[String],
    conditions: &BTreeMap<String, Condition>,
    now: Timestamp,
) -> Result<()> {
    let mut sorted: Vec<&str> = actions.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sqlx::query("DELETE FROM role_permissions WHERE role_id = $1")
        .bind(bind_id(role))
        .execute(&mut *conn)
        .await
        .map_err(classify)?;
    ensure_actions(&mut *conn, &sorted, now).await?;
    let (conditional, unconditional): (Vec<&str>, Vec<&str>) =
        sorted.into_iter().partition(|action| conditions.contains_key(*action));
    sqlx::query(concat!(
        "INSERT INTO role_permissions (role_id, permission_id) SELECT ",
        uuid_value!("$1"),
        ", p.id FROM ",
        json_items!("$2"),
        " JOIN permissions p ON p.action = item.value"
    ))
    .bind(bind_id(role))
    .bind(Json::from(unconditional).to_string())
    .execute(&mut *conn)
    .await
    .map_err(classify)?;
    // An INSERT needs a row.
    if conditional.is_empty() {
        return Ok(());
    }
    let mut query = QueryBuilder::<Db>::new("INSERT INTO role_permissions (role_id, permission_id, condition) ");
    query.push_values(conditional, |mut row, action| {
        row.push_bind(bind_id(role));
        row.push("(SELECT p.id FROM permissions p WHERE p.action = ").push_bind_unseparated(action);
        row.push_unseparated(")");
        row.push_bind(conditions.get(action).map(condition_text));
    });
    query.build().execute(conn).await.map_err(classify)?;
    Ok(())
}
