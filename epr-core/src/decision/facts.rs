//! Everything that a decision depends on besides its context and the time.
//!
//! Owns the facts. Must never decide, and must never read a clock, a database or a cache.

use std::sync::Arc;

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Question;
use super::condition::{Compiled, Described, Inputs, Sent};
use crate::domain::input::declare::words;
use crate::domain::input::value::Value as _;
use crate::domain::{Condition, EntityType, Json, JsonObject, Text, Timestamp};

/// Everything that a decision depends on except the context and the time.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// The principal.
    pub principal: PrincipalFacts,
    /// The resource.
    pub resource: ResourceFacts,
    /// The resource and those of its ancestors on which the principal has an assignment, in any order.
    pub assigned_entities: Vec<Uuid>,
    /// The assignments that can matter. More than these do no harm: [`decide`](super::decide) compares each with the
    /// question.
    pub assignments: Vec<AssignmentFacts>,
}

/// The principal as it is registered; the default for one that is not.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct PrincipalFacts {
    /// Whether it is denied everything.
    pub is_suspended: bool,
    /// Whether its external id and attributes, as they were at a moment of the past, have been erased since.
    pub is_erased: bool,
    /// Its id in the system that it comes from. Read only when a condition is among the facts.
    pub external_id: Option<String>,
    /// Its attributes. Read only when a condition is among the facts.
    pub attributes: Arc<JsonObject>,
}

/// The entity on which the action is carried out, or what a caller says about a resource that is not registered.
#[derive(Debug, Clone, PartialEq)]
pub struct ResourceFacts {
    /// Its type.
    pub entity_type: ResourceType,
    /// Its id in the system that it comes from. Read only when a condition is among the facts.
    pub external_id: Option<String>,
    /// Its attributes. Read only when a condition is among the facts.
    pub attributes: Arc<JsonObject>,
}

impl ResourceFacts {
    /// An entity of this type without an external id and attributes.
    #[must_use]
    pub fn of(entity_type: EntityType) -> Self {
        Self { entity_type: entity_type.into(), external_id: None, attributes: Arc::default() }
    }

    /// A resource that is not registered, with the type and the id by which the caller names it. Only global
    /// assignments reach it.
    #[must_use]
    pub fn unregistered(named_type: NamedType, id: String) -> Self {
        Self { entity_type: ResourceType::Named(named_type), external_id: Some(id), attributes: Arc::default() }
    }
}

/// A type as a caller of another system names it: 1 to 255 characters, whether EPR knows it or not.
pub type NamedType = Text<1, 255>;

/// The type of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ResourceType {
    /// The resource is an entity of this type.
    Registered(EntityType),
    /// The resource is not registered, and the caller names this type.
    Named(NamedType),
}

impl ResourceType {
    /// The word of the type.
    #[must_use]
    pub fn word(&self) -> &str {
        match self {
            Self::Registered(entity_type) => entity_type.word(),
            Self::Named(named) => named.as_str(),
        }
    }

    /// Whether the scope types of a role include this type; a role without scope types includes every type.
    #[must_use]
    pub fn is_in_scope(&self, scope_types: &[EntityType]) -> bool {
        match self {
            Self::Registered(entity_type) => is_in_scope(scope_types, entity_type),
            Self::Named(named) => scope_types.is_empty() || scope_types.iter().any(|one| one.word() == named.as_str()),
        }
    }

    /// The entity type; `None` when the resource is not registered.
    #[must_use]
    pub fn registered(&self) -> Option<&EntityType> {
        match self {
            Self::Registered(entity_type) => Some(entity_type),
            Self::Named(_) => None,
        }
    }
}

/// Whether the scope types of a role include a type; a role without scope types includes every type.
#[must_use]
pub fn is_in_scope(scope_types: &[EntityType], entity_type: &EntityType) -> bool {
    scope_types.is_empty() || scope_types.contains(entity_type)
}

impl From<EntityType> for ResourceType {
    fn from(entity_type: EntityType) -> Self {
        Self::Registered(entity_type)
    }
}

/// One assignment with what its role permits. Texts are shared, so that a check from memory copies none.
#[derive(Debug, Clone, PartialEq)]
pub struct AssignmentFacts {
    /// The id of the assignment.
    pub assignment_id: Uuid,
    /// The id of the principal.
    pub principal_id: Uuid,
    /// The kind of principal.
    pub principal_type: Arc<str>,
    /// The id of the role.
    pub role_id: Uuid,
    /// The entity on which the role is given; `None` for a global assignment.
    pub entity_id: Option<Uuid>,
    /// The start of the window, included.
    pub effective_at: Timestamp,
    /// The end of the window, excluded; `None` when it has no end.
    pub expires_at: Option<Timestamp>,
    /// The scope types of the role; every type when empty.
    pub scope_types: Arc<[EntityType]>,
    /// The action of the question, if the role has it. One text instead of the role's whole list keeps a check small.
    pub held_action: Option<Arc<str>>,
    /// The conditions that must hold: the assignment's, and the role's for the action of the question. At most two.
    pub conditions: Vec<ConditionFacts>,
}

words! {
    /// Where a condition is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
    pub enum ConditionOwner: "owner of a condition" {
        /// On the assignment.
        Assignment = "assignment",
        /// On the action of the assignment's role.
        Role = "role",
    }
}

/// One condition of an assignment.
#[derive(Debug, Clone, PartialEq)]
pub struct ConditionFacts {
    /// Where the condition is.
    pub owner: ConditionOwner,
    /// The JSON text as it is stored.
    pub stored: Arc<str>,
    /// The compiled form. A sentence when this version cannot read or compile the text, which another version wrote:
    /// the assignment then does not apply.
    pub compiled: Result<Compiled, Arc<str>>,
}

impl ConditionFacts {
    /// The condition that is stored as this JSON text.
    #[must_use]
    pub fn of(owner: ConditionOwner, stored: &str) -> Self {
        Self { owner, stored: stored.into(), compiled: compile(stored).map_err(Into::into) }
    }

    /// Whether the outcome can differ from one resource to another.
    #[must_use]
    pub fn reads_resource(&self) -> bool {
        self.compiled.as_ref().is_ok_and(|compiled| compiled.reads().resource())
    }
}

fn compile(stored: &str) -> Result<Compiled, String> {
    let unreadable = "this version cannot read the stored condition";
    let json = Json::parse(stored.as_bytes()).map_err(|error| format!("{unreadable}: {error}"))?;
    let condition = Condition::read(&json).map_err(|problems| match problems.first() {
        Some(problem) => format!("{unreadable}: {}", problem.message()),
        None => unreadable.to_owned(),
    })?;
    Compiled::new(&condition).map_err(|error| format!("this version cannot compile the stored condition: {error}"))
}

/// Principal and resource of a question, as conditions see them.
#[derive(Debug, Clone, PartialEq)]
pub struct Subjects {
    /// The principal.
    pub principal: Described,
    /// The resource.
    pub resource: Described,
}

impl Facts {
    /// The principal and the resource of `question`, as conditions see them.
    #[must_use]
    pub fn subjects(&self, question: &Question) -> Subjects {
        let principal = Described {
            id: Some(question.principal_id),
            kind: question.principal_type.as_str().to_owned(),
            external_id: self.principal.external_id.clone(),
            attributes: Arc::clone(&self.principal.attributes),
            is_erased: self.principal.is_erased,
        };
        let resource = Described {
            id: self.resource.entity_type.registered().map(|_| question.resource_id),
            kind: self.resource.entity_type.word().to_owned(),
            external_id: self.resource.external_id.clone(),
            attributes: Arc::clone(&self.resource.attributes),
            is_erased: false,
        };
        Subjects { principal, resource }
    }
}

impl Subjects {
    /// Everything that an expression can read.
    #[must_use]
    pub fn inputs<'a>(&'a self, action: &'a str, sent: impl Into<Sent<'a>>, now: Timestamp) -> Inputs<'a> {
        let Sent { context, properties } = sent.into();
        Inputs { context, principal: &self.principal, resource: &self.resource, action, properties, now }
    }
}
