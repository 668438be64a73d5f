//! Statements on `role_assignments`.

use std::sync::LazyLock;

use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::assignment_search::AssignmentSearch;
use super::columns::{Columns, InsertValues, Names, Selected};
use super::dialect::{Conn, Db, Row, bind_id, bind_time, classify};
use super::listing::{self, after};
use super::searched;
use crate::domain::{Assignment, AssignmentFilter, EntityType, Timestamp};
use crate::store::{Cursor, InsertedAssignment, Page, PrincipalRef, Result, RowVisitor, StoreError};

/// The columns of an assignment `a`.
pub(super) static SELECTED: LazyLock<String> = LazyLock::new(|| selected("a"));

/// The names of the columns.
static NAMES: LazyLock<String> = LazyLock::new(|| {
    let mut names = Names::default();
    Assignment::describe_to(&mut names);
    names.0
});

fn selected(alias: &'static str) -> String {
    let mut selected = Selected::of(alias);
    Assignment::describe_to(&mut selected);
    selected.sql
}

fn select(end: &str) -> QueryBuilder<Db> {
    QueryBuilder::new(format!("SELECT {}{end}", *SELECTED))
}

/// Further columns: the names of the role and of the entity. [`JOIN_NAMES`] has their tables.
pub(super) const NAMES_OF: &str = ", r.name AS role_name, e.type AS place_type, e.name AS place_name";
/// The tables of [`NAMES_OF`], for assignments `a`.
pub(super) const JOIN_NAMES: &str = " JOIN roles r ON r.id = a.role_id LEFT JOIN entities e ON e.id = a.entity_id";

/// Selects assignments with the names of their roles and entities; a condition and an order are added.
pub(super) fn select_named() -> QueryBuilder<Db> {
    let mut query = select(NAMES_OF);
    query.push(" FROM role_assignments a").push(JOIN_NAMES);
    query
}

/// The same with the ledger's entry of the grant, which has the time of the assignment and its id in the details.
pub(super) fn select_granted() -> QueryBuilder<Db> {
    select(
        ", r.name AS role_name, e.type AS place_type, e.name AS place_name, g.sequence AS granted_sequence, \
           g.occurred_at AS granted_at, g.actor_id AS granted_by, g.actor_type AS granted_by_type, \
           CAST(g.details AS TEXT) AS granted_details FROM role_assignments a \
           JOIN roles r ON r.id = a.role_id LEFT JOIN entities e ON e.id = a.entity_id \
           LEFT JOIN audit_logs g ON g.sequence = (SELECT MIN(l.sequence) FROM audit_logs l \
             WHERE l.occurred_at = a.created_at AND l.action = 'role_assignment.create' \
               AND l.source = 'entity_permissions_core' \
               AND CAST(l.details AS TEXT) LIKE '%\"assignment_id\":\"' || CAST(a.id AS TEXT) || '\"%')",
    )
}

pub(super) fn read(row: &Row) -> Result<Assignment> {
    Assignment::read_from(&mut Columns(row))
}

pub(super) async fn get(conn: &mut Conn, assignment: Uuid) -> Result<Option<Assignment>> {
    let mut query = select(" FROM role_assignments a WHERE a.id = ");
    let row = query.push_bind(bind_id(assignment)).build().fetch_optional(conn).await.map_err(classify)?;
    row.as_ref().map(read).transpose()
}

/// Inserts those whose key is not taken, in one statement; returns how many.
pub(super) async fn insert_all(conn: &mut Conn, assignments: &[Assignment]) -> Result<usize> {
    // An INSERT needs a row.
    if assignments.is_empty() {
        return Ok(0);
    }
    let mut query = QueryBuilder::<Db>::new(format!("INSERT INTO role_assignments ({}) ", *NAMES));
    query.push_values(assignments, |mut row, assignment| assignment.write_to(&mut InsertValues(&mut row)));
    query.push(
        " ON CONFLICT (principal_id, principal_type, \
           COALESCE(entity_id, '00000000-0000-0000-0000-000000000000'), role_id) DO NOTHING",
    );
    let done = query.build().execute(conn).await.map_err(classify)?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

pub(super) async fn insert(conn: &mut Conn, assignment: &Assignment) -> Result<InsertedAssignment> {
    if insert_all(&mut *conn, std::slice::from_ref(assignment)).await? == 1 {
        return Ok(InsertedAssignment::New);
    }
    let mut query = select(" FROM role_assignments a WHERE a.principal_id = ");
    query.push_bind(bind_id(assignment.principal_id));
    query.push(" AND a.principal_type = ").push_bind(&assignment.principal_type);
    query.push(" AND COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000') = COALESCE(");
    query.push_bind(assignment.entity_id.map(bind_id));
    query.push(", '00000000-0000-0000-0000-000000000000') AND a.role_id = ").push_bind(bind_id(assignment.role_id));
    let row = query.build().fetch_optional(conn).await.map_err(classify)?;
    match row {
        Some(row) => Ok(InsertedAssignment::Existing(Box::new(read(&row)?))),
        // It was revoked between the two statements: a retry finds the key free.
        None => Err(StoreError::Contention("the assignment was revoked at the same moment".into())),
    }
}

pub(super) async fn delete(conn: &mut Conn, assignment: Uuid) -> Result<Option<Assignment>> {
    let mut query = QueryBuilder::<Db>::new("DELETE FROM role_assignments WHERE id = ");
    query.push_bind(bind_id(assignment)).push(" RETURNING ").push(selected(""));
    let row = query.build().fetch_optional(conn).await.map_err(classify)?;
    row.as_ref().map(read).transpose()
}

/// Deletes at most `limit` assignments of the principal; returns each with the type of its entity.
pub(super) async fn delete_all_of(
    conn: &mut Conn,
    (principal_type, principal): PrincipalRef<'_>,
    limit: usize,
) -> Result<Vec<(Assignment, Option<EntityType>)>> {
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let mut query = QueryBuilder::<Db>::new(
        "DELETE FROM role_assignments WHERE id IN (SELECT a.id FROM role_assignments a WHERE a.principal_id = ",
    );
    query.push_bind(bind_id(principal)).push(" AND a.principal_type = ").push_bind(principal_type);
    query.push(" LIMIT ").push_bind(limit).push(") RETURNING ").push(selected(""));
    query.push(", (SELECT e.type FROM entities e WHERE e.id = role_assignments.entity_id) AS entity_type");
    let rows = query.build().fetch_all(conn).await.map_err(classify)?;
    let with_type = |row: &Row| {
        let word: Option<&str> = row.try_get("entity_type").map_err(classify)?;
        let entity_type = word.map(str::parse).transpose();
        Ok((read(row)?, entity_type.map_err(|error| StoreError::corrupt("entity type", error))?))
    };
    rows.iter().map(with_type).collect()
}

/// The FROM and the conditions of a list in a call at `now`.
fn matching(query: &mut QueryBuilder<Db>, filter: &AssignmentFilter, now: Timestamp) {
    query.push(" FROM role_assignments a WHERE 1 = 1");
    conditions(query, filter, now);
}

/// The conditions of a list in a call at `now`, on assignments `a`.
pub(super) fn conditions(query: &mut QueryBuilder<Db>, filter: &AssignmentFilter, now: Timestamp) {
    if let Some(principal) = filter.principal_id {
        query.push(" AND a.principal_id = ").push_bind(bind_id(principal));
    }
    if let Some(role) = filter.role_id {
        query.push(" AND a.role_id = ").push_bind(bind_id(role));
    }
    if let Some(entity) = filter.entity_id {
        query.push(" AND a.entity_id = ").push_bind(bind_id(entity));
    }
    is_of_type(query, filter);
    is_in_force(query, filter, now);
}

/// The condition on the type of the principal.
pub(super) fn is_of_type(query: &mut QueryBuilder<Db>, filter: &AssignmentFilter) {
    if let Some(principal_type) = &filter.principal_type {
        query.push(" AND a.principal_type = ").push_bind(principal_type.as_str().to_owned());
        // The planner has to see that the partial index contains the rows.
        if principal_type.as_str() != "user" {
            query.push(" AND a.principal_type <> 'user'");
        }
    }
}

/// The condition on the window.
pub(super) fn is_in_force(query: &mut QueryBuilder<Db>, filter: &AssignmentFilter, now: Timestamp) {
    let Some((time, expected)) = filter.in_force.map(|in_force| in_force.at(now)) else { return };
    let (start, end, close) = if expected {
        (" AND a.effective_at <= ", " AND (a.expires_at IS NULL OR a.expires_at > ", ")")
    } else {
        (" AND (a.effective_at > ", " OR a.expires_at <= ", ")")
    };
    query.push(start).push_bind(bind_time(time)).push(end).push_bind(bind_time(time)).push(close);
}

/// Selects a page that is read in the order of an index.
#[must_use]
pub fn list_query(filter: &AssignmentFilter, now: Timestamp, page: Page) -> QueryBuilder<Db> {
    let mut query = select("");
    matching(&mut query, filter, now);
    after(&mut query, "a", page);
    query
}

pub(super) async fn list(
    conn: &mut Conn,
    filter: &AssignmentFilter,
    now: Timestamp,
    page: Page,
    visit: RowVisitor<'_, Assignment>,
) -> Result<()> {
    if let Some(search) = AssignmentSearch::of(filter, now) {
        return searched::show(conn, &search, page, visit).await;
    }
    let query = |position, limit| list_query(filter, now, Page { limit, after: position });
    let position = |assignment: &Assignment| Cursor { created_at: assignment.created_at, id: assignment.id };
    listing::show(conn, (page.limit, page.after), query, (read, position), visit).await
}

/// Returns the last row of the list that fits into `bytes`.
pub(super) async fn end(
    conn: &mut Conn,
    filter: &AssignmentFilter,
    now: Timestamp,
    bytes: i64,
) -> Result<Option<Cursor>> {
    let mut query = QueryBuilder::<Db>::new(listing::SUMMED);
    query.push("SELECT a.created_at, a.id, 470 + octet_length(a.principal_type) ");
    query.push("+ COALESCE(octet_length(a.condition), 0) AS size");
    matching(&mut query, filter, now);
    listing::end(conn, query, bytes).await
}
