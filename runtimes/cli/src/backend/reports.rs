//! Scans of assignments and the rows of reports, on the database or over the API.
//!
//! On the database a report is one statement. Over the API it is computed from the lists of the API, which are read
//! page by page: a change that is made meanwhile can appear in one list and be missing in another.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use epr_core::domain::{
    Assignment, AssignmentFilter, AssignmentScan, EntityFilter, EntityStatus, EntityType, NamedAssignment, Orphan,
    Role, Timestamp, UnheldRole,
};
use futures_util::TryStreamExt as _;
use uuid::Uuid;

use super::api::Api;
use super::{Backend, BackendError, PAGE_ROWS, RowVisitor};

impl Backend {
    /// Assignments with the names of their roles and entities.
    pub(crate) async fn scan_assignments(
        &self,
        scan: &AssignmentScan,
        visit: RowVisitor<'_, NamedAssignment>,
    ) -> Result<(), BackendError> {
        match (self, scan) {
            (Self::Database { epr, .. }, scan) => Ok(epr.scan_assignments(scan, None, visit).await?),
            (Self::Api(api), AssignmentScan::Listed { filter, .. }) => {
                api.for_each_named_assignment(filter.clone(), visit).await
            }
            (Self::Api(api), AssignmentScan::One(id)) => match api.assignment(*id).await {
                Err(BackendError::NotFound(_)) => Ok(()),
                found => {
                    visit(Names::default().name(api, found?).await?);
                    Ok(())
                }
            },
            (Self::Api(api), scan) => report(api, scan, visit).await,
        }
    }

    /// Roles without an assignment that is or will be in force, by name.
    pub(crate) async fn unheld_roles(&self, visit: RowVisitor<'_, UnheldRole>) -> Result<(), BackendError> {
        match self {
            Self::Database { epr, .. } => Ok(epr.unheld_roles(visit).await?),
            Self::Api(api) => unheld_roles(api, self.now(), visit).await,
        }
    }

    /// Entities that are not archived below a parent that is.
    pub(crate) async fn orphans(&self, visit: RowVisitor<'_, Orphan>) -> Result<(), BackendError> {
        match self {
            Self::Database { epr, .. } => Ok(epr.orphans(visit).await?),
            Self::Api(api) => orphans(api, visit).await,
        }
    }
}

/// The names of roles and entities, requested one by one, each once.
#[derive(Default)]
pub(super) struct Names {
    roles: HashMap<Uuid, String>,
    entities: HashMap<Uuid, (EntityType, String)>,
}

impl Names {
    pub(super) async fn name(&mut self, api: &Api, assignment: Assignment) -> Result<NamedAssignment, BackendError> {
        let role_name = match self.roles.entry(assignment.role_id) {
            Entry::Occupied(known) => known.get().clone(),
            Entry::Vacant(unknown) => unknown.insert(api.role(assignment.role_id).await?.name).clone(),
        };
        let named = match assignment.entity_id.map(|id| (id, self.entities.entry(id))) {
            None => None,
            Some((_, Entry::Occupied(known))) => Some(known.get().clone()),
            Some((id, Entry::Vacant(unknown))) => {
                let entity = api.entity(id).await?;
                Some(unknown.insert((entity.entity_type, entity.name)).clone())
            }
        };
        let (entity_type, entity_name) = named.unzip();
        Ok(NamedAssignment { assignment, role_name, entity_type, entity_name, granted: None })
    }
}

/// The rows of a report on assignments, in the order of the database's.
async fn report(api: &Api, scan: &AssignmentScan, visit: RowVisitor<'_, NamedAssignment>) -> Result<(), BackendError> {
    let belongs = |one: &Assignment| match *scan {
        AssignmentScan::Listed { .. } | AssignmentScan::One(_) => true,
        AssignmentScan::Expiring { now, until } => one.expires_at.is_some_and(|end| end > now && end <= until),
        AssignmentScan::NeverEffective { now } => {
            one.effective_at > now || one.expires_at.is_some_and(|end| end <= one.created_at)
        }
        AssignmentScan::Global { now } => one.entity_id.is_none() && one.expires_at.is_none_or(|end| end > now),
    };
    let mut found = Vec::new();
    let mut assignments = api.client.assignments(&AssignmentFilter::default()).limit(PAGE_ROWS).stream();
    while let Some(assignment) = api.checked(assignments.try_next().await)? {
        if belongs(&assignment) {
            found.push(assignment);
        }
    }
    let mut names = Names::default();
    let mut rows = Vec::with_capacity(found.len());
    for assignment in found {
        rows.push(names.name(api, assignment).await?);
    }
    rows.sort_by(|a, b| {
        let (one, other) = (&a.assignment, &b.assignment);
        let by_id = one.id.cmp(&other.id);
        match scan {
            AssignmentScan::Global { .. } => {
                let principal = |one: &Assignment| (one.principal_type.clone(), one.principal_id);
                principal(one).cmp(&principal(other)).then_with(|| a.role_name.cmp(&b.role_name))
            }
            AssignmentScan::NeverEffective { .. } => one.effective_at.cmp(&other.effective_at).then(by_id),
            _ => one.expires_at.cmp(&other.expires_at).then(by_id),
        }
    });
    for row in rows {
        if !visit(row) {
            break;
        }
    }
    Ok(())
}

/// What the assignments of a role are.
#[derive(Default)]
struct Held {
    /// Whether one of them is or will be in force.
    in_force: bool,
    ended: i64,
    last_ended_at: Option<Timestamp>,
}

async fn unheld_roles(api: &Api, now: Timestamp, visit: RowVisitor<'_, UnheldRole>) -> Result<(), BackendError> {
    let mut roles: Vec<Role> = Vec::new();
    api.for_each_role(&mut |role| {
        roles.push(role);
        true
    })
    .await?;
    let mut held: HashMap<Uuid, Held> = HashMap::new();
    api.for_each_assignment(AssignmentFilter::default(), &mut |assignment| {
        let role = held.entry(assignment.role_id).or_default();
        role.in_force |= assignment.expires_at.is_none_or(|end| end > now);
        role.ended += 1;
        role.last_ended_at = role.last_ended_at.max(assignment.expires_at);
        true
    })
    .await?;
    roles.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
    for role in roles {
        let Held { in_force, ended, last_ended_at } = held.remove(&role.id).unwrap_or_default();
        if !in_force && !visit(UnheldRole { role, ended_assignments: ended, last_ended_at }) {
            break;
        }
    }
    Ok(())
}

async fn orphans(api: &Api, visit: RowVisitor<'_, Orphan>) -> Result<(), BackendError> {
    let archived = EntityFilter { status: Some(EntityStatus::Archived), ..EntityFilter::default() };
    let mut parents: HashMap<Uuid, (EntityType, String)> = HashMap::new();
    api.for_each_entity(&archived, &mut |entity| {
        parents.insert(entity.id, (entity.entity_type, entity.name));
        true
    })
    .await?;
    let mut orphans = Vec::new();
    api.for_each_entity(&EntityFilter::default(), &mut |entity| {
        if let Some((parent_type, parent_name)) = entity.parent_id.and_then(|parent| parents.get(&parent)).cloned() {
            orphans.push(Orphan { entity, parent_name, parent_type });
        }
        true
    })
    .await?;
    let key = |orphan: &Orphan| (orphan.parent_name.clone(), orphan.entity.parent_id, orphan.entity.name.clone());
    orphans.sort_by_cached_key(|orphan| (key(orphan), orphan.entity.id));
    for orphan in orphans {
        if !visit(orphan) {
            break;
        }
    }
    Ok(())
}
