//! Scans for reports and exports: one statement each, one snapshot, row by row.

use futures_util::TryStreamExt as _;
use sqlx::{QueryBuilder, Row as _};

use super::columns::{read_object, read_type};
use super::dialect::{
    Conn, Db, Id, Pool, Row, SqlTime, begin_snapshot, bind_id, bind_time, classify, read_id, read_time,
};
use super::{assignments, entities, roles};
use crate::domain::{
    AssignmentScan, ConditionHolder, Granted, Json, NamedAssignment, Orphan, RegistryCounts, StoredCondition,
    Timestamp, UnheldRole,
};
use crate::store::{Result, RowVisitor};

/// Runs `query` and shows every row to `visit`, as `read` reads it.
async fn show<T>(
    pool: &Pool,
    mut query: QueryBuilder<Db>,
    read: fn(&Row) -> Result<T>,
    visit: RowVisitor<'_, T>,
) -> Result<()> {
    let mut snapshot = begin_snapshot(pool).await?;
    let mut rows = query.build().fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await.map_err(classify)? {
        if !visit(read(&row)?) {
            break;
        }
    }
    Ok(())
}

pub(super) async fn assignments(
    pool: &Pool,
    scan: &AssignmentScan,
    most: Option<u32>,
    visit: RowVisitor<'_, NamedAssignment>,
) -> Result<()> {
    let with_grant = !matches!(scan, AssignmentScan::Listed { .. });
    let mut query = if with_grant { assignments::select_granted() } else { assignments::select_named() };
    match scan {
        AssignmentScan::Listed { filter, now } => {
            query.push(" WHERE 1 = 1");
            assignments::conditions(&mut query, filter, *now);
            query.push(" ORDER BY a.created_at DESC, a.id DESC");
        }
        AssignmentScan::One(assignment) => {
            query.push(" WHERE a.id = ").push_bind(bind_id(*assignment));
        }
        AssignmentScan::Expiring { now, until } => {
            query.push(" WHERE a.expires_at > ").push_bind(bind_time(*now));
            query.push(" AND a.expires_at <= ").push_bind(bind_time(*until));
            query.push(" ORDER BY a.expires_at, a.id");
        }
        AssignmentScan::NeverEffective { now } => {
            query.push(" WHERE a.id IN (SELECT n.id FROM (");
            never_effective(&mut query, *now, most);
            query.push(") n ORDER BY n.effective_at, n.id");
            first(&mut query, most);
            query.push(") ORDER BY a.effective_at, a.id");
        }
        AssignmentScan::Global { now } => {
            query.push(" WHERE a.entity_id IS NULL AND (a.expires_at IS NULL OR a.expires_at > ");
            query.push_bind(bind_time(*now));
            query.push(") ORDER BY a.principal_type, a.principal_id, r.name");
        }
    }
    if !matches!(scan, AssignmentScan::NeverEffective { .. }) {
        first(&mut query, most);
    }
    show(pool, query, if with_grant { read_granted } else { read_named }, visit).await
}

/// Selects the assignments that begin after `now` or ended before they were made, each once; at least the first `most`.
/// Each of the three cases has an index in this order: they begin later than they were made; not later, but they were
/// made after `now` by another clock; they began.
fn never_effective(query: &mut QueryBuilder<Db>, now: Timestamp, most: Option<u32>) {
    let mut case = |before: &str, condition: &str, compared: &[&str]| {
        query.push(before).push("SELECT * FROM (SELECT a.id, a.effective_at FROM role_assignments a WHERE ");
        query.push(condition);
        for column in compared {
            query.push(" AND ").push(column).push_bind(bind_time(now));
        }
        query.push(" ORDER BY a.effective_at, a.id");
        first(query, most);
        query.push(") t");
    };
    case("", "a.effective_at > a.created_at", &["a.effective_at > "]);
    case(" UNION ALL ", "a.effective_at <= a.created_at", &["a.created_at > ", "a.effective_at > "]);
    case(" UNION ALL ", "a.expires_at <= a.created_at", &["a.effective_at <= "]);
}

fn first(query: &mut QueryBuilder<Db>, most: Option<u32>) {
    if let Some(most) = most {
        query.push(" LIMIT ").push_bind(i64::from(most));
    }
}

fn read_granted(row: &Row) -> Result<NamedAssignment> {
    let named = read_named(row)?;
    let Some(sequence) = row.try_get::<Option<i64>, _>("granted_sequence").map_err(classify)? else {
        return Ok(named);
    };
    let details = read_object("details", row.try_get("granted_details").map_err(classify)?)?;
    let text = |name: &str| details.get(name).and_then(Json::as_text).map(str::to_owned);
    let granted = Granted {
        sequence,
        at: read_time(row.try_get::<SqlTime, _>("granted_at").map_err(classify)?)?,
        actor_id: row.try_get::<Option<Id>, _>("granted_by").map_err(classify)?.map(read_id),
        actor_type: row.try_get("granted_by_type").map_err(classify)?,
        caller: text("caller"),
        stated_reason: text("stated_reason"),
    };
    Ok(NamedAssignment { granted: Some(granted), ..named })
}

/// Reads a row with the columns of [`assignments::NAMES_OF`].
pub(super) fn read_named(row: &Row) -> Result<NamedAssignment> {
    let place_type: Option<&str> = row.try_get("place_type").map_err(classify)?;
    Ok(NamedAssignment {
        assignment: assignments::read(row)?,
        role_name: row.try_get("role_name").map_err(classify)?,
        entity_type: place_type.map(read_type).transpose()?,
        entity_name: row.try_get("place_name").map_err(classify)?,
        granted: None,
    })
}

pub(super) async fn unheld_roles(pool: &Pool, now: Timestamp, visit: RowVisitor<'_, UnheldRole>) -> Result<()> {
    let mut query = roles::select_with_ended();
    query.push(" WHERE NOT EXISTS (SELECT 1 FROM role_assignments h WHERE h.role_id = r.id");
    query.push(" AND (h.expires_at IS NULL OR h.expires_at > ").push_bind(bind_time(now));
    query.push(")) ORDER BY r.name, r.id");
    show(pool, query, read_unheld, visit).await
}

fn read_unheld(row: &Row) -> Result<UnheldRole> {
    let last: Option<SqlTime> = row.try_get("last_ended_at").map_err(classify)?;
    Ok(UnheldRole {
        role: roles::read(row)?,
        ended_assignments: row.try_get("ended").map_err(classify)?,
        last_ended_at: last.map(read_time).transpose()?,
    })
}

pub(super) async fn conditions(pool: &Pool, visit: RowVisitor<'_, StoredCondition>) -> Result<()> {
    let query = QueryBuilder::new(
        "SELECT a.id AS holder_id, NULL AS role_name, NULL AS action, a.condition AS text FROM role_assignments a \
           WHERE a.condition IS NOT NULL \
         UNION ALL \
         SELECT rp.role_id, r.name, p.action, rp.condition FROM role_permissions rp JOIN roles r ON r.id = rp.role_id \
           JOIN permissions p ON p.id = rp.permission_id WHERE rp.condition IS NOT NULL",
    );
    show(pool, query, read_condition, visit).await
}

fn read_condition(row: &Row) -> Result<StoredCondition> {
    let id = row.try_get("holder_id").map(read_id).map_err(classify)?;
    let name: Option<String> = row.try_get("role_name").map_err(classify)?;
    let action: Option<String> = row.try_get("action").map_err(classify)?;
    let holder = match name.zip(action) {
        Some((name, action)) => ConditionHolder::Role { id, name, action },
        None => ConditionHolder::Assignment(id),
    };
    Ok(StoredCondition { holder, text: row.try_get("text").map_err(classify)? })
}

pub(super) async fn orphans(pool: &Pool, visit: RowVisitor<'_, Orphan>) -> Result<()> {
    let mut query = entities::select_with_parent();
    query.push(" WHERE p.status = 'archived' AND e.status <> 'archived' ORDER BY p.name, p.id, e.name, e.id");
    show(pool, query, read_orphan, visit).await
}

fn read_orphan(row: &Row) -> Result<Orphan> {
    Ok(Orphan {
        entity: entities::read(row)?,
        parent_name: row.try_get("parent_name").map_err(classify)?,
        parent_type: read_type(row.try_get("parent_type").map_err(classify)?)?,
    })
}

/// Counts the objects of the registry, at most `most` of each kind.
pub(super) async fn counts(conn: &mut Conn, most: i64) -> Result<RegistryCounts> {
    let mut query = QueryBuilder::<Db>::new("SELECT ");
    let mut columns = query.separated(", ");
    for (name, rows) in [
        ("entities", "entities WHERE status <> 'archived'"),
        ("principals", "principals"),
        ("roles", "roles"),
        ("assignments", "role_assignments"),
    ] {
        columns.push("(SELECT COUNT(*) FROM (SELECT 1 FROM ").push_unseparated(rows).push_unseparated(" LIMIT ");
        columns.push_bind_unseparated(most).push_unseparated(") t) AS ").push_unseparated(name);
    }
    let row = query.build().fetch_one(conn).await.map_err(classify)?;
    let count = |name: &str| row.try_get(name).map_err(classify);
    Ok(RegistryCounts {
        entities: count("entities")?,
        principals: count("principals")?,
        roles: count("roles")?,
        assignments: count("assignments")?,
    })
}
