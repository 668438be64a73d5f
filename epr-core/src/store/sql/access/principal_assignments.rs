//! The assignments of a principal whose roles hold an action.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sqlx::Row as _;
use uuid::Uuid;

use super::super::dialect::{Conn, Id, Row, SqlTime, bind_id, bind_time, classify, read_id, read_time};
use super::super::sources::AsOf;
use super::region::{bound, ids_text};
use super::roles::{HoldingRole, holding};
use crate::decision::{AssignmentFacts, ConditionFacts, ConditionOwner, is_in_scope};
use crate::domain::{EntityType, Timestamp};
use crate::store::{ResourcesQuery, Result, StoreError};

/// The columns of an assignment `a`.
macro_rules! assignment_columns {
    () => {
        "a.id, a.role_id, a.entity_id, a.effective_at, a.expires_at, a.condition, a.created_at"
    };
}

/// The first `$5` assignments of the principal `$1` of the type `$2`, of which those are returned that have not ended
/// at `$3` and whose roles are in the list `$4`. The order is that of the unique index: without it, the planner reads
/// the whole table for a principal that has a large share of it. The last row has no id; its `looked_at` is the number
/// of assignments that were looked at.
macro_rules! assignments_of_statement {
    ($when:tt) => {
        concat!(
            "WITH held AS MATERIALIZED (SELECT ",
            assignment_columns!(),
            " FROM ",
            assignment_source!($when),
            " a WHERE a.principal_id = $1 AND a.principal_type = $2 \
               ORDER BY COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000'), a.role_id LIMIT $5) \
             SELECT ",
            assignment_columns!(),
            ", CAST(NULL AS bigint) AS looked_at FROM held a \
             WHERE (a.expires_at IS NULL OR a.expires_at > ",
            time_value!("$3"),
            ") AND a.role_id IN (SELECT ",
            uuid_value!("item.value"),
            " FROM ",
            json_items!("$4"),
            ") UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, COUNT(*) FROM held"
        )
    };
}

/// The assignments of the principal `$1` of the type `$2` on the entities of the list `$3`: one probe of the unique
/// index for each.
macro_rules! assignments_on_statement {
    ($when:tt) => {
        concat!(
            "SELECT ",
            assignment_columns!(),
            " FROM ",
            json_items!("$3"),
            " ",
            join_probing!(
                assignment_source!($when),
                "a",
                "a.principal_id = $1 AND a.principal_type = $2 \
                 AND COALESCE(a.entity_id, '00000000-0000-0000-0000-000000000000') = ",
                uuid_value!("item.value")
            )
        )
    };
}

/// The first `$5` assignments of the principal `$1` of the type `$2` that were created at `$3` with at least the id
/// `$4`, or later, in the order of their creation.
macro_rules! assignments_in_order_statement {
    ($when:tt) => {
        concat!(
            "SELECT ",
            assignment_columns!(),
            " FROM ",
            assignment_source!($when),
            " a WHERE a.principal_id = $1 AND a.principal_type = $2 AND (a.created_at, a.id) >= (",
            time_value!("$3"),
            ", ",
            uuid_value!("$4"),
            ") ORDER BY a.created_at, a.id LIMIT $5"
        )
    };
}

pub(in super::super::super) const ASSIGNMENTS: &str = assignments_of_statement!(now);
const ASSIGNMENTS_ON: &str = assignments_on_statement!(now);
pub(in super::super::super) const ASSIGNMENTS_IN_ORDER: &str = assignments_in_order_statement!(now);

const PAST_ASSIGNMENTS: &str = assignments_of_statement!((at "$6"));
const PAST_ASSIGNMENTS_ON: &str = assignments_on_statement!((at "$4"));
const PAST_ASSIGNMENTS_IN_ORDER: &str = assignments_in_order_statement!((at "$6"));

/// The most assignments of a principal that are read as a whole. The assignments of one with more are looked up for the
/// entities that are looked at.
const MAX_READ_WHOLE: usize = 20_000;

/// How far the time that windows are judged at may be from the time of the query, in seconds: the visitor takes it
/// while the snapshot is open.
const TIME_TOLERANCE: i64 = 60;

/// The time by which a window has ended for every candidate.
fn ended(query: &ResourcesQuery<'_>) -> Timestamp {
    query.at.plus_seconds(-TIME_TOLERANCE)
}

/// An assignment whose role holds the action.
#[derive(Debug, Clone)]
pub(super) struct DatedAssignment {
    pub(super) facts: AssignmentFacts,
    pub(super) created_at: Timestamp,
}

impl DatedAssignment {
    /// Returns `true` if the window can include a time about `at`.
    pub(super) fn has_started(&self, at: Timestamp) -> bool {
        self.facts.effective_at <= at.plus_seconds(TIME_TOLERANCE)
    }
}

/// The assignments of a principal whose roles hold an action and whose windows have not ended.
pub(super) struct PrincipalAssignments<'a> {
    query: &'a ResourcesQuery<'a>,
    when: AsOf,
    /// The roles that hold the action.
    roles: HashMap<Uuid, HoldingRole>,
    /// The conditions of assignments by their stored text: many assignments have the same.
    conditions: HashMap<String, ConditionFacts>,
    pub(super) all: Vec<DatedAssignment>,
    /// `true` if the principal has too many to read all: `all` has the global ones, and those on entities that were
    /// looked up.
    pub(super) is_partial: bool,
}

impl<'a> PrincipalAssignments<'a> {
    /// Reads the roles that hold the action, and no assignment.
    pub(super) async fn none(conn: &mut Conn, query: &'a ResourcesQuery<'a>, when: AsOf) -> Result<Self> {
        let roles = holding(conn, query.action.as_str(), when).await?;
        let roles = roles.into_iter().map(|role| (role.id, role)).collect();
        Ok(Self { query, when, roles, conditions: HashMap::new(), all: Vec::new(), is_partial: false })
    }

    /// Reads the assignments; `max` is the most that are read as a whole.
    pub(super) async fn read(conn: &mut Conn, query: &'a ResourcesQuery<'a>, max: usize, when: AsOf) -> Result<Self> {
        let mut read = Self::none(&mut *conn, query, when).await?;
        if read.roles.is_empty() {
            return Ok(read);
        }
        let roles: Vec<Uuid> = read.roles.keys().copied().collect();
        let max = max.min(MAX_READ_WHOLE);
        let mut statement = sqlx::query(if when == AsOf::Now { ASSIGNMENTS } else { PAST_ASSIGNMENTS })
            .bind(bind_id(query.principal_id))
            .bind(query.principal_type)
            .bind(bind_time(ended(query)))
            .bind(ids_text(&roles))
            .bind(bound(max.saturating_add(1)));
        if let AsOf::Entry(at) = when {
            statement = statement.bind(at);
        }
        let rows = statement.fetch_all(&mut *conn).await.map_err(classify)?;
        for row in &rows {
            let looked_at: Option<i64> = row.try_get("looked_at").map_err(classify)?;
            match looked_at {
                Some(number) => read.is_partial = number > bound(max),
                None => read.add(row)?,
            }
        }
        if read.is_partial {
            read.all.clear();
            // The nil UUID stands for global assignments.
            read.look_up(conn, &[Uuid::nil()]).await?;
        }
        Ok(read)
    }

    /// Adds the assignments on these entities; returns their indexes.
    pub(super) async fn look_up(&mut self, conn: &mut Conn, entities: &[Uuid]) -> Result<std::ops::Range<usize>> {
        let first = self.all.len();
        let mut statement = sqlx::query(if self.when == AsOf::Now { ASSIGNMENTS_ON } else { PAST_ASSIGNMENTS_ON })
            .bind(bind_id(self.query.principal_id))
            .bind(self.query.principal_type)
            .bind(ids_text(entities));
        if let AsOf::Entry(at) = self.when {
            statement = statement.bind(at);
        }
        let rows = statement.fetch_all(conn).await.map_err(classify)?;
        for row in &rows {
            self.add(row)?;
        }
        Ok(first..self.all.len())
    }

    /// Replaces the assignments by the next ones in the order of their creation: those from `from` on among the next
    /// `number` assignments of the principal. Returns how many were looked at, and the last of them.
    pub(super) async fn read_in_order(
        &mut self,
        conn: &mut Conn,
        (created_at, id): (Timestamp, Uuid),
        number: usize,
    ) -> Result<(usize, Option<(Timestamp, Uuid)>)> {
        self.all.clear();
        let mut statement =
            sqlx::query(if self.when == AsOf::Now { ASSIGNMENTS_IN_ORDER } else { PAST_ASSIGNMENTS_IN_ORDER })
                .bind(bind_id(self.query.principal_id))
                .bind(self.query.principal_type)
                .bind(bind_time(created_at))
                .bind(bind_id(id))
                .bind(bound(number));
        if let AsOf::Entry(at) = self.when {
            statement = statement.bind(at);
        }
        let rows = statement.fetch_all(conn).await.map_err(classify)?;
        for row in &rows {
            self.add(row)?;
        }
        let last = rows.last().map(|row| {
            let created_at = read_time(row.try_get::<SqlTime, _>("created_at").map_err(classify)?)?;
            Ok::<_, StoreError>((created_at, row.try_get("id").map(read_id).map_err(classify)?))
        });
        Ok((rows.len(), last.transpose()?))
    }

    /// Adds an assignment if its role holds the action and its window has not ended.
    fn add(&mut self, row: &Row) -> Result<()> {
        let role_id = row.try_get("role_id").map(read_id).map_err(classify)?;
        let Some(role) = self.roles.get(&role_id) else { return Ok(()) };
        let expires_at =
            row.try_get::<Option<SqlTime>, _>("expires_at").map_err(classify)?.map(read_time).transpose()?;
        if expires_at.is_some_and(|end| end <= ended(self.query)) {
            return Ok(());
        }
        let own = match row.try_get::<Option<&str>, _>("condition").map_err(classify)? {
            Some(text) => match self.conditions.get(text) {
                Some(compiled) => Some(compiled.clone()),
                None => {
                    let compiled = ConditionFacts::of(ConditionOwner::Assignment, text);
                    self.conditions.insert(text.to_owned(), compiled.clone());
                    Some(compiled)
                }
            },
            None => None,
        };
        let facts = AssignmentFacts {
            assignment_id: row.try_get("id").map(read_id).map_err(classify)?,
            principal_id: self.query.principal_id,
            principal_type: self.query.principal_type.into(),
            role_id,
            entity_id: row.try_get::<Option<Id>, _>("entity_id").map_err(classify)?.map(read_id),
            effective_at: read_time(row.try_get::<SqlTime, _>("effective_at").map_err(classify)?)?,
            expires_at,
            scope_types: Arc::clone(&role.scope_types),
            held_action: Some(self.query.action.as_str().into()),
            conditions: own.into_iter().chain(role.condition.clone()).collect(),
        };
        let created_at = read_time(row.try_get::<SqlTime, _>("created_at").map_err(classify)?)?;
        self.all.push(DatedAssignment { facts, created_at });
        Ok(())
    }

    /// The assignments whose windows have started.
    pub(super) fn started(&self) -> impl Iterator<Item = &DatedAssignment> {
        self.all.iter().filter(|one| one.has_started(self.query.at))
    }

    /// The types of the entities that started assignments can allow, of those that the list wants; `None`: every type.
    pub(super) fn types(&self) -> Option<Vec<EntityType>> {
        let wanted = self.query.resource_type;
        if self.is_partial {
            return wanted.map(|one| vec![one.clone()]);
        }
        let mut types: Vec<EntityType> = Vec::new();
        let mut has_every_type = false;
        for scope in self.started().map(|one| &one.facts.scope_types) {
            has_every_type |= scope.is_empty();
            types.extend(scope.iter().cloned());
        }
        match wanted {
            Some(wanted) if has_every_type || types.contains(wanted) => Some(vec![wanted.clone()]),
            Some(_) => Some(Vec::new()),
            None if has_every_type => None,
            None => {
                types.sort_unstable();
                types.dedup();
                Some(types)
            }
        }
    }

    /// Returns `true` if no role holds the action.
    pub(super) fn has_no_role(&self) -> bool {
        self.roles.is_empty()
    }

    /// The names of the roles that hold the action.
    pub(super) fn role_names(&self) -> BTreeMap<Uuid, String> {
        self.roles.iter().map(|(id, role)| (*id, role.name.clone())).collect()
    }

    /// Returns `true` if one of these assignments has started and has a role for this type.
    pub(super) fn is_reached(&self, assignments: &[usize], entity_type: &EntityType) -> bool {
        let held = assignments.iter().filter_map(|index| self.all.get(*index));
        held.into_iter().any(|one| one.has_started(self.query.at) && is_in_scope(&one.facts.scope_types, entity_type))
    }
}
