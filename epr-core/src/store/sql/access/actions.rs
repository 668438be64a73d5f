//! The candidates of a list of actions: the actions of the roles of a principal's assignments that reach the resource.

use std::collections::{BTreeMap, BTreeSet};

use sqlx::Row as _;
use uuid::Uuid;

use super::super::columns::read_types;
use super::super::dialect::{Conn, Id, Row, SqlTime, access_batch, bind_id, classify, read_id, read_time};
use super::super::facts::Accepted;
use super::super::history::PageState;
use super::super::sources::AsOf;
use super::resource::{Lineage, lineage};
use crate::decision::{AssignmentFacts, ConditionFacts, ConditionOwner};
use crate::domain::Json;
use crate::ledger::chain::Head;
use crate::store::{AccessEnd, AccessStart, AccessVisitor, ActionCandidate, ActionsQuery, Result};

/// The principal's assignments that reach the resource, by the same probes as a check's.
macro_rules! reaching_statement {
    ($when:tt) => {
        concat!(
            "WITH RECURSIVE lineage(id, parent_id) AS ( \
               SELECT e.id, e.parent_id",
            from_entity!($when, "e", "$1"),
            " UNION \
               SELECT e.id, e.parent_id FROM lineage l ",
            join_entity!($when, "e", "l.parent_id"),
            " \
             ), reached(id) AS ( \
               SELECT id FROM lineage UNION ALL SELECT ",
            uuid_value!("'00000000-0000-0000-0000-000000000000'"),
            ") \
             SELECT a.id, a.role_id, a.entity_id, a.effective_at, a.expires_at, a.condition, r.name, \
                    CAST(r.scope_types AS TEXT) AS scope_types \
             FROM reached ",
            join_assignments!(
                $when,
                "a",
                "a.principal_id = $2 AND a.principal_type = $3 \
                 AND COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000') = ",
                index_value!("reached.id")
            ),
            " ",
            join_role!($when, "r", "a.role_id")
        )
    };
}

pub(in super::super::super) const REACHING: &str = reaching_statement!(now);
pub(in super::super::super) const PERMISSIONS: &str = permissions_after_statement!(now, "$1", "$2", "$3");

/// Visits the candidates of `query`; `None` when the resource is unknown. `conn` must be in a transaction that sees one
/// snapshot.
pub(in super::super) async fn visit(
    conn: &mut Conn,
    query: &ActionsQuery<'_>,
    known: Option<&Head>,
    visitor: &mut dyn AccessVisitor<ActionCandidate>,
) -> Result<(Option<AccessEnd<String>>, Accepted)> {
    let (state, accepted) = PageState::of(&mut *conn, known, query.moment).await?;
    let lineage = match query.unregistered {
        Some(resource) => Some(Lineage::unregistered(resource.clone())),
        None => lineage(&mut *conn, query.resource_id, state.when).await?,
    };
    let Some(lineage) = lineage else { return Ok((None, accepted)) };
    let mut reaching = reaching(&mut *conn, query, state.when).await?;
    reaching.retain(|one| lineage.resource(false).entity_type.is_in_scope(&one.facts.scope_types));
    let start = AccessStart {
        revision: state.revision,
        at: state.at,
        resource_type: lineage.resource(false).entity_type.registered().cloned(),
        entities: lineage.entities.clone(),
        roles: reaching.iter().map(|one| (one.facts.role_id, one.role_name.clone())).collect(),
    };
    if !visitor.begin(start) {
        return Ok((Some(AccessEnd::Stopped), accepted));
    }
    Ok((Some(visit_actions(conn, (query, state.when), &lineage, &reaching, visitor).await?), accepted))
}

/// An assignment that reaches the resource, with the condition of its own.
struct Reaching {
    facts: AssignmentFacts,
    role_name: String,
}

async fn reaching(conn: &mut Conn, query: &ActionsQuery<'_>, when: AsOf) -> Result<Vec<Reaching>> {
    let (resource, principal) = (bind_id(query.resource_id), bind_id(query.principal_id));
    let statement = match when {
        AsOf::Now => sqlx::query(REACHING).bind(resource).bind(principal).bind(query.principal_type),
        AsOf::Entry(at) => sqlx::query(reaching_statement!((at "$4")))
            .bind(resource)
            .bind(principal)
            .bind(query.principal_type)
            .bind(at),
    };
    let rows = statement.fetch_all(conn).await.map_err(classify)?;
    rows.iter().map(|row| read_reaching(row, query)).collect()
}

fn read_reaching(row: &Row, query: &ActionsQuery<'_>) -> Result<Reaching> {
    let condition: Option<&str> = row.try_get("condition").map_err(classify)?;
    let facts = AssignmentFacts {
        assignment_id: row.try_get("id").map(read_id).map_err(classify)?,
        principal_id: query.principal_id,
        principal_type: query.principal_type.into(),
        role_id: row.try_get("role_id").map(read_id).map_err(classify)?,
        entity_id: row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id),
        effective_at: read_time(row.try_get::<SqlTime, _>("effective_at").map_err(classify)?)?,
        expires_at: row.try_get::<Option<SqlTime>, _>("expires_at").map_err(classify)?.map(read_time).transpose()?,
        scope_types: read_types(row.try_get("scope_types").map_err(classify)?)?.into(),
        held_action: None,
        conditions: condition.map(|text| ConditionFacts::of(ConditionOwner::Assignment, text)).into_iter().collect(),
    };
    Ok(Reaching { facts, role_name: row.try_get("name").map_err(classify)? })
}

/// The roles that hold one action, each with its condition for it.
type Holders = BTreeMap<Uuid, Option<ConditionFacts>>;

async fn visit_actions(
    conn: &mut Conn,
    (query, when): (&ActionsQuery<'_>, AsOf),
    lineage: &Lineage,
    reaching: &[Reaching],
    visitor: &mut dyn AccessVisitor<ActionCandidate>,
) -> Result<AccessEnd<String>> {
    let roles: BTreeSet<Uuid> = reaching.iter().map(|one| one.facts.role_id).collect();
    if roles.is_empty() {
        return Ok(AccessEnd::Complete);
    }
    let principal = [(query.principal_id, query.principal_type.to_owned())];
    let registered = access_batch::registrations(&mut *conn, &principal, true, when).await?.into_values().next();
    // All roles may hold one action, whose rows must be read together.
    let limit = query.max_rows.max(roles.len() + 1);
    let ids: Vec<String> = roles.iter().map(Uuid::to_string).collect();
    let (ids, after) = (Json::from(ids).to_string(), query.after.unwrap_or_default());
    let most = i64::try_from(limit).unwrap_or(i64::MAX);
    let statement = match when {
        AsOf::Now => sqlx::query(PERMISSIONS).bind(ids).bind(after).bind(most),
        AsOf::Entry(at) => sqlx::query(permissions_after_statement!((at "$4"), "$1", "$2", "$3"))
            .bind(ids)
            .bind(after)
            .bind(most)
            .bind(at),
    };
    let rows = statement.fetch_all(conn).await.map_err(classify)?;
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
            facts.held_action = Some(action.as_str().into());
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
