//! Statements on `role_assignments`.

use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::dialect::{Conn, Db, Id, Row, Stamp, classify, id, read_id, read_stamp, stamp};
use super::listing::{self, after};
use crate::domain::{Assignment, AssignmentFilter};
use crate::store::{Cursor, Inserted, Page, Result, StoreError, Take};

macro_rules! columns {
    () => {
        "a.id, a.principal_id, a.principal_type, a.role_id, a.entity_id, a.effective_at, a.expires_at, a.created_at, a.updated_at"
    };
}

/// Assignments with the names of their roles and places; a condition and an order are added.
pub(super) const NAMED: &str = concat!(
    "SELECT ",
    columns!(),
    ", r.name AS role_name, e.type AS place_type, e.name AS place_name FROM role_assignments a \
       JOIN roles r ON r.id = a.role_id LEFT JOIN entities e ON e.id = a.entity_id"
);

pub(super) fn read(row: &Row) -> Result<Assignment> {
    let at = |column| row.try_get::<Stamp, _>(column).map_err(classify).and_then(read_stamp);
    Ok(Assignment {
        id: row.try_get("id").map(read_id).map_err(classify)?,
        principal_id: row.try_get("principal_id").map(read_id).map_err(classify)?,
        principal_type: row.try_get("principal_type").map_err(classify)?,
        role_id: row.try_get("role_id").map(read_id).map_err(classify)?,
        entity_id: row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id),
        effective_at: at("effective_at")?,
        expires_at: row.try_get::<Option<Stamp>, _>("expires_at").map_err(classify)?.map(read_stamp).transpose()?,
        created_at: at("created_at")?,
        updated_at: at("updated_at")?,
    })
}

/// Inserts those whose key is not taken, in one statement; returns how many.
pub(super) async fn insert_all(conn: &mut Conn, assignments: &[Assignment]) -> Result<usize> {
    // A statement without rows is no statement.
    if assignments.is_empty() {
        return Ok(0);
    }
    let mut query = QueryBuilder::<Db>::new(
        "INSERT INTO role_assignments \
           (id, principal_id, principal_type, role_id, entity_id, effective_at, expires_at, created_at, updated_at) ",
    );
    query.push_values(assignments, |mut row, assignment| {
        row.push_bind(id(assignment.id))
            .push_bind(id(assignment.principal_id))
            .push_bind(&assignment.principal_type)
            .push_bind(id(assignment.role_id))
            .push_bind(assignment.entity_id.map(id))
            .push_bind(stamp(assignment.effective_at))
            .push_bind(assignment.expires_at.map(stamp))
            .push_bind(stamp(assignment.created_at))
            .push_bind(stamp(assignment.updated_at));
    });
    query.push(
        " ON CONFLICT (principal_id, principal_type, COALESCE(entity_id, '00000000-0000-0000-0000-000000000000'), role_id) \
         DO NOTHING",
    );
    let done = query.build().execute(conn).await.map_err(classify)?;
    Ok(usize::try_from(done.rows_affected()).unwrap_or(usize::MAX))
}

pub(super) async fn insert(conn: &mut Conn, assignment: &Assignment) -> Result<Inserted> {
    if insert_all(&mut *conn, std::slice::from_ref(assignment)).await? == 1 {
        return Ok(Inserted::New);
    }
    let row = sqlx::query(concat!(
        "SELECT ",
        columns!(),
        " FROM role_assignments a WHERE a.principal_id = $1 AND a.principal_type = $2 \
           AND COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000') \
             = COALESCE($3, '00000000-0000-0000-0000-000000000000') \
           AND a.role_id = $4"
    ))
    .bind(id(assignment.principal_id))
    .bind(&assignment.principal_type)
    .bind(assignment.entity_id.map(id))
    .bind(id(assignment.role_id))
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    match row {
        Some(row) => read(&row).map(Inserted::Existing),
        // It was revoked between the two statements: starting again finds the key free.
        None => Err(StoreError::Contention("the assignment was revoked at the same moment".into())),
    }
}

pub(super) async fn delete(conn: &mut Conn, assignment: Uuid) -> Result<Option<Assignment>> {
    let row = sqlx::query(
        "DELETE FROM role_assignments WHERE id = $1 \
         RETURNING id, principal_id, principal_type, role_id, entity_id, effective_at, expires_at, created_at, updated_at",
    )
    .bind(id(assignment))
    .fetch_optional(conn)
    .await
    .map_err(classify)?;
    row.as_ref().map(read).transpose()
}

fn matching(query: &mut QueryBuilder<Db>, filter: &AssignmentFilter) {
    query.push(" FROM role_assignments a WHERE 1 = 1");
    if let Some(principal) = filter.principal_id {
        query.push(" AND a.principal_id = ").push_bind(id(principal));
    }
    if let Some(entity) = filter.entity_id {
        query.push(" AND a.entity_id = ").push_bind(id(entity));
    }
}

pub(super) async fn list(
    conn: &mut Conn,
    filter: &AssignmentFilter,
    page: Page,
    take: Take<'_, Assignment>,
) -> Result<()> {
    let query = |position, limit| {
        let mut query = QueryBuilder::<Db>::new(concat!("SELECT ", columns!()));
        matching(&mut query, filter);
        after(&mut query, "a", Page { limit, after: position });
        query
    };
    let position = |assignment: &Assignment| Cursor { created_at: assignment.created_at, id: assignment.id };
    listing::show(conn, (page.limit, page.after), query, (read, position), take).await
}

/// Where the list ends that may have `bytes`.
pub(super) async fn end(conn: &mut Conn, filter: &AssignmentFilter, bytes: i64) -> Result<Option<Cursor>> {
    let mut query = QueryBuilder::<Db>::new(listing::SUMMED);
    query.push("SELECT a.created_at, a.id, 450 + octet_length(a.principal_type) AS size");
    matching(&mut query, filter);
    listing::end(conn, query, bytes).await
}
