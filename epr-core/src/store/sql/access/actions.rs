//! The candidates of a list of actions: the actions of the roles of a principal's assignments that reach the resource.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use uuid::Uuid;

use super::super::columns::read_types;
use super::super::dialect::{Conn, Id, Row, SqlTime, access_batch, bind_id, classify, read_id, read_time};
use super::super::facts::Accepted;
use super::super::revisions;
use super::resource::{Lineage, lineage};
use crate::decision::{AssignmentFacts, ConditionFacts, ConditionOwner, is_in_scope};
use crate::domain::Json;
use crate::ledger::chain::Head;
use crate::store::{AccessEnd, AccessStart, AccessVisitor, ActionCandidate, ActionsQuery, Result};

/// The principal's assignments that reach the resource, by the same probes as a check's.
const REACHING: &str = concat!(
    "WITH RECURSIVE lineage(id, parent_id) AS ( \
       SELECT id, parent_id FROM entities WHERE id = $1 \
       UNION \
       SELECT e.id, e.parent_id FROM lineage l ",
    join_probing!("entities", "e", "e.id = l.parent_id"),
    " \
     ), reached(id) AS ( \
       SELECT id FROM lineage UNION ALL SELECT ",
    uuid_value!("'00000000-0000-0000-0000-000000000000'"),
    ") \
     SELECT a.id, a.role_id, a.entity_id, a.effective_at, a.expires_at, a.condition, r.name, \
            CAST(r.scope_types AS TEXT) AS scope_types \
     FROM reached ",
    join_probing!(
        "role_assignments",
        "a",
        "a.principal_id = $2 AND a.principal_type = $3 \
         AND COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000') = ",
        index_value!("reached.id")
    ),
    " ",
    join_probing!("roles", "r", "r.id = a.role_id")
);

/// The actions of a list of roles after an action, with the roles' conditions.
const ACTIONS: &str = concat!(
    "SELECT rp.role_id, p.action, rp.condition FROM ",
    json_items!("$1"),
    " ",
    join_probing!("role_permissions", "rp", "rp.role_id = ", uuid_value!("item.value")),
    " ",
    join_probing!("permissions", "p", "p.id = rp.permission_id AND ", byte_order!("p.action"), " > $2"),
    " ORDER BY ",
    byte_order!("p.action"),
    ", rp.role_id LIMIT $3"
);

/// Visits the candidates of `query`; `None` when the resource is unknown. `conn` must be in a transaction that sees one
/// snapshot.
pub(in super::super) async fn visit(
    conn: &mut Conn,
    query: &ActionsQuery<'_>,
    known: Option<&Head>,
    visitor: &mut dyn AccessVisitor<ActionCandidate>,
) -> Result<(Option<AccessEnd<String>>, Accepted)> {
    let (accepted, _) = revisions::read(&mut *conn, known).await?;
    let Some(lineage) = lineage(&mut *conn, query.resource_id).await? else { return Ok((None, accepted)) };
    let mut reaching = reaching(&mut *conn, query).await?;
    reaching.retain(|one| is_in_scope(&one.facts.scope_types, &lineage.resource(false).entity_type));
    let start = AccessStart {
        revision: accepted.revision,
        resource_type: Some(lineage.resource(false).entity_type),
        entities: lineage.entities.clone(),
        roles: reaching.iter().map(|one| (one.facts.role_id, one.role_name.clone())).collect(),
    };
    if !visitor.begin(start) {
        return Ok((Some(AccessEnd::Stopped), accepted));
    }
    Ok((Some(visit_actions(conn, query, &lineage, &reaching, visitor).await?), accepted))
}

/// An assignment that reaches the resource, with the condition of its own.
struct Reaching {
    facts: AssignmentFacts,
    role_name: String,
}

async fn reaching(conn: &mut Conn, query: &ActionsQuery<'_>) -> Result<Vec<Reaching>> {
    let rows = sqlx::query(REACHING)
        .bind(bind_id(query.resource_id))
        .bind(bind_id(query.principal_id))
        .bind(query.principal_type)
        .fetch_all(conn)
        .await
        .map_err(classify)?;
    rows.iter().map(|row| read_reaching(row, query)).collect()
}

fn read_reaching(row: &Row, query: &ActionsQuery<'_>) -> Result<Reaching> {
    let condition: Option<&str> = row.try_get("condition").map_err(classify)?;
    let facts = AssignmentFacts {
        assignment_id: row.try_get("id").map(read_id).map_err(classify)?,
        principal_id: query.principal_id,
        principal_type: query.principal_type.to_owned(),
        role_id: row.try_get("role_id").map(read_id).map_err(classify)?,
        entity_id: row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id),
        effective_at: read_time(row.try_get::<SqlTime, _>("effective_at").map_err(classify)?)?,
        expires_at: row.try_get::<Option<SqlTime>, _>("expires_at").map_err(classify)?.map(read_time).transpose()?,
        scope_types: read_types(row.try_get("scope_types").map_err(classify)?)?,
        held_action: None,
        conditions: condition.map(|text| ConditionFacts::of(ConditionOwner::Assignment, text)).into_iter().collect(),
    };
    Ok(Reaching { facts, role_name: row.try_get("name").map_err(classify)? })
}

/// The roles that hold one action, each with its condition for it.
type Holders = BTreeMap<Uuid, Option<ConditionFacts>>;

async fn visit_actions(
    conn: &mut Conn,
    query: &ActionsQuery<'_>,
    lineage: &Lineage,
    reaching: &[Reaching],
    visitor: &mut dyn AccessVisitor<ActionCandidate>,
) -> Result<AccessEnd<String>> {
    let roles: BTreeSet<Uuid> = reaching.iter().map(|one| one.facts.role_id).collect();
    if roles.is_empty() {
        return Ok(AccessEnd::Complete);
    }
    let principal = [(query.principal_id, query.principal_type.to_owned())];
    let registered = access_batch::registrations(&mut *conn, &principal, true).await?.into_values().next();
    // All roles may hold one action, whose rows must be read together.
    let limit = query.max_rows.max(roles.len() + 1);
    let ids: Vec<String> = roles.iter().map(Uuid::to_string).collect();
    let rows = sqlx::query(ACTIONS)
        .bind(Json::from(ids).to_string())
        .bind(query.after.unwrap_or_default())
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_all(conn)
        .await
        .map_err(classify)?;
    let mut actions: BTreeMap<String, Holders> = BTreeMap::new();
    for row in &rows {
        let role = row.try_get("role_id").map(read_id).map_err(classify)?;
        let condition: Option<&str> = row.try_get("condition").map_err(classify)?;
        let condition = condition.map(|text| ConditionFacts::of(ConditionOwner::Role, text));
        actions.entry(row.try_get("action").map_err(classify)?).or_default().insert(role, condition);
    }
    // The rows of the last action may be incomplete.
    let is_end = rows.len() < limit;
    if !is_end {
        actions.pop_last();
    }
    let last = actions.last_key_value().map(|(action, _)| action.clone());
    for (action, holders) in actions {
        let assignments = reaching.iter().filter_map(|one| {
            let condition = holders.get(&one.facts.role_id)?;
            let mut facts = one.facts.clone();
            facts.held_action = Some(action.clone());
            facts.conditions.extend(condition.clone());
            Some(facts)
        });
        let facts = lineage.facts(registered.as_ref(), assignments.collect());
        if !visitor.candidate(ActionCandidate { action, facts }) {
            return Ok(AccessEnd::Stopped);
        }
    }
    match last {
        Some(last) if !is_end => Ok(AccessEnd::Bounded(last)),
        _ => Ok(AccessEnd::Complete),
    }
}
