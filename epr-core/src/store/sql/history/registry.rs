//! Rows of the registry in a past state.

use uuid::Uuid;

use super::super::dialect::{Conn, Row, bind_id, classify};
use super::super::listing::after;
use super::open::{Source, Subject};
use crate::domain::PastMoment;
use crate::history::{RegistryRow, RowKey};
use crate::store::{Cursor, Page, RegistryList, Result, RowVisitor};

/// The rows that one statement reads of a list, whose filter may leave out most of them.
const BATCH: u32 = 256;

/// Returns the row with this key after the entry `sequence`.
pub(in super::super) async fn row(conn: &mut Conn, key: &RowKey, sequence: i64) -> Result<Option<RegistryRow>> {
    let subject = match key {
        RowKey::Entity(_) => Subject::Entity,
        RowKey::Role(_) => Subject::Role,
        RowKey::Assignment(_) => Subject::Assignment,
        RowKey::Principal(..) => Subject::Principal,
    };
    let mut query = subject.select(Source::VersionsAfter(sequence));
    match key {
        RowKey::Principal(kind, id) => {
            query.push(" AND r.type = ").push_bind(kind.clone()).push(" AND r.id = ").push_bind(bind_id(*id));
        }
        RowKey::Entity(id) | RowKey::Role(id) | RowKey::Assignment(id) => {
            query.push(" AND r.id = ").push_bind(bind_id(*id));
        }
    }
    let found = query.build().fetch_optional(conn).await.map_err(classify)?;
    found.as_ref().map(|row| subject.read(row)).transpose()
}

/// Passes at most `page.limit` rows of `list` at `past` to `visit` until it returns `false`.
pub(in super::super) async fn rows(
    conn: &mut Conn,
    list: RegistryList<'_>,
    past: PastMoment,
    page: Page,
    visit: RowVisitor<'_, RegistryRow>,
) -> Result<()> {
    let (mut left, mut position) = (page.limit, page.after);
    while left > 0 {
        let (found, count) = batch(&mut *conn, list, past, position).await?;
        for row in found {
            position = Some(Cursor::of(&row));
            if !list.admits(&row, past.at) {
                continue;
            }
            left -= 1;
            if !visit(row) || left == 0 {
                return Ok(());
            }
        }
        if count < BATCH {
            return Ok(());
        }
    }
    Ok(())
}

/// The next rows of a list that only some of its conditions have narrowed, and their number.
async fn batch(
    conn: &mut Conn,
    list: RegistryList<'_>,
    past: PastMoment,
    position: Option<Cursor>,
) -> Result<(Vec<RegistryRow>, u32)> {
    let sequence = past.revision.sequence;
    let (subject, ids) = match list {
        RegistryList::Entities(filter) => (Subject::Entity, [("r.parent_id", filter.parent_id), ("", None)]),
        RegistryList::Roles => (Subject::Role, [("", None), ("", None)]),
        RegistryList::Assignments(filter) => {
            (Subject::Assignment, [("r.principal_id", filter.principal_id), ("r.role_id", filter.role_id)])
        }
        RegistryList::Principals(_) => (Subject::Principal, [("", None), ("", None)]),
    };
    let mut query = subject.select(Source::VersionsAfter(sequence));
    for (column, id) in ids {
        if let Some(id) = id {
            query.push(" AND ").push(column).push(" = ").push_bind(bind_id(id));
        }
    }
    if let RegistryList::Entities(filter) = list
        && let Some(ancestor) = filter.ancestor_id
    {
        below(&mut query, ancestor, sequence);
    }
    after(&mut query, "r", Page { limit: BATCH, after: position });
    let rows = query.build().persistent(false).fetch_all(conn).await.map_err(classify)?;
    let read = rows.iter().map(|row: &Row| subject.read(row)).collect::<Result<Vec<_>>>()?;
    Ok((read, u32::try_from(rows.len()).unwrap_or(u32::MAX)))
}

/// The condition that an entity was below another one. `UNION` finds no new row in a cycle.
fn below(query: &mut sqlx::QueryBuilder<super::super::dialect::Db>, ancestor: Uuid, sequence: i64) {
    query.push(" AND r.id <> ").push_bind(bind_id(ancestor));
    query.push(" AND r.id IN (WITH RECURSIVE below(id) AS (SELECT c.id FROM entity_versions c WHERE c.parent_id = ");
    query.push_bind(bind_id(ancestor)).push(" AND c.valid_from <= ").push_bind(sequence);
    query.push(" AND (c.valid_to IS NULL OR c.valid_to > ").push_bind(sequence);
    query.push(") UNION SELECT c.id FROM below b JOIN entity_versions c ON c.parent_id = b.id AND c.valid_from <= ");
    query.push_bind(sequence).push(" AND (c.valid_to IS NULL OR c.valid_to > ").push_bind(sequence);
    query.push(")) SELECT below.id FROM below)");
}
