//! Writing entries and the row versions that they make, in few statements: the ledger's lock is held meanwhile.

use sqlx::QueryBuilder;
use sqlx::query_builder::Separated;
use uuid::Uuid;

use super::super::columns::{InsertValues, Names, condition_text};
use super::super::dialect::{Conn, Db, bind_id, classify, entries};
use crate::domain::{Assignment, Entity, Principal, Role};
use crate::history::batch::{Batch, End, TableBatch, Version};
use crate::ledger::chain::{Head, Sealed};
use crate::store::Result;

/// The most rows of one part: each has at most 14 parameters, and a statement at most 32,766.
const MAX_ROWS: usize = 1_000;

/// Writes `sealed`, which moves the head of the chain from `before` to `after`, and the versions that they make, which
/// moves the head of history from `previous`, the newest entry that changed the registry before them. `false` when the
/// head of the chain is not at `before`; then nothing is written. No version is written unless the head of history is
/// at `previous`, or if an entry does not say which version it makes; an erasure blanks earlier ones in any case.
pub(in super::super) async fn append(
    conn: &mut Conn,
    (before, after): (&Head, &Head),
    sealed: &[Sealed<'_>],
    previous: i64,
) -> Result<bool> {
    let Some(last) = sealed.iter().rfind(|entry| entry.event.changes_registry()) else {
        return entries::insert(conn, before, sealed, after).await;
    };
    let versions = sealed.iter().filter_map(|entry| entry.event.row().map(|version| (entry.sequence, version)));
    let batch = Batch::of(versions);
    let parts = parts(&batch);
    let step = Step { previous, last: last.sequence };
    let unstated = sealed.iter().find(|entry| entry.event.lacks_row());
    if let Some(entry) = unstated {
        // No version is better than a gap: the head stays, and history is completed from the ledger.
        tracing::error!(
            sequence = entry.sequence,
            action = entry.event.event().action.as_str(),
            "history_row_unstated"
        );
    }
    let is_small = parts.iter().map(Part::rows).sum::<usize>() <= MAX_ROWS;
    let is_written = match entries::BEGIN_WITH_INSERT.filter(|_| unstated.is_none() && is_small) {
        Some(begin) => in_one_statement(&mut *conn, begin(before, sealed, after)?, step, &parts).await?,
        None => {
            let is_written = entries::insert(&mut *conn, before, sealed, after).await?;
            if is_written && unstated.is_none() && step.take(&mut *conn).await? {
                write_parts(&mut *conn, &parts).await?;
            }
            is_written
        }
    };
    if is_written {
        // Whether history is complete or not.
        blank(conn, &batch.erased).await?;
    }
    Ok(is_written)
}

/// A step of the head of history.
#[derive(Clone, Copy)]
pub(super) struct Step {
    /// Where the head must be.
    pub(super) previous: i64,
    /// Where it goes.
    pub(super) last: i64,
}

impl Step {
    fn push(self, query: &mut QueryBuilder<Db>) {
        query.push("UPDATE history_head SET sequence = ").push_bind(self.last);
        query.push(" WHERE id = 1 AND sequence = ").push_bind(self.previous);
    }

    /// Moves the head; `false` when it is not where the step begins.
    pub(super) async fn take(self, conn: &mut Conn) -> Result<bool> {
        let mut query = QueryBuilder::<Db>::new("");
        self.push(&mut query);
        Ok(query.build().execute(conn).await.map_err(classify)?.rows_affected() == 1)
    }
}

/// Writes `batch` without looking at the head of history.
pub(super) async fn write(conn: &mut Conn, batch: &Batch) -> Result<()> {
    write_parts(&mut *conn, &parts(batch)).await?;
    blank(conn, &batch.erased).await
}

async fn write_parts(conn: &mut Conn, parts: &[Part<'_>]) -> Result<()> {
    for part in parts {
        let mut query = QueryBuilder::<Db>::new("");
        part.push(&mut query, Gate::Open);
        let is_constant = part.rows() == 1 || matches!(part, Part::EndById(..));
        query.build().persistent(is_constant).execute(&mut *conn).await.map_err(classify)?;
    }
    Ok(())
}

/// Moves the head and writes `parts`, in one round trip with the entries that `query` begins with; returns whether
/// those were written. No part is written when the head is elsewhere.
async fn in_one_statement(
    conn: &mut Conn,
    mut query: QueryBuilder<Db>,
    step: Step,
    parts: &[Part<'_>],
) -> Result<bool> {
    query.push(", moved AS (");
    step.push(&mut query);
    query.push(" AND EXISTS (SELECT 1 FROM moved_head) RETURNING id)");
    for (index, part) in parts.iter().enumerate() {
        query.push(format!(", part{index} AS ("));
        part.push(&mut query, Gate::IfMoved);
        query.push(")");
    }
    query.push(" SELECT COUNT(*) FROM entries");
    let persistent = parts.iter().all(|part| part.rows() == 1);
    let written: i64 = query.build_query_scalar().persistent(persistent).fetch_one(conn).await.map_err(classify)?;
    Ok(written > 0)
}

/// Whether a part is written whatever happened, or only if the head of history was moved by the same statement.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Gate {
    Open,
    IfMoved,
}

/// What one statement, or one part of it, writes.
enum Part<'a> {
    EndById(&'static str, &'a [End<Uuid>]),
    EndPrincipals(&'a [End<(String, Uuid)>]),
    Entities(&'a [Version<Entity>]),
    Roles(&'a [Version<Role>]),
    Permissions(Vec<Permission<'a>>),
    Assignments(&'a [Version<Assignment>]),
    Principals(&'a [Version<Principal>]),
}

/// An action of a version of a role.
#[derive(Clone)]
struct Permission<'a> {
    role_id: Uuid,
    valid_from: i64,
    action: &'a str,
    condition: Option<String>,
}

fn parts(batch: &Batch) -> Vec<Part<'_>> {
    let Batch { entities, roles, assignments, principals, erased: _ } = batch;
    let mut parts = Vec::new();
    ends("entity_versions", entities, &mut parts);
    ends("role_versions", roles, &mut parts);
    ends("assignment_versions", assignments, &mut parts);
    parts.extend(principals.ends.chunks(MAX_ROWS).map(Part::EndPrincipals));
    parts.extend(entities.versions.chunks(MAX_ROWS).map(Part::Entities));
    parts.extend(roles.versions.chunks(MAX_ROWS).map(Part::Roles));
    let permissions: Vec<Permission<'_>> = roles.versions.iter().flat_map(permissions_of).collect();
    parts.extend(permissions.chunks(MAX_ROWS).map(|chunk| Part::Permissions(chunk.to_vec())));
    parts.extend(assignments.versions.chunks(MAX_ROWS).map(Part::Assignments));
    parts.extend(principals.versions.chunks(MAX_ROWS).map(Part::Principals));
    parts
}

/// The ends in a table, if its rows can have earlier versions at all: most changes create a row.
fn ends<'a, R>(table: &'static str, batch: &'a TableBatch<Uuid, R>, parts: &mut Vec<Part<'a>>) {
    parts.extend(batch.ends.chunks(MAX_ROWS).map(|chunk| Part::EndById(table, chunk)));
}

fn permissions_of(version: &Version<Role>) -> impl Iterator<Item = Permission<'_>> {
    let role = &version.row;
    role.permissions.iter().map(|action| Permission {
        role_id: role.id,
        valid_from: version.valid_from,
        action,
        condition: role.conditions.get(action).map(condition_text),
    })
}

impl Part<'_> {
    fn rows(&self) -> usize {
        match self {
            Self::EndById(_, ends) => ends.len(),
            Self::EndPrincipals(ends) => ends.len(),
            Self::Entities(versions) => versions.len(),
            Self::Roles(versions) => versions.len(),
            Self::Permissions(permissions) => permissions.len(),
            Self::Assignments(versions) => versions.len(),
            Self::Principals(versions) => versions.len(),
        }
    }

    fn push(&self, query: &mut QueryBuilder<Db>, gate: Gate) {
        match self {
            Self::EndById(table, ends) => {
                query.push("WITH item(id, valid_to) AS (");
                push_ends(query, ends);
                query.push(format!(
                    ") UPDATE {table} AS v SET valid_to = item.valid_to FROM item{} WHERE v.id = item.id \
                     AND v.valid_from = (SELECT MAX(o.valid_from) FROM {table} o WHERE o.id = item.id) \
                     AND v.valid_to IS NULL",
                    if gate == Gate::IfMoved { ", moved" } else { "" }
                ));
            }
            Self::EndPrincipals(ends) => {
                query.push("WITH item(type, id, valid_to) AS (");
                query.push_values(*ends, |mut row, end| {
                    row.push_bind(end.key.0.clone()).push_bind(bind_id(end.key.1)).push_bind(end.valid_to);
                });
                query.push(") UPDATE principal_versions AS v SET valid_to = item.valid_to FROM item");
                query.push(if gate == Gate::IfMoved { ", moved" } else { "" });
                query.push(
                    " WHERE v.type = item.type AND v.id = item.id AND v.valid_from = (SELECT MAX(o.valid_from) \
                     FROM principal_versions o WHERE o.type = item.type AND o.id = item.id) AND v.valid_to IS NULL",
                );
            }
            Self::Entities(versions) => {
                let mut names = Names::default();
                Entity::describe_to(&mut names);
                insert(query, ("entity_versions", &names.0), gate, versions, |row, entity| {
                    entity.write_to(&mut InsertValues(row));
                });
            }
            Self::Roles(versions) => {
                let mut names = Names::default();
                Role::describe_to(&mut names);
                insert(query, ("role_versions", &names.0), gate, versions, |row, role| {
                    role.write_to(&mut InsertValues(row));
                });
            }
            Self::Assignments(versions) => {
                let mut names = Names::default();
                Assignment::describe_to(&mut names);
                insert(query, ("assignment_versions", &names.0), gate, versions, |row, assignment| {
                    assignment.write_to(&mut InsertValues(row));
                });
            }
            Self::Principals(versions) => {
                let mut names = Names::default();
                Principal::describe_to(&mut names);
                insert(query, ("principal_versions", &names.0), gate, versions, |row, principal| {
                    principal.write_to(&mut InsertValues(row));
                });
            }
            Self::Permissions(permissions) => {
                query.push("INSERT INTO role_permission_versions (role_id, valid_from, action, condition) ");
                gated(query, gate, |query| {
                    query.push_values(permissions, |mut row, one| {
                        row.push_bind(bind_id(one.role_id)).push_bind(one.valid_from);
                        row.push_bind(one.action.to_owned()).push_bind(one.condition.clone());
                    });
                });
            }
        }
    }
}

/// Adds the ids and ends as rows: more than one as one parameter, so that the statement is prepared once for any
/// number.
fn push_ends(query: &mut QueryBuilder<Db>, ends: &[End<Uuid>]) {
    const ROWS: &str = concat!(
        "SELECT ",
        uuid_value!("item.value ->> 0"),
        ", CAST(item.value ->> 1 AS bigint) FROM ",
        json_rows!("{ends}")
    );
    if let [end] = ends {
        query.push_values([end], |mut row, end| {
            row.push_bind(bind_id(end.key)).push_bind(end.valid_to);
        });
        return;
    }
    let pairs: Vec<String> = ends.iter().map(|end| format!("[\"{}\",{}]", end.key, end.valid_to)).collect();
    let (before, after) = ROWS.split_once("{ends}").unwrap_or((ROWS, ""));
    query.push(before).push_bind(format!("[{}]", pairs.join(","))).push(after);
}

/// Inserts versions into a table that has the columns of the row, `valid_from` and `valid_to`.
fn insert<R>(
    query: &mut QueryBuilder<Db>,
    (table, columns): (&'static str, &str),
    gate: Gate,
    versions: &[Version<R>],
    put: impl Fn(&mut Separated<'_, Db, &'static str>, &R),
) {
    query.push(format!("INSERT INTO {table} ({columns}, valid_from, valid_to) "));
    gated(query, gate, |query| {
        query.push_values(versions, |mut row, version| {
            put(&mut row, &version.row);
            row.push_bind(version.valid_from).push_bind(version.valid_to);
        });
    });
}

/// Adds the rows of an INSERT, which `push` adds as VALUES.
fn gated(query: &mut QueryBuilder<Db>, gate: Gate, push: impl FnOnce(&mut QueryBuilder<Db>)) {
    if gate == Gate::Open {
        push(query);
        return;
    }
    query.push("SELECT n.* FROM (");
    push(query);
    query.push(") AS n CROSS JOIN moved");
}

/// Removes the personal fields of erased principals from every version. A statement of its own: no row can be updated
/// twice in one.
async fn blank(conn: &mut Conn, erased: &[(String, Uuid)]) -> Result<()> {
    for chunk in erased.chunks(MAX_ROWS) {
        let mut query = QueryBuilder::<Db>::new("WITH item(type, id) AS (");
        query.push_values(chunk, |mut row, (kind, id)| {
            row.push_bind(kind.clone()).push_bind(bind_id(*id));
        });
        query.push(
            ") UPDATE principal_versions AS v SET external_id = NULL, display_name = NULL, attributes = '{}' FROM item \
             WHERE v.type = item.type AND v.id = item.id AND (v.external_id IS NOT NULL OR v.display_name IS NOT NULL \
             OR CAST(v.attributes AS TEXT) <> '{}')",
        );
        query.build().persistent(chunk.len() == 1).execute(&mut *conn).await.map_err(classify)?;
    }
    Ok(())
}
