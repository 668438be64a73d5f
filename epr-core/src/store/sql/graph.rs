//! The whole registry in one snapshot, and the rows that have changed since another one.
//!
//! Owns which columns decisions depend on. Must never interpret a condition or attributes: they are passed on as they
//! are stored.

use std::collections::{HashMap, HashSet};

use futures_util::TryStreamExt as _;
use sqlx::{QueryBuilder, Row as _};
use uuid::Uuid;

use super::columns::{read_type, read_types, read_word};
use super::dialect::{
    Conn, Db, Id, Pool, REGISTRY_TRIGGERS, Row, SqlTime, begin_snapshot, bind_id, classify, generation, read_id,
    read_time,
};
use super::revisions;
use crate::domain::principal::PrincipalStatus;
use crate::ledger::chain::Head;
use crate::store::{
    GraphAssignment, GraphChange, GraphChanges, GraphCompared, GraphDescribed, GraphEntity, GraphKey, GraphPosition,
    GraphPrincipal, GraphPrincipalKey, GraphRole, GraphRow, Result, RowVisitor, StoreError,
};

const ENTITIES: &str = "SELECT e.id, e.parent_id, e.type, e.external_id, CAST(e.attributes AS TEXT) AS attributes \
     FROM entities e";
const PRINCIPALS: &str = "SELECT p.type, p.id, p.status, p.external_id, CAST(p.attributes AS TEXT) AS attributes \
     FROM principals p";
const ROLES: &str = "SELECT r.id, CAST(r.scope_types AS TEXT) AS scope_types, x.action, rp.condition \
     FROM roles r LEFT JOIN role_permissions rp ON rp.role_id = r.id \
     LEFT JOIN permissions x ON x.id = rp.permission_id";
const ASSIGNMENTS: &str = "SELECT a.id, a.principal_type, a.principal_id, a.role_id, a.entity_id, a.effective_at, \
     a.expires_at, a.condition FROM role_assignments a";

/// The most keys of one statement.
const KEYS: usize = 500;

/// The most changed rows that are read one by one. Reading the whole registry is faster beyond.
const MAX_CHANGED: i64 = 100_000;

/// The most bytes of external ids and attributes of changed rows that are in memory at once, but for one row. A read of
/// the whole registry holds one row at a time.
const MAX_CHANGED_BYTES: usize = 32 << 20;

/// Shows every row of the registry to `visit`; an error unless `known` is an entry of this database's ledger.
pub(super) async fn read(
    pool: &Pool,
    known: Option<&Head>,
    visit: RowVisitor<'_, GraphRow>,
) -> Result<(GraphPosition, Head)> {
    let mut snapshot = begin_snapshot(pool).await?;
    let (position, decisive) = position(&mut snapshot, known).await?;
    show_all(&mut snapshot, visit).await?;
    Ok((position, decisive))
}

async fn show_all(conn: &mut Conn, visit: RowVisitor<'_, GraphRow>) -> Result<bool> {
    let mut assignments = QueryBuilder::new(ASSIGNMENTS);
    assignments.push(" ORDER BY a.principal_id, a.principal_type");
    Ok(show(conn, QueryBuilder::new(ENTITIES), read_entity, visit).await?
        && show_roles(conn, QueryBuilder::new(ROLES), visit).await?
        && show(conn, QueryBuilder::new(PRINCIPALS), read_principal, visit).await?
        && show(conn, assignments, read_assignment, visit).await?)
}

/// Returns the rows that have changed since a position, unless they are too many or too large; `conn` must see one
/// snapshot.
pub(super) async fn changes(
    conn: &mut Conn,
    since: &GraphPosition,
    known: Option<&Head>,
) -> Result<(Option<GraphChanges>, Head)> {
    let (position, keys, decisive) = keys_since(conn, since, known).await?;
    let Some(keys) = keys else { return Ok((None, decisive)) };
    let keys: Vec<GraphKey> = keys.into_iter().collect();
    let (mut found, mut bytes) = (HashMap::new(), 0);
    let mut keep = |row: GraphRow| {
        bytes += row.described_bytes();
        found.insert(row.key(), row);
        bytes <= MAX_CHANGED_BYTES
    };
    if !show_rows(conn, &keys, &mut keep).await? {
        return Ok((None, decisive));
    }
    let changes = keys.into_iter().map(|key| GraphChange { row: found.remove(&key), key }).collect();
    Ok((Some(GraphChanges { changes, position }), decisive))
}

/// Shows those of `keys` that have not changed since a position, each with its row; `conn` must see one snapshot.
pub(super) async fn show_unchanged(
    conn: &mut Conn,
    since: &GraphPosition,
    mut keys: Vec<GraphKey>,
    known: Option<&Head>,
    visit: RowVisitor<'_, GraphChange>,
) -> Result<(Option<bool>, Head)> {
    let (_, changed, decisive) = keys_since(conn, since, known).await?;
    let Some(changed) = changed else { return Ok((None, decisive)) };
    keys.retain(|key| !changed.contains(key));
    let mut missing: HashSet<GraphKey> = keys.iter().cloned().collect();
    let shown = show_rows(conn, &keys, &mut |row| {
        let key = row.key();
        // A principal of another type has the same id.
        !missing.remove(&key) || visit(GraphChange { key, row: Some(row) })
    })
    .await?;
    let shown = shown && missing.into_iter().all(|key| visit(GraphChange { key, row: None }));
    Ok((Some(shown), decisive))
}

/// Shows the keys that have changed since a position, and then every row.
pub(super) async fn compare(
    pool: &Pool,
    since: &GraphPosition,
    known: Option<&Head>,
    visit: RowVisitor<'_, GraphCompared>,
) -> Result<(Option<bool>, Head)> {
    let mut snapshot = begin_snapshot(pool).await?;
    let (_, changed, decisive) = keys_since(&mut snapshot, since, known).await?;
    let Some(changed) = changed else { return Ok((None, decisive)) };
    let wants_more = changed.into_iter().all(|key| visit(GraphCompared::Changed(key)));
    let shown = wants_more && show_all(&mut snapshot, &mut |row| visit(GraphCompared::Row(row))).await?;
    Ok((Some(shown), decisive))
}

/// Notes of changed rows that one transaction removes at most.
const MAX_REMOVED: i64 = 10_000;

/// Removes the notes that another server has made, in a transaction.
pub(super) async fn purge_foreign(conn: &mut Conn) -> Result<()> {
    let statements: [&str; _] = remove_foreign_notes!();
    for statement in statements {
        sqlx::query(statement).execute(&mut *conn).await.map_err(classify)?;
    }
    Ok(())
}

/// Removes some of the old notes of changed rows, in a transaction; returns whether there may be more.
///
/// INVARIANT: what is removed is at or before `removed_to`, which a trigger changes in the same transaction: a copy
/// that lacks it is recognized.
pub(super) async fn purge(conn: &mut Conn) -> Result<bool> {
    let removed = sqlx::query(concat!(
        "DELETE FROM changed_rows WHERE id IN (SELECT c.id FROM changed_rows c WHERE c.",
        written_an_hour_ago!(),
        " ORDER BY c.",
        changed_rows_order!(),
        " LIMIT $1)"
    ))
    .bind(MAX_REMOVED)
    .execute(conn)
    .await
    .map_err(classify)?;
    Ok(i64::try_from(removed.rows_affected()).is_ok_and(|removed| removed == MAX_REMOVED))
}

/// The present position, and the keys of the rows that have changed since an earlier one; `None` when all may have
/// changed.
async fn keys_since(
    conn: &mut Conn,
    since: &GraphPosition,
    known: Option<&Head>,
) -> Result<(GraphPosition, Option<HashSet<GraphKey>>, Head)> {
    let (position, decisive) = position(conn, known).await?;
    let is_comparable = position.read_at.revision.incarnation == since.read_at.revision.incarnation
        && position.triggers == since.triggers
        && position.generation == since.generation;
    let keys = if is_comparable { changed_keys(conn, since).await? } else { None };
    Ok((position, keys, decisive))
}

async fn position(conn: &mut Conn, known: Option<&Head>) -> Result<(GraphPosition, Head)> {
    let (accepted, _) = revisions::read(conn, known).await?;
    let generation = generation(conn);
    let row = sqlx::query(graph_position!()).fetch_one(conn).await.map_err(classify)?;
    if row.try_get::<i64, _>("enabled").map_err(classify)? < REGISTRY_TRIGGERS {
        return Err(StoreError::Unsuitable(
            "triggers of EPR on the tables of the registry are missing or disabled, so that changes of other programs \
             are not noticed: enable them again (ALTER TABLE … ENABLE ALWAYS TRIGGER …)"
                .into(),
        ));
    }
    let position = GraphPosition {
        snapshot: row.try_get("snapshot").map_err(classify)?,
        triggers: row.try_get("triggers").map_err(classify)?,
        generation,
        read_at: accepted.read_at(),
    };
    Ok((position, accepted.decisive))
}

/// The keys of the rows that transactions after `since` have changed; `None` when all may have changed.
async fn changed_keys(conn: &mut Conn, since: &GraphPosition) -> Result<Option<HashSet<GraphKey>>> {
    const CHANGED: &str = concat!(
        "SELECT c.kind, c.row_id, c.principal_type, c.principal_id FROM changed_rows c WHERE ",
        changed_after!("$1"),
        " UNION ALL SELECT 'all', ",
        uuid_value!("'00000000-0000-0000-0000-000000000000'"),
        ", NULL, NULL FROM changed_rows_head h WHERE h.id = 1 AND ",
        changes_removed_after!("$1"),
        " LIMIT $2"
    );
    // Planned anew for the present size of the table, which grows and shrinks.
    let rows = sqlx::query(CHANGED)
        .persistent(false)
        .bind(&since.snapshot)
        .bind(MAX_CHANGED)
        .fetch_all(conn)
        .await
        .map_err(classify)?;
    if i64::try_from(rows.len()).is_ok_and(|found| found == MAX_CHANGED) {
        return Ok(None);
    }
    let mut keys = HashSet::with_capacity(rows.len());
    for row in &rows {
        let id = row.try_get::<Id, _>("row_id").map(read_id).map_err(classify)?;
        let principal_type = row.try_get::<Option<String>, _>("principal_type").map_err(classify)?.unwrap_or_default();
        keys.insert(match row.try_get::<&str, _>("kind").map_err(classify)? {
            "entity" => GraphKey::Entity(id),
            "role" => GraphKey::Role(id),
            "principal" => GraphKey::Principal(GraphPrincipalKey { principal_type, id }),
            "assignment" => {
                let principal = row.try_get::<Option<Id>, _>("principal_id").map_err(classify)?;
                let principal = principal.map(read_id).unwrap_or_default();
                GraphKey::Assignment(GraphPrincipalKey { principal_type, id: principal }, id)
            }
            // Also a kind that a newer program has added.
            _ => return Ok(None),
        });
    }
    Ok(Some(keys))
}

/// Shows the rows with these keys, each once, to `visit`; returns whether it wants more.
async fn show_rows(conn: &mut Conn, keys: &[GraphKey], visit: RowVisitor<'_, GraphRow>) -> Result<bool> {
    let ids = |of: fn(&GraphKey) -> Option<Uuid>| {
        let mut ids: Vec<Uuid> = keys.iter().filter_map(of).collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    };
    let of_entity = |key: &GraphKey| if let GraphKey::Entity(id) = key { Some(*id) } else { None };
    let of_role = |key: &GraphKey| if let GraphKey::Role(id) = key { Some(*id) } else { None };
    let of_principal = |key: &GraphKey| if let GraphKey::Principal(key) = key { Some(key.id) } else { None };
    let of_assignment = |key: &GraphKey| if let GraphKey::Assignment(_, id) = key { Some(*id) } else { None };
    let mut shows_more = true;
    for ids in ids(of_entity).chunks(KEYS) {
        shows_more = shows_more && show(conn, with_ids(ENTITIES, "e.id", ids), read_entity, visit).await?;
    }
    for ids in ids(of_role).chunks(KEYS) {
        shows_more = shows_more && show_roles(conn, with_ids(ROLES, "r.id", ids), visit).await?;
    }
    for ids in ids(of_principal).chunks(KEYS) {
        shows_more = shows_more && show(conn, with_ids(PRINCIPALS, "p.id", ids), read_principal, visit).await?;
    }
    for ids in ids(of_assignment).chunks(KEYS) {
        shows_more = shows_more && show(conn, with_ids(ASSIGNMENTS, "a.id", ids), read_assignment, visit).await?;
    }
    Ok(shows_more)
}

fn with_ids(select: &'static str, column: &'static str, ids: &[Uuid]) -> QueryBuilder<Db> {
    let mut query = QueryBuilder::new(select);
    query.push(" WHERE ").push(column).push(" IN (");
    let mut list = query.separated(", ");
    for id in ids {
        list.push_bind(bind_id(*id));
    }
    list.push_unseparated(")");
    query
}

/// Runs `query` and shows every row to `visit`; returns whether it wants more.
async fn show(
    conn: &mut Conn,
    mut query: QueryBuilder<Db>,
    read: fn(&Row) -> Result<GraphRow>,
    visit: RowVisitor<'_, GraphRow>,
) -> Result<bool> {
    let mut rows = query.build().persistent(false).fetch(conn);
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        if !visit(read(&row)?) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// [`show`] for roles, which have a row for each permission.
async fn show_roles(conn: &mut Conn, mut query: QueryBuilder<Db>, visit: RowVisitor<'_, GraphRow>) -> Result<bool> {
    query.push(" ORDER BY r.id");
    let mut rows = query.build().persistent(false).fetch(conn);
    let mut role: Option<GraphRole> = None;
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        let id = row.try_get::<Id, _>("id").map(read_id).map_err(classify)?;
        if role.as_ref().is_none_or(|role| role.id != id) {
            let scope_types = read_types(row.try_get("scope_types").map_err(classify)?)?;
            let former = role.replace(GraphRole { id, scope_types, actions: Vec::new() });
            if former.is_some_and(|former| !visit(GraphRow::Role(former))) {
                return Ok(false);
            }
        }
        let action = row.try_get::<Option<String>, _>("action").map_err(classify)?;
        if let (Some(role), Some(action)) = (&mut role, action) {
            role.actions.push((action, row.try_get("condition").map_err(classify)?));
        }
    }
    Ok(role.is_none_or(|role| visit(GraphRow::Role(role))))
}

fn read_entity(row: &Row) -> Result<GraphRow> {
    Ok(GraphRow::Entity(GraphEntity {
        id: row.try_get::<Id, _>("id").map(read_id).map_err(classify)?,
        parent_id: row.try_get::<Option<Id>, _>("parent_id").map_err(classify)?.map(read_id),
        entity_type: read_type(row.try_get("type").map_err(classify)?)?,
        described: read_described(row)?,
    }))
}

fn read_principal(row: &Row) -> Result<GraphRow> {
    let status: PrincipalStatus = read_word(row.try_get("status").map_err(classify)?)?;
    let key = GraphPrincipalKey {
        principal_type: row.try_get("type").map_err(classify)?,
        id: row.try_get::<Id, _>("id").map(read_id).map_err(classify)?,
    };
    let is_suspended = status == PrincipalStatus::Suspended;
    Ok(GraphRow::Principal(GraphPrincipal { key, is_suspended, described: read_described(row)? }))
}

fn read_described(row: &Row) -> Result<GraphDescribed> {
    let attributes: Option<&str> = row.try_get("attributes").map_err(classify)?;
    Ok(GraphDescribed {
        external_id: row.try_get("external_id").map_err(classify)?,
        attributes: attributes.filter(|text| *text != "{}").map(str::to_owned),
    })
}

fn read_assignment(row: &Row) -> Result<GraphRow> {
    let principal = GraphPrincipalKey {
        principal_type: row.try_get("principal_type").map_err(classify)?,
        id: row.try_get::<Id, _>("principal_id").map(read_id).map_err(classify)?,
    };
    Ok(GraphRow::Assignment(GraphAssignment {
        id: row.try_get::<Id, _>("id").map(read_id).map_err(classify)?,
        principal,
        role_id: row.try_get::<Id, _>("role_id").map(read_id).map_err(classify)?,
        entity_id: row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id),
        effective_at: read_time(row.try_get::<SqlTime, _>("effective_at").map_err(classify)?)?,
        expires_at: row.try_get::<Option<SqlTime>, _>("expires_at").map_err(classify)?.map(read_time).transpose()?,
        condition: row.try_get("condition").map_err(classify)?,
    }))
}
