//! Statements on `role_assignments`.

use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::dialect::{Conn, Db, Id, Row, SqlTime, bind_id, bind_time, classify, read_id, read_time};
use super::listing::{self, after};
use crate::domain::{Assignment, AssignmentFilter};
use crate::store::{Cursor, InsertedAssignment, Page, Result, RowVisitor, StoreError};

macro_rules! columns {
    () => {
        "a.id, a.principal_id, a.principal_type, a.role_id, a.entity_id, a.effective_at, a.expires_at, a.created_at, a.updated_at"
    };
}

/// Assignments with the names of their roles and entities; a condition and an order are added.
pub(super) const NAMED: &str = concat!(
    "SELECT ",
    columns!(),
    ", r.name AS role_name, e.type AS place_type, e.name AS place_name FROM role_assignments a \
       JOIN roles r ON r.id = a.role_id LEFT JOIN entities e ON e.id = a.entity_id"
);

pub(super) fn read(row: &Row) -> Result<Assignment> {
    let at = |column| row.try_get::<SqlTime, _>(column).map_err(classify).and_then(read_time);
    Ok(Assignment {
        id: row.try_get("id").map(read_id).map_err(classify)?,
        principal_id: row.try_get("principal_id").map(read_id).map_err(classify)?,
        principal_type: row.try_get("principal_type").map_err(classify)?,
        role_id: row.try_get("role_id").map(read_id).map_err(classify)?,
        entity_id: row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id),
        effective_at: at("effective_at")?,
        expires_at: row.try_get::<Option<SqlTime>, _>("expires_at").map_err(classify)?.map(read_time).transpose()?,
        created_at: at("created_at")?,
        updated_at: at("updated_at")?,
    })
}

/// Inserts those whose key is not taken, in one statement; returns how many.
pub(super) async fn insert_all(conn: &mut Conn, assignments: &[Assignment]) -> Result<usize> {
    // An INSERT needs a row.
    if assignments.is_empty() {
        return Ok(0);
    }
    let mut query = QueryBuilder::<Db>::new(
        "INSERT INTO role_assignments \
           (id, principal_id, principal_type, role_id, entity_id, effective_at, expires_at, created_at, updated_at) ",
    );
    query.push_values(assignments, |mut row, assignment| {
        row.push_bind(bind_id(assignment.id))
            .push_bind(bind_id(assignment.principal_id))
            .push_bind(&assignment.principal_type)
            .push_bind(bind_id(assignment.role_id))
            .push_bind(assignment.entity_id.map(bind_id))
            .push_bind(bind_time(assignment.effective_at))
            .push_bind(assignment.expires_at.map(bind_time))
            .push_bind(bind_time(assignment.created_at))
            .push_bind(bind_time(assignment.updated_at));
    });
    query.push(
        " ON CONFLICT (principal_id, principal_type, COALESCE(entity_id, '00000000-0000-0000-0000-000000000000'), role_id) \
         DO NOTHING",
    );
    let done = query.build().execute(conn).await.map_err(classify)?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

pub(super) async fn insert(conn: &mut Conn, assignment: &Assignment) -> Result<InsertedAssignment> {
    if insert_all(&mut *conn, std::slice::from_ref(assignment)).await? == 1 {
        return Ok(InsertedAssignment::New);
    }
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM role_assignments a WHERE a.principal_id = $1 AND a.principal_type = $2 \
           AND COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000') \
             = COALESCE($3, '00000000-0000-0000-0000-000000000000') \
           AND a.role_id = $4"
    ))
    .bind(bind_id(assignment.principal_id))
    .bind(&assignment.principal_type)
    .bind(assignment.entity_id.map(bind_id))
    .bind(bind_id(assignment.role_id))
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    match row {
        Some(row) => read(&row).map(InsertedAssignment::Existing),
        // It was revoked between the two statements: a retry finds the key free.
        None => Err(StoreError::Contention("the assignment was revoked at the same moment".into())),
    }
}

pub(super) async fn delete(conn: &mut Conn, assignment: Uuid) -> Result<Option<Assignment>> {
    let row = sqlx::query(
        "DELETE FROM role_assignments WHERE id = $1 \
         RETURNING id, principal_id, principal_type, role_id, entity_id, effective_at, expires_at, created_at, updated_at",
    )
    .bind(bind_id(assignment))
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    row.as_ref().map(read).transpose()
}

fn matching(query: &mut QueryBuilder<Db>, filter: &AssignmentFilter) {
    query.push(" FROM role_assignments a WHERE 1 = 1");
    if let Some(principal) = filter.principal_id {
        query.push(" AND a.principal_id = ").push_bind(bind_id(principal));
    }
    if let Some(entity) = filter.entity_id {
        query.push(" AND a.entity_id = ").push_bind(bind_id(entity));
    }
}

pub(super) async fn list(
    conn: &mut Conn,
    filter: &AssignmentFilter,
    page: Page,
    visit: RowVisitor<'_, Assignment>,
) -> Result<()> {
    let query = |position, limit| {
        let mut query = QueryBuilder::<Db>::new(concat!("SELECT ", columns!()));
        matching(&mut query, filter);
        after(&mut query, "a", Page { limit, after: position });
        query
    };
    let position = |assignment: &Assignment| Cursor { created_at: assignment.created_at, id: assignment.id };
    listing::show(conn, (page.limit, page.after), query, (read, position), visit).await
}

/// Returns the last row of the list that fits into `bytes`.
pub(super) async fn end(conn: &mut Conn, filter: &AssignmentFilter, bytes: i64) -> Result<Option<Cursor>> {
    let mut query = QueryBuilder::<Db>::new(listing::SUMMED);
    query.push("SELECT a.created_at, a.id, 450 + octet_length(a.principal_type) AS size");
    matching(&mut query, filter);
    listing::end(conn, query, bytes).await
}
