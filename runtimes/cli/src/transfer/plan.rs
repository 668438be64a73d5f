//! What a record would change: each is held against the registry, and the difference is told so that people can read it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use epr_core::domain::fields::Choice as _;
use epr_core::domain::role::{Action, RoleDescription};
use epr_core::domain::{
    Assignment, AssignmentFilter, BulkStep, EntityType, NewAssignment, NewRole, Role, RolePatch, Timestamp,
};
use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::record::{AssignmentRecord, PlaceRecord};
use crate::backend::{Backend, Fault};
use crate::entities::called;
use crate::output::visible;

/// What becomes of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Change {
    /// It is new.
    Create,
    /// It is there, but differs.
    Update,
    /// It is there as it is.
    Nothing,
}

/// The plan for one record.
pub(super) struct Planned {
    pub(super) change: Change,
    /// What to do; nothing when all is as it should be.
    pub(super) step: Option<BulkStep>,
    /// The entity of an assignment that is not for everywhere.
    pub(super) place: Option<Uuid>,
    /// The headline, and the lines below it.
    pub(super) told: (String, Vec<String>),
    /// The same for programs.
    pub(super) json: Value,
}

/// Why there is no plan: the record does not fit the registry, or the registry could not be asked.
pub(super) enum NoPlan {
    Unfit(String),
    Fault(Fault),
}

impl From<Fault> for NoPlan {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

fn unfit<T>(what: impl Into<String>) -> Result<T, NoPlan> {
    Err(NoPlan::Unfit(what.into()))
}

/// The plan for a role. `there` is the one that has the name now.
pub(super) fn role(wanted: &NewRole, there: Option<&Role>) -> Result<Planned, NoPlan> {
    let name = visible(wanted.name.as_str());
    let actions: BTreeSet<&str> = wanted.permissions.iter().map(Action::as_str).collect();
    let types = |types: &[EntityType]| {
        let words: Vec<_> = types.iter().map(|entity_type| entity_type.word()).collect();
        if words.is_empty() { "every type".to_owned() } else { words.join(", ") }
    };
    let Some(there) = there else {
        let list: Vec<_> = actions.iter().map(|action| visible(action)).collect();
        let lines = vec![format!("actions: {}", list.join(", ")), format!("for: {}", types(&wanted.scope_types))];
        return Ok(Planned {
            change: Change::Create,
            step: Some(BulkStep::CreateRole(wanted.clone())),
            place: None,
            told: (format!("role {name}"), lines),
            json: json!({"kind": "role", "name": wanted.name, "permissions": actions, "scope_types": wanted.scope_types}),
        });
    };
    if there.is_system != wanted.is_system {
        return unfit(format!("is_system: it is {} in the registry and cannot be changed", there.is_system));
    }
    let mut patch = RolePatch::default();
    let mut lines = Vec::new();
    let mut json = serde_json::Map::new();
    let mut note = |name: &str, value: Value| json.insert(name.to_owned(), value);
    note("kind", json!("role"));
    note("name", json!(wanted.name));
    note("id", json!(there.id));
    let description = wanted.description.as_ref().map(RoleDescription::as_str);
    // An absent one and an empty one say the same.
    if description.unwrap_or_default() != there.description.as_deref().unwrap_or_default() {
        let shown =
            |text: Option<&str>| text.map_or_else(|| "none".to_owned(), |text| format!("\"{}\"", visible(text)));
        lines.push(format!("description: {} -> {}", shown(there.description.as_deref()), shown(description)));
        note("description", json!(description));
        patch.description = Some(wanted.description.clone());
    }
    if wanted.scope_types != there.scope_types {
        lines.push(format!("for: {} -> {}", types(&there.scope_types), types(&wanted.scope_types)));
        note("scope_types", json!(wanted.scope_types));
        patch.scope_types = Some(wanted.scope_types.clone());
    }
    let held: BTreeSet<&str> = there.permissions.iter().map(String::as_str).collect();
    if actions != held {
        let (more, less): (Vec<_>, Vec<_>) =
            (actions.difference(&held).copied().collect(), held.difference(&actions).copied().collect());
        lines.extend(more.iter().map(|action| format!("action + {}", visible(action))));
        lines.extend(less.iter().map(|action| format!("action - {}", visible(action))));
        note("permissions_added", json!(more));
        note("permissions_removed", json!(less));
        patch.permissions = Some(wanted.permissions.clone());
    }
    let same = patch == RolePatch::default();
    Ok(Planned {
        change: if same { Change::Nothing } else { Change::Update },
        step: (!same).then_some(BulkStep::UpdateRole(there.id, patch)),
        place: None,
        told: (format!("role {name}"), lines),
        json: Value::Object(json),
    })
}

/// What is known of a role by its name, whether it is in the registry already or only in the file.
#[derive(Clone)]
pub(super) struct KnownRole {
    /// `None` while it is only in the file.
    pub(super) id: Option<Uuid>,
    /// As it will be after the import.
    pub(super) scope_types: Vec<EntityType>,
}

/// An entity of the registry.
#[derive(Clone)]
struct Place {
    id: Uuid,
    entity_type: EntityType,
    name: String,
}

/// Plans assignments.
pub(super) struct Assignments<'a> {
    backend: &'a Backend,
    roles: &'a BTreeMap<String, KnownRole>,
    places: HashMap<PlaceRecord, Place>,
}

/// Entities that are remembered.
const REMEMBERED: usize = 50_000;

impl<'a> Assignments<'a> {
    pub(super) fn new(backend: &'a Backend, roles: &'a BTreeMap<String, KnownRole>) -> Self {
        Self { backend, roles, places: HashMap::new() }
    }

    /// The plan for an assignment.
    pub(super) async fn plan(&mut self, wanted: &AssignmentRecord) -> Result<Planned, NoPlan> {
        let role_name = wanted.role.as_str();
        let Some(role) = self.roles.get(role_name).cloned() else {
            return unfit(format!("role: there is no role named `{role_name}`, here or in the file"));
        };
        let place = match &wanted.place {
            Some(place) => Some(self.place(place).await?),
            None => None,
        };
        if let Some(place) = &place
            && !role.scope_types.is_empty()
            && !role.scope_types.contains(&place.entity_type)
        {
            return unfit(format!(
                "role: `{role_name}` is not meant for entities of type {}",
                place.entity_type.word()
            ));
        }
        let there = match role.id {
            Some(role_id) => self.standing(wanted, role_id, place.as_ref().map(|place| place.id)).await?,
            None => None,
        };
        let place_told = place
            .as_ref()
            .map_or_else(|| "everywhere".to_owned(), |place| format!("on {}", called(place.entity_type, &place.name)));
        let mut lines = vec![format!("held by {} {}", visible(wanted.principal_type.as_str()), wanted.principal_id)];
        let (start, end) = (wanted.effective_at, wanted.expires_at);
        let change = match &there {
            None => {
                lines.push(window(start, end));
                Change::Create
            }
            Some(there) if start.is_none_or(|start| start == there.effective_at) && end == there.expires_at => {
                Change::Nothing
            }
            Some(there) => {
                if let Some(start) = start.filter(|start| *start != there.effective_at) {
                    lines.push(format!("begins: {} -> {start}", there.effective_at));
                }
                if end != there.expires_at {
                    lines.push(format!("ends: {} -> {}", ending(there.expires_at), ending(end)));
                }
                Change::Update
            }
        };
        let json = json!({
            "kind": "assignment", "principal_id": wanted.principal_id, "principal_type": wanted.principal_type,
            "role": role_name, "entity_id": place.as_ref().map(|place| place.id),
            "entity_type": place.as_ref().map(|place| place.entity_type),
            "entity_name": place.as_ref().map(|place| &place.name),
            "effective_at": start, "expires_at": end,
            "before": there.as_ref().map(|there| json!({
                "id": there.id, "effective_at": there.effective_at, "expires_at": there.expires_at,
            })),
        });
        let step = role.id.filter(|_| change != Change::Nothing).map(|role_id| {
            let new = NewAssignment {
                principal_id: wanted.principal_id,
                principal_type: wanted.principal_type.clone(),
                role_id,
                entity_id: place.as_ref().map(|place| place.id),
                // A window that says nothing of its start keeps the one that stands.
                effective_at: start.or(there.as_ref().map(|there| there.effective_at)),
                expires_at: end,
            };
            match &there {
                Some(there) => BulkStep::Reassign(there.id, new),
                None => BulkStep::Assign(new),
            }
        });
        Ok(Planned {
            change,
            step,
            place: place.map(|place| place.id),
            told: (format!("{} {place_told}", visible(role_name)), lines),
            json,
        })
    }

    /// The assignment that stands under the same key.
    async fn standing(
        &self,
        wanted: &AssignmentRecord,
        role_id: Uuid,
        entity_id: Option<Uuid>,
    ) -> Result<Option<Assignment>, Fault> {
        let filter = AssignmentFilter { principal_id: Some(wanted.principal_id), entity_id };
        let mut found = None;
        self.backend
            .each_assignment(filter, &mut |there| {
                if there.role_id == role_id
                    && there.entity_id == entity_id
                    && there.principal_type == wanted.principal_type.as_str()
                {
                    found = Some(there);
                }
                found.is_none()
            })
            .await?;
        Ok(found)
    }

    /// The entity that a record means: by its id where that exists, by type and name where it does not.
    async fn place(&mut self, wanted: &PlaceRecord) -> Result<Place, NoPlan> {
        if let Some(known) = self.places.get(wanted) {
            return Ok(known.clone());
        }
        let by_id = match wanted.id {
            Some(id) => match self.backend.entity_if_any(id).await? {
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
            // It may have been renamed; unless the name is somebody else's by now.
            (Some(entity), Some((entity_type, name))) => {
                if entity.entity_type != *entity_type || self.backend.entity_named(*entity_type, name).await?.is_some()
                {
                    return unfit(format!(
                        "entity_id: {} is {} here, and {} is another entity: leave out one of the two",
                        entity.id,
                        called(entity.entity_type, &entity.name),
                        called(*entity_type, name)
                    ));
                }
                entity
            }
            (None, Some((entity_type, name))) => match self.backend.entity_named(*entity_type, name).await? {
                Some(entity) => entity,
                None => return unfit(format!("entity_name: there is no {}", called(*entity_type, name))),
            },
            (None, None) => return unfit("entity_type: no entity is named"),
        };
        if self.places.len() >= REMEMBERED {
            self.places.clear();
        }
        let place = Place { id: entity.id, entity_type: entity.entity_type, name: entity.name };
        self.places.insert(wanted.clone(), place.clone());
        Ok(place)
    }
}

fn window(start: Option<Timestamp>, end: Option<Timestamp>) -> String {
    let start = start.map_or_else(|| "now".to_owned(), |start| start.to_string());
    format!("from {start}, ends: {}", ending(end))
}

fn ending(end: Option<Timestamp>) -> String {
    end.map_or_else(|| "never".to_owned(), |end| end.to_string())
}
