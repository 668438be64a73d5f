//! The registry at one position, in memory: immutable, and shared with the position before where nothing has changed.
//!
//! Owns how facts are found in it. INVARIANT: the facts of a question are those that the statement of a check reads at
//! the same position. Must never decide, and must never say whether it is current.

use std::sync::Arc;

use uuid::Uuid;

use super::roles::{RoleNumber, Roles};
use super::sharded_map::ShardedMap;
use super::words::Words;
use crate::decision::{AssignmentFacts, ConditionFacts, Facts, PrincipalFacts, Question, ResourceFacts};
use crate::domain::{EntityType, Json, JsonObject, Timestamp};
use crate::store::{GraphDescribed, GraphPosition};

/// The longest way to a root that is walked in memory. The registry has none that is longer, except by changes outside
/// EPR: the database answers about those.
const MAX_LEVELS: usize = 256;
/// A principal with this many assignments or fewer is searched from its first to its last.
const FEW: usize = 12;

/// The registry at one position.
#[derive(Clone, Default)]
pub(super) struct Snapshot {
    pub(super) entities: ShardedMap<Uuid, Entity>,
    pub(super) principals: ShardedMap<PrincipalKey, Principal>,
    pub(super) roles: Arc<Roles>,
    pub(super) entity_types: Words<EntityType>,
    pub(super) principal_types: Words<String>,
    /// The conditions of assignments by their stored texts.
    pub(super) conditions: ShardedMap<Arc<str>, Arc<ConditionFacts>>,
    /// The memory that values point to, in bytes; the maps count their own.
    pub(super) heap: usize,
    /// `None` until every row has been read.
    pub(super) position: Option<GraphPosition>,
}

/// The external id and the attributes of an entity or a principal, in one allocation: the attributes as they are
/// stored, and behind a NUL, which neither can hold, the external id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Described(Arc<str>);

impl Described {
    /// `None` when there is nothing that a condition could read.
    pub(super) fn new(described: &GraphDescribed) -> Option<Self> {
        let attributes = described.attributes.as_deref().unwrap_or_default();
        match &described.external_id {
            None if attributes.is_empty() => None,
            None => Some(Self(attributes.into())),
            Some(external_id) => Some(Self(format!("{attributes}\0{external_id}").into())),
        }
    }

    /// As the database has it.
    pub(super) fn stored(&self) -> GraphDescribed {
        let (attributes, external_id) = self.parts();
        let attributes = Some(attributes).filter(|text| !text.is_empty()).map(str::to_owned);
        GraphDescribed { external_id: external_id.map(str::to_owned), attributes }
    }

    /// The memory of it, in bytes.
    pub(super) fn bytes(&self) -> usize {
        2 * size_of::<usize>() + self.0.len()
    }

    fn parts(&self) -> (&str, Option<&str>) {
        match self.0.split_once('\0') {
            Some((attributes, external_id)) => (attributes, Some(external_id)),
            None => (&self.0, None),
        }
    }

    /// The external id and the attributes as conditions read them.
    fn read(&self) -> Result<(Option<String>, Arc<JsonObject>), NotHere> {
        let (attributes, external_id) = self.parts();
        let attributes = match attributes {
            "" => Arc::default(),
            text => match Json::parse(text.as_bytes()) {
                Ok(Json::Object(members)) => members.into(),
                // The database says what is wrong.
                _ => return Err(NotHere::Unusual),
            },
        };
        Ok((external_id.map(str::to_owned), attributes))
    }
}

/// An entity.
#[derive(Debug, Clone)]
pub(super) struct Entity {
    pub(super) parent_id: Option<Uuid>,
    /// `None` when there is nothing that a condition could read.
    pub(super) described: Option<Described>,
    /// The index of its type.
    pub(super) kind: u16,
}

/// The key of a principal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct PrincipalKey {
    pub(super) id: Uuid,
    /// The index of its type.
    pub(super) principal_type: u16,
}

/// A principal that is registered or has assignments.
#[derive(Debug, Clone, Default)]
pub(super) struct Principal {
    /// In the order of their entities.
    pub(super) assignments: Arc<[Assignment]>,
    /// `None` when there is nothing that a condition could read.
    pub(super) described: Option<Described>,
    pub(super) is_suspended: bool,
    pub(super) is_registered: bool,
}

/// An assignment.
#[derive(Debug, Clone)]
pub(super) struct Assignment {
    /// The nil UUID for a global assignment.
    pub(super) entity_id: Uuid,
    pub(super) id: Uuid,
    pub(super) role: RoleNumber,
    pub(super) effective_at: Timestamp,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) condition: Option<Arc<ConditionFacts>>,
}

/// Why the facts of a question are not found in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NotHere {
    /// The resource is not in the snapshot.
    UnknownResource,
    /// The registry has something that only the database can answer about.
    Unusual,
}

impl Snapshot {
    /// The memory of this snapshot, in bytes: of all of it, also of what it shares with another one.
    pub(super) fn bytes(&self) -> usize {
        self.entities.bytes() + self.principals.bytes() + self.conditions.bytes() + self.heap
    }

    /// The facts of `question`.
    pub(super) fn facts(&self, question: &Question) -> Result<Facts, NotHere> {
        let resource = self.entities.get(&question.resource_id).ok_or(NotHere::UnknownResource)?;
        let lineage = self.lineage(question.resource_id, resource)?;
        let entity_type = self.entity_types.get(resource.kind).ok_or(NotHere::Unusual)?;
        let principal = self.principal_types.find(question.principal_type.as_str()).and_then(|principal_type| {
            self.principals.get(&PrincipalKey { id: question.principal_id, principal_type })
        });
        let mut facts = Facts {
            principal: PrincipalFacts {
                is_suspended: principal.is_some_and(|principal| principal.is_suspended),
                ..PrincipalFacts::default()
            },
            resource: ResourceFacts::of(entity_type.clone()),
            assigned_entities: vec![question.resource_id],
            assignments: Vec::new(),
        };
        let Some(principal) = principal else { return Ok(facts) };
        let principal_type: Arc<str> = question.principal_type.as_str().into();
        reaching(&principal.assignments, &lineage, |assignment| {
            self.add(&mut facts, question, &principal_type, assignment);
        });
        if facts.assignments.iter().any(|one| !one.conditions.is_empty()) {
            (facts.principal.external_id, facts.principal.attributes) = read(principal.described.as_ref())?;
            (facts.resource.external_id, facts.resource.attributes) = read(resource.described.as_ref())?;
        }
        Ok(facts)
    }

    /// The entity and those above it, and the nil UUID, where global assignments are.
    fn lineage(&self, id: Uuid, entity: &Entity) -> Result<Vec<Uuid>, NotHere> {
        let mut lineage = Vec::with_capacity(8);
        lineage.push(id);
        let mut above = entity.parent_id;
        while let Some(id) = above {
            if lineage.len() == MAX_LEVELS {
                return Err(NotHere::Unusual);
            }
            // An entity that is gone ends the way, as it does for the statement.
            let Some(entity) = self.entities.get(&id) else { break };
            lineage.push(id);
            above = entity.parent_id;
        }
        lineage.push(Uuid::nil());
        Ok(lineage)
    }

    fn add(&self, facts: &mut Facts, question: &Question, principal_type: &Arc<str>, assignment: &Assignment) {
        // The statement joins the role, too.
        let Some((role_id, Some(role))) = self.roles.get(assignment.role) else { return };
        let held = role.actions.get_key_value(question.action.as_str());
        let conditions = [assignment.condition.as_deref(), held.and_then(|(_, condition)| condition.as_ref())];
        let entity_id = (!assignment.entity_id.is_nil()).then_some(assignment.entity_id);
        if let Some(id) = entity_id
            && !facts.assigned_entities.contains(&id)
        {
            facts.assigned_entities.push(id);
        }
        facts.assignments.push(AssignmentFacts {
            assignment_id: assignment.id,
            principal_id: question.principal_id,
            principal_type: Arc::clone(principal_type),
            role_id,
            entity_id,
            effective_at: assignment.effective_at,
            expires_at: assignment.expires_at,
            scope_types: Arc::clone(&role.scope_types),
            held_action: held.map(|(action, _)| Arc::clone(action)),
            conditions: conditions.into_iter().flatten().cloned().collect(),
        });
    }
}

fn read(described: Option<&Described>) -> Result<(Option<String>, Arc<JsonObject>), NotHere> {
    described.map_or_else(|| Ok((None, Arc::default())), Described::read)
}

/// Calls `found` for those of `assignments`, which are in the order of their entities, that are on one of `places`.
fn reaching(assignments: &[Assignment], places: &[Uuid], mut found: impl FnMut(&Assignment)) {
    if assignments.len() <= FEW {
        assignments.iter().filter(|one| places.contains(&one.entity_id)).for_each(found);
        return;
    }
    for place in places {
        let first = assignments.partition_point(|one| one.entity_id < *place);
        assignments.iter().skip(first).take_while(|one| one.entity_id == *place).for_each(&mut found);
    }
}
