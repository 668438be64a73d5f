//! Roles: named sets of permitted actions, optionally limited to some entity types.
//!
//! Owns the fields of a role. Must never know how a role is stored or sent.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::condition::{Condition, ConditionCheck};
use super::entity_type::{EntityType, EntityTypes};
use super::fields::{Fields, Invalid, Problem};
use super::input::declare::record;
use super::input::value::Value as _;
use super::json::Json;
use super::text::Text;
use super::time::Timestamp;

/// A role's name: 3 to 120 characters.
pub type RoleName = Text<3, 120>;
/// A role's description: up to 512 characters.
pub type RoleDescription = Text<0, 512>;
/// A permission's action such as `document:download`: 3 to 255 characters.
pub type Action = Text<3, 255>;

record! {
    /// A role.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct Role;
    /// A request to create a role. Actions that are new to the registry are created with it.
    #[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct NewRole(new, id, now);
    patch {
        /// A change of a role. An absent member keeps its value.
        #[derive(Debug, Clone, Default, PartialEq, Eq, ToSchema)]
        RolePatch
    }

    /// The id of the role.
    id as "id": Uuid { set id; }

    /// The name, unique among roles.
    #[schema(example = "Document reader")]
    name as "name": String {
        new
            /// The name, unique among roles; 3 to 120 characters.
            RoleName = required;
    }

    /// The purpose of the role; `null` when none was given.
    #[schema(required)]
    description as "description": Option<String> {
        new
            /// The purpose of the role; up to 512 characters.
            Option<RoleDescription> = optional;
        patch
            /// The new description. `null` changes nothing.
            #[schema(value_type = Option<RoleDescription>)]
            Option<RoleDescription> = unless_null;
    }

    /// The entity types on which the role can be assigned and grants; empty: every type.
    scope_types as "scope_types": Vec<EntityType> {
        new
            /// The entity types on which the role can be assigned and grants; empty: every type.
            #[schema(required = false, max_items = 1000)]
            Vec<EntityType> = default(Vec::new());
        patch
            /// The new scope types, which replace all present ones. `null` changes nothing.
            #[schema(max_items = 1000)]
            Vec<EntityType> = unless_null;
    }

    /// Whether the platform itself depends on the role. No request can set it.
    is_system as "is_system": bool {
        new
            /// Ignored in requests: a role that a caller creates is never a system role.
            #[schema(value_type = Option<serde_json::Value>, required = false)]
            bool = default(false);
    }

    /// The actions that the role permits, sorted by code point.
    #[schema(example = json!(["document:download"]))]
    permissions as "permissions": Vec<String> {
        new
            /// The actions that the role permits, for example `document:download`.
            #[schema(value_type = Vec<Action>, required = false, max_items = 1000)]
            BTreeSet<Action> = default(BTreeSet::new());
        patch
            /// The new actions, which replace all present ones. `null` changes nothing.
            #[schema(value_type = Option<Vec<Action>>, required = false, max_items = 1000)]
            BTreeSet<Action> = unless_null;
    }

    /// The conditions under which actions are permitted, by action; absent when there are none. An action without one
    /// is permitted unconditionally.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(required = false)]
    conditions as "conditions": BTreeMap<String, Condition> {
        new
            /// The conditions under which actions are permitted, by action. Each action has to be among `permissions`.
            #[schema(value_type = BTreeMap<String, Condition>, required = false)]
            BTreeMap<Action, Condition> = if_any;
        patch
            /// The new conditions, which replace all present ones. `null` changes nothing. When only `permissions`
            /// change, the actions that stay keep their conditions.
            #[schema(value_type = Option<BTreeMap<String, Condition>>, required = false)]
            BTreeMap<Action, Condition> = unless_null;
    }

    /// The time of creation.
    created_at as "created_at": Timestamp { set now; }

    /// The time of the last change.
    updated_at as "updated_at": Timestamp { set now; }
}

impl NewRole {
    /// A role without actions, for every entity type.
    ///
    /// ```
    /// use epr_core::domain::{EntityType, NewRole};
    ///
    /// let role = NewRole::new("Reader".parse()?).permission("document:download".parse()?).scope(EntityType::Spv);
    /// assert_eq!((role.permissions.len(), role.scope_types), (1, vec![EntityType::Spv]));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(name: RoleName) -> Self {
        Self {
            name,
            description: None,
            scope_types: Vec::new(),
            is_system: false,
            permissions: BTreeSet::new(),
            conditions: BTreeMap::new(),
        }
    }

    /// The same role with one more action.
    #[must_use]
    pub fn permission(mut self, action: Action) -> Self {
        self.permissions.insert(action);
        self
    }

    /// The same role with more actions.
    #[must_use]
    pub fn with_permissions(mut self, actions: impl IntoIterator<Item = Action>) -> Self {
        self.permissions.extend(actions);
        self
    }

    /// The same role with one more action, which is permitted only where `condition` is true.
    #[must_use]
    pub fn permission_if(mut self, action: Action, condition: Condition) -> Self {
        self.conditions.insert(action.clone(), condition);
        self.permission(action)
    }

    /// The same role limited to one more entity type.
    #[must_use]
    pub fn scope(mut self, entity_type: EntityType) -> Self {
        if !self.scope_types.contains(&entity_type) {
            self.scope_types.push(entity_type);
        }
        self
    }

    /// Reads the body of a request, whose scope types are among `types`. Its `is_system` is ignored, whatever its value
    /// is: callers create no system roles.
    ///
    /// # Errors
    /// Every failing field, and every condition that `check` refuses.
    pub fn from_request(body: &Json, types: &EntityTypes, check: ConditionCheck) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?.accepting(types);
        fields.ignore("is_system");
        Self::read_all(fields, check)
    }

    /// Reads a role of an operator's file, whose scope types are among `types`. An unknown member is an error.
    ///
    /// # Errors
    /// Every failing field, and every condition that `check` refuses.
    pub fn from_body(body: &Json, types: &EntityTypes, check: ConditionCheck) -> Result<Self, Invalid> {
        Self::read_all(Fields::of_body(body)?.accepting(types), check)
    }

    fn read_all(mut fields: Fields<'_>, check: ConditionCheck) -> Result<Self, Invalid> {
        fields.only(Self::MEMBERS);
        let new = Self::read(&mut fields).map(|new| Self { scope_types: distinct(new.scope_types), ..new });
        check_conditions(&mut fields, check, Some(BTreeSet::new()));
        fields.finish(new)
    }
}

impl RolePatch {
    /// Reads the body of a change, whose scope types are among `types`. Other members are ignored: callers send back
    /// the whole role that they have read.
    ///
    /// # Errors
    /// Every failing field, and every condition that `check` refuses.
    pub fn from_body(body: &Json, types: &EntityTypes, check: ConditionCheck) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?.accepting(types);
        let mut patch = Self::read(&mut fields);
        patch.scope_types = patch.scope_types.map(distinct);
        check_conditions(&mut fields, check, None);
        fields.finish(Some(patch))
    }
}

/// Reports the conditions that `check` refuses, and those of actions that the role would not have. `absent` are the
/// actions of a body that names none; `None` when they are not known.
fn check_conditions(fields: &mut Fields<'_>, check: ConditionCheck, absent: Option<BTreeSet<Action>>) {
    let Some(conditions) = fields.peek("conditions", BTreeMap::<Action, Condition>::read) else { return };
    for (action, condition) in &conditions {
        if let Err(problem) = check(condition) {
            fields.report("conditions", problem.under(action.as_str()));
        }
    }
    let has_member =
        fields.has("permissions") && fields.peek("permissions", |value| Ok(*value == Json::Null)) == Some(false);
    let actions = if has_member { fields.peek("permissions", BTreeSet::<Action>::read) } else { absent };
    let Some(actions) = actions else { return };
    for action in conditions.keys().filter(|action| !actions.contains(*action)) {
        fields.report("conditions", unheld(action.as_str()));
    }
}

/// The problem of a condition for an action that the role does not have.
pub(crate) fn unheld(action: &str) -> Problem {
    let msg = "The role does not hold this action: add it to permissions, or remove its condition";
    Problem::new("value_error", msg).under(action)
}

/// The types without repetitions, in the order of their first occurrences.
fn distinct(types: Vec<EntityType>) -> Vec<EntityType> {
    let mut seen = BTreeSet::new();
    types.into_iter().filter(|entity_type| seen.insert(entity_type.clone())).collect()
}
