//! Compares the records of a file with the registry, and describes each difference for people and for programs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use epr_core::domain::condition::Condition;
use epr_core::domain::input::value::FromInput as _;
use epr_core::domain::role::{Action, RoleDescription};
use epr_core::domain::{
    Assignment, AssignmentFilter, AssignmentRequest, BulkStep, EntityType, NewAssignment, Role, RolePatch, Timestamp,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::principal;
use crate::record::{AssignmentRecord, EntityRef, PrincipalName, RoleRecord};
use crate::registry::Registry;
use crate::text::{condition_line, entity_label, escaped};

/// The action of an import for a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// The object does not exist.
    Create,
    /// The object exists and differs.
    Update,
    /// The object exists and is equal.
    Nothing,
}

/// The plan for one record.
pub struct Planned {
    /// What an import does.
    pub change: Change,
    /// The change; `None` when there is nothing to change.
    pub step: Option<BulkStep>,
    /// What fails when the row that `step` changes has changed since the plan was made; `None` when the id of the row
    /// alone says so, or nothing exists.
    pub expects: Option<BulkStep>,
    /// The entity of an assignment that is not global.
    pub entity_id: Option<Uuid>,
    /// The headline, and the lines below it. They have no value of a personal field: a dry run is often kept in a log.
    pub summary: (String, Vec<String>),
    /// Of a principal, the lines with the values, for a page; not for a log. Empty for other records.
    pub values: Vec<String>,
    /// The difference for programs.
    pub json: Value,
}

/// Why there is no plan: the record does not fit the registry, or the registry could not be read.
#[derive(Debug)]
pub enum NoPlan<E> {
    /// The record does not fit the registry.
    Unfit(String),
    /// The registry could not be read.
    Registry(E),
}

impl<E> From<E> for NoPlan<E> {
    fn from(error: E) -> Self {
        Self::Registry(error)
    }
}

fn unfit<T, E>(what: impl Into<String>) -> Result<T, NoPlan<E>> {
    Err(NoPlan::Unfit(what.into()))
}

/// The plan for a role. `existing` is the role of that name in the registry; a new one is a system role only if it
/// `may_be_system`.
///
/// # Errors
/// Why the record does not fit.
pub fn role(record: &RoleRecord, existing: Option<&Role>, may_be_system: bool) -> Result<Planned, String> {
    let wanted = &record.new;
    let name = escaped(wanted.name.as_str());
    let actions: BTreeSet<&str> = wanted.permissions.iter().map(Action::as_str).collect();
    let types = |types: &[EntityType]| {
        let words: Vec<_> = types.iter().map(EntityType::word).collect();
        if words.is_empty() { "every type".to_owned() } else { words.join(", ") }
    };
    let conditions: Conditions = BTreeMap::from_input(wanted.conditions.clone());
    let Some(existing) = existing else {
        if wanted.is_system && !may_be_system {
            return Err("is_system: only an import into the database creates system roles".to_owned());
        }
        let list: Vec<_> = actions.iter().map(|action| escaped(action)).collect();
        let mut lines = vec![format!("actions: {}", list.join(", ")), format!("for: {}", types(&wanted.scope_types))];
        lines.extend(condition_lines(&BTreeMap::new(), &conditions));
        let description = wanted.description.as_ref().map(RoleDescription::as_str);
        lines.extend(description.map(|text| format!("description: \"{}\"", escaped(text))));
        lines.extend(wanted.is_system.then(|| "system role".to_owned()));
        return Ok(Planned {
            change: Change::Create,
            step: Some(BulkStep::CreateRole(wanted.clone())),
            expects: None,
            entity_id: None,
            summary: (format!("role {name}"), lines),
            values: Vec::new(),
            json: json!({"kind": "role", "name": wanted.name, "permissions": actions,
                "scope_types": wanted.scope_types, "conditions": conditions}),
        });
    };
    if existing.is_system != wanted.is_system {
        return Err(format!("is_system: it is {} in the registry and cannot be changed", existing.is_system));
    }
    let mut patch = RolePatch::default();
    let mut lines = Vec::new();
    let mut json = serde_json::Map::new();
    let mut note = |name: &str, value: Value| json.insert(name.to_owned(), value);
    note("kind", json!("role"));
    note("name", json!(wanted.name));
    note("id", json!(existing.id));
    let description = wanted.description.as_ref().map(RoleDescription::as_str);
    // An absent and an empty description are equal.
    if description.unwrap_or_default() != existing.description.as_deref().unwrap_or_default() {
        let shown =
            |text: Option<&str>| text.map_or_else(|| "none".to_owned(), |text| format!("\"{}\"", escaped(text)));
        lines.push(format!("description: {} -> {}", shown(existing.description.as_deref()), shown(description)));
        note("description", json!(description));
        patch.description = Some(wanted.description.clone());
    }
    if wanted.scope_types != existing.scope_types {
        lines.push(format!("for: {} -> {}", types(&existing.scope_types), types(&wanted.scope_types)));
        note("scope_types", json!(wanted.scope_types));
        patch.scope_types = Some(wanted.scope_types.clone());
    }
    let held: BTreeSet<&str> = existing.permissions.iter().map(String::as_str).collect();
    if actions != held {
        let (more, less): (Vec<_>, Vec<_>) =
            (actions.difference(&held).copied().collect(), held.difference(&actions).copied().collect());
        lines.extend(more.iter().map(|action| format!("action + {}", escaped(action))));
        lines.extend(less.iter().map(|action| format!("action - {}", escaped(action))));
        note("permissions_added", json!(more));
        note("permissions_removed", json!(less));
        patch.permissions = Some(wanted.permissions.clone());
    }
    if record.states_conditions && conditions != existing.conditions {
        lines.extend(condition_lines(&existing.conditions, &conditions));
        note("conditions", json!(conditions));
        patch.conditions = Some(wanted.conditions.clone());
    }
    let same = patch == RolePatch::default();
    Ok(Planned {
        change: if same { Change::Nothing } else { Change::Update },
        step: (!same).then_some(BulkStep::UpdateRole(existing.id, patch)),
        expects: (!same).then_some(BulkStep::ExpectRole(existing.id, existing.updated_at)),
        entity_id: None,
        summary: (format!("role {name}"), lines),
        values: Vec::new(),
        json: Value::Object(json),
    })
}

/// The conditions of a role, by action.
type Conditions = BTreeMap<String, Condition>;

/// A line for each action whose condition changes.
fn condition_lines(before: &Conditions, after: &Conditions) -> Vec<String> {
    let actions: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let changed = actions.into_iter().filter(|action| before.get(*action) != after.get(*action));
    let shown = |conditions: &Conditions, action: &str| condition(conditions.get(action));
    changed
        .map(|action| {
            format!("condition of {}: {} -> {}", escaped(action), shown(before, action), shown(after, action))
        })
        .collect()
}

fn condition(condition: Option<&Condition>) -> String {
    condition.map_or_else(|| "none".to_owned(), condition_line)
}

/// A role by its name, of the registry or of the file.
#[derive(Clone)]
pub struct KnownRole {
    /// `None` while it is only in the file.
    pub id: Option<Uuid>,
    /// The scope types after the import.
    pub scope_types: Vec<EntityType>,
}

/// An entity of the registry, as far as plans need it.
#[derive(Clone)]
struct KnownEntity {
    id: Uuid,
    entity_type: EntityType,
    name: String,
}

/// Plans assignments.
pub struct Assignments<'a, R> {
    registry: &'a R,
    roles: &'a BTreeMap<String, KnownRole>,
    entities: HashMap<EntityRef, KnownEntity>,
}

/// The largest number of entities in memory.
const MAX_ENTITIES: usize = 50_000;

impl<'a, R: Registry> Assignments<'a, R> {
    /// Plans with these roles, each by its name.
    #[must_use]
    pub fn new(registry: &'a R, roles: &'a BTreeMap<String, KnownRole>) -> Self {
        Self { registry, roles, entities: HashMap::new() }
    }

    /// The plan for an assignment.
    ///
    /// # Errors
    /// The record does not fit the registry, or the registry cannot be read.
    pub async fn plan(&mut self, wanted: &AssignmentRecord) -> Result<Planned, NoPlan<R::Error>> {
        let role_name = wanted.role.as_str();
        let Some(role) = self.roles.get(role_name).cloned() else {
            return unfit(format!("role: there is no role named `{role_name}`, here or in the file"));
        };
        let entity = match &wanted.entity {
            Some(entity) => Some(self.entity(entity).await?),
            None => None,
        };
        if let Some(entity) = &entity
            && !role.scope_types.is_empty()
            && !role.scope_types.contains(&entity.entity_type)
        {
            return unfit(format!(
                "role: `{role_name}` is not meant for entities of type {}",
                entity.entity_type.word()
            ));
        }
        let principal = self.principal(wanted).await?;
        let existing = match (role.id, &principal) {
            (Some(role_id), PrincipalName::Id(id)) => {
                self.existing(wanted, *id, role_id, entity.as_ref().map(|entity| entity.id)).await?
            }
            _ => None,
        };
        let target = entity.as_ref().map_or_else(
            || "everywhere".to_owned(),
            |entity| format!("on {}", entity_label(&entity.entity_type, &entity.name)),
        );
        let (principal_id, shown) = match &principal {
            PrincipalName::Id(id) => (Some(*id), id.to_string()),
            PrincipalName::ExternalId(_) => (None, "that is registered with it".to_owned()),
        };
        let mut lines = vec![format!("held by {} {shown}", escaped(wanted.principal_type.as_str()))];
        let (start, end) = (wanted.effective_at, wanted.expires_at);
        let before = existing.as_ref().and_then(|existing| existing.condition.clone());
        // A record that does not say keeps the existing one.
        let after = wanted.condition.clone().unwrap_or_else(|| before.clone());
        let change = match &existing {
            None => {
                lines.push(window(start, end));
                lines.extend(after.as_ref().map(|after| format!("condition: {}", condition_line(after))));
                Change::Create
            }
            Some(existing)
                if start.is_none_or(|start| start == existing.effective_at)
                    && end == existing.expires_at
                    && before == after =>
            {
                Change::Nothing
            }
            Some(existing) => {
                if let Some(start) = start.filter(|start| *start != existing.effective_at) {
                    lines.push(format!("starts: {} -> {start}", existing.effective_at));
                }
                if end != existing.expires_at {
                    lines.push(format!("ends: {} -> {}", ending(existing.expires_at), ending(end)));
                }
                if before != after {
                    lines.push(format!("condition: {} -> {}", condition(before.as_ref()), condition(after.as_ref())));
                }
                Change::Update
            }
        };
        let json = json!({
            "kind": "assignment", "principal_id": principal_id, "principal_type": wanted.principal_type,
            "role": role_name, "entity_id": entity.as_ref().map(|entity| entity.id),
            "entity_type": entity.as_ref().map(|entity| &entity.entity_type),
            "entity_name": entity.as_ref().map(|entity| &entity.name),
            "effective_at": start, "expires_at": end, "condition": after,
            "before": existing.as_ref().map(|existing| json!({
                "id": existing.id, "effective_at": existing.effective_at, "expires_at": existing.expires_at,
                "condition": existing.condition,
            })),
        });
        let step = (change != Change::Nothing).then(|| {
            let new = NewAssignment {
                principal_id: principal_id.unwrap_or_default(),
                principal_type: wanted.principal_type.clone(),
                role_id: role.id.unwrap_or_default(),
                entity_id: entity.as_ref().map(|entity| entity.id),
                // A record without a start keeps the existing one.
                effective_at: start.or(existing.as_ref().map(|existing| existing.effective_at)),
                expires_at: end,
                condition: after,
            };
            if let Some(existing) = &existing {
                return BulkStep::Reassign(existing.id, new);
            }
            assign(&principal, role.id.is_none().then_some(role_name), new)
        });
        Ok(Planned {
            change,
            step,
            expects: None,
            entity_id: entity.map(|entity| entity.id),
            summary: (format!("{} {target}", escaped(role_name)), lines),
            values: Vec::new(),
            json,
        })
    }

    /// The principal of a record: by its id, unless an external id names one that is not registered yet.
    async fn principal(&self, wanted: &AssignmentRecord) -> Result<PrincipalName, R::Error> {
        let PrincipalName::ExternalId(external_id) = &wanted.principal else { return Ok(wanted.principal.clone()) };
        let found = principal::known_as(self.registry, &wanted.principal_type, external_id).await?;
        Ok(found.map_or_else(|| wanted.principal.clone(), |principal| PrincipalName::Id(principal.id)))
    }

    /// The existing assignment with the same principal, type, role and entity.
    async fn existing(
        &self,
        wanted: &AssignmentRecord,
        principal_id: Uuid,
        role_id: Uuid,
        entity_id: Option<Uuid>,
    ) -> Result<Option<Assignment>, R::Error> {
        let filter = AssignmentFilter {
            principal_id: Some(principal_id),
            role_id: Some(role_id),
            entity_id,
            ..AssignmentFilter::default()
        };
        let mut found = None;
        self.registry
            .for_each_assignment(filter, &mut |existing| {
                if existing.role_id == role_id
                    && existing.entity_id == entity_id
                    && existing.principal_type == wanted.principal_type.as_str()
                {
                    found = Some(existing);
                }
                found.is_none()
            })
            .await?;
        Ok(found)
    }

    /// The entity of a record: by its id where that exists, else by type and name.
    async fn entity(&mut self, wanted: &EntityRef) -> Result<KnownEntity, NoPlan<R::Error>> {
        if let Some(known) = self.entities.get(wanted) {
            return Ok(known.clone());
        }
        let by_id = match wanted.id {
            Some(id) => match self.registry.entity_if_any(id).await? {
                Some(entity) => Some(entity),
                None if wanted.named.is_none() => return unfit(format!("entity_id: there is no entity {id}")),
                None => None,
            },
            None => None,
        };
        let entity = match (by_id, &wanted.named) {
            (Some(entity), None) => entity,
            (Some(entity), Some((entity_type, name))) if entity.entity_type == *entity_type && entity.name == *name => {
                entity
            }
            // The entity can have been renamed, unless another entity has the name by now.
            (Some(entity), Some((entity_type, name))) => {
                if entity.entity_type != *entity_type || self.registry.entity_named(entity_type, name).await?.is_some()
                {
                    return unfit(format!(
                        "entity_id: {} is {} here, and {} is another entity: omit one of the two",
                        entity.id,
                        entity_label(&entity.entity_type, &entity.name),
                        entity_label(entity_type, name)
                    ));
                }
                entity
            }
            (None, Some((entity_type, name))) => match self.registry.entity_named(entity_type, name).await? {
                Some(entity) => entity,
                None => return unfit(format!("entity_name: there is no {}", entity_label(entity_type, name))),
            },
            (None, None) => return unfit("entity_type: no entity is named"),
        };
        if self.entities.len() >= MAX_ENTITIES {
            self.entities.clear();
        }
        let known = KnownEntity { id: entity.id, entity_type: entity.entity_type, name: entity.name };
        self.entities.insert(wanted.clone(), known.clone());
        Ok(known)
    }
}

/// The step that creates an assignment. `created` is the name of its role while that is only in the file.
fn assign(principal: &PrincipalName, created: Option<&str>, new: NewAssignment) -> BulkStep {
    let request = match principal {
        PrincipalName::Id(_) => new.into(),
        PrincipalName::ExternalId(external_id) => AssignmentRequest::ToExternalId(external_id.clone(), new),
    };
    match created {
        None => BulkStep::Assign(request),
        Some(role) => BulkStep::AssignCreated(role.to_owned(), request),
    }
}

fn window(start: Option<Timestamp>, end: Option<Timestamp>) -> String {
    let start = start.map_or_else(|| "now".to_owned(), |start| start.to_string());
    format!("from {start}, ends: {}", ending(end))
}

fn ending(end: Option<Timestamp>) -> String {
    end.map_or_else(|| "never".to_owned(), |end| end.to_string())
}
