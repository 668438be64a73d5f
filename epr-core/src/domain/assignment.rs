//! Assignments: a role given to a principal on an entity or globally, within a window of time.
//!
//! Owns the fields of an assignment and the rule of its window. Must never know how an assignment is stored or sent.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::condition::{Condition, ConditionCheck};
use super::fields::{self, Fields, Invalid, Problem};
use super::input::declare::{filter, record};
use super::input::value::Value;
use super::json::Json;
use super::schema::AnyTime;
use super::text::Text;
use super::time::Timestamp;

/// The kind of principal (`user`, `service`, `group` …): an open label of 1 to 64 characters.
pub type PrincipalType = Text<1, 64>;

/// The principal type of a request that names none: `user`.
#[must_use]
pub fn default_principal_type() -> PrincipalType {
    PrincipalType::new("user").unwrap_or_else(|_| unreachable!("`user` is within 1 to 64 characters"))
}

record! {
    /// A role given to a principal. `(principal_id, principal_type, role_id, entity_id)` is unique; two global
    /// assignments (`entity_id` is `null`) are equal in it.
    ///
    /// The window is half-open: it includes `effective_at` and excludes `expires_at`.
    #[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
    pub struct Assignment;
    /// A request to assign a role.
    #[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct NewAssignment(new, id, now);
    patch {}

    /// The id of the assignment.
    id as "id": Uuid { set id; }

    /// The id of the principal that has the role.
    principal_id as "principal_id": Uuid {
        new
            /// The id of the principal that gets the role.
            Uuid = required;
    }

    /// The kind of principal, for example `user`. The same id with another type is another principal.
    #[schema(example = "user")]
    principal_type as "principal_type": String {
        new
            /// The kind of principal, for example `service`; `user` when absent.
            #[schema(required = false)]
            PrincipalType = default(default_principal_type());
    }

    /// The id of the role.
    role_id as "role_id": Uuid {
        new
            /// The id of the role.
            Uuid = required;
    }

    /// The entity on which the role is given, with everything below it; `null` for a global assignment.
    #[schema(required)]
    entity_id as "entity_id": Option<Uuid> {
        new
            /// The entity on which the role is given, with everything below it; absent or `null` for a global
            /// assignment.
            Option<Uuid> = optional;
    }

    /// The start of the window, included.
    effective_at as "effective_at": Timestamp {
        set new.effective_at.unwrap_or(now);
        new
            /// The start of the window, included; the present time when absent.
            #[schema(value_type = Option<AnyTime>)]
            Option<Timestamp> = optional;
    }

    /// The end of the window, excluded; `null` when the window has no end.
    #[schema(required)]
    expires_at as "expires_at": Option<Timestamp> {
        new
            /// The end of the window, excluded; absent or `null` for a window without an end.
            #[schema(value_type = Option<AnyTime>)]
            Option<Timestamp> = optional;
    }

    /// The condition under which the assignment applies; absent when it applies unconditionally.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    condition as "condition": Option<Condition> {
        new
            /// The condition under which the assignment applies; absent or `null` for none. An existing assignment
            /// keeps the condition that it has.
            Option<Condition> = if_some;
    }

    /// The time of creation.
    created_at as "created_at": Timestamp { set now; }

    /// The time of the last change.
    updated_at as "updated_at": Timestamp { set now; }
}

impl NewAssignment {
    /// A role for a user, globally, from the present time on.
    ///
    /// ```
    /// use epr_core::domain::NewAssignment;
    /// use uuid::Uuid;
    ///
    /// let (user, role, spv) = (Uuid::from_u128(1), Uuid::from_u128(2), Uuid::from_u128(3));
    /// let new = NewAssignment::new(user, role).on(spv).until("2030-01-01T00:00:00Z".parse()?);
    /// assert_eq!((new.entity_id, new.effective_at), (Some(spv), None));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new(principal_id: Uuid, role_id: Uuid) -> Self {
        Self {
            principal_id,
            principal_type: default_principal_type(),
            role_id,
            entity_id: None,
            effective_at: None,
            expires_at: None,
            condition: None,
        }
    }

    /// The same assignment for a principal of another type than `user`.
    #[must_use]
    pub fn of_type(self, principal_type: PrincipalType) -> Self {
        Self { principal_type, ..self }
    }

    /// The same assignment on one entity and everything below it.
    #[must_use]
    pub fn on(self, entity_id: Uuid) -> Self {
        Self { entity_id: Some(entity_id), ..self }
    }

    /// The same assignment with a window that starts at `effective_at`, included.
    #[must_use]
    pub fn from(self, effective_at: Timestamp) -> Self {
        Self { effective_at: Some(effective_at), ..self }
    }

    /// The same assignment with a window that ends at `expires_at`, excluded.
    #[must_use]
    pub fn until(self, expires_at: Timestamp) -> Self {
        Self { expires_at: Some(expires_at), ..self }
    }

    /// The same assignment, which applies only where `condition` is true.
    #[must_use]
    pub fn only_if(self, condition: Condition) -> Self {
        Self { condition: Some(condition), ..self }
    }

    /// Reads the body of an assignment made at `now`. An unknown member is an error: `entity` instead of `entity_id`
    /// would make the assignment global.
    ///
    /// # Errors
    /// Every failing field, and a condition that `check` refuses.
    pub fn from_body(body: &Json, now: Timestamp, check: ConditionCheck) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        fields.only(Self::MEMBERS);
        let new = Self::read(&mut fields);
        let start = fields.peek("effective_at", fields::timestamp).unwrap_or(now);
        if let Some(problem) = window_problem(start, fields.peek("expires_at", fields::timestamp)) {
            fields.report("expires_at", problem);
        }
        let condition = fields.peek("condition", Condition::read);
        if let Some(problem) = condition.and_then(|condition| check(&condition).err()) {
            fields.report("condition", problem);
        }
        fields.finish(new)
    }
}

/// The problem of a window that ends before or when it starts.
pub(crate) fn window_problem(effective_at: Timestamp, expires_at: Option<Timestamp>) -> Option<Problem> {
    expires_at
        .is_some_and(|end| end <= effective_at)
        .then(|| Problem::new("value_error", "expires_at should be after effective_at"))
}

/// Whether assignments are in force: their window includes a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InForce {
    /// In force at the time of the call.
    Now,
    /// Not in force at the time of the call: the window has ended, or has not begun.
    NotNow,
    /// In force at this time.
    At(Timestamp),
}

impl InForce {
    /// The time to compare with in a call at `now`, and whether the window includes it.
    #[must_use]
    pub fn at(self, now: Timestamp) -> (Timestamp, bool) {
        match self {
            Self::Now => (now, true),
            Self::NotNow => (now, false),
            Self::At(time) => (time, true),
        }
    }
}

/// `true`, `false`, or a time.
impl Value for InForce {
    fn read(value: &Json) -> fields::Reading<Self> {
        match value.as_text() {
            Some("true") => Ok(Self::Now),
            Some("false") => Ok(Self::NotNow),
            _ => fields::timestamp(value).map(Self::At).map_err(|_| {
                let sentence = "Input should be true, false or an RFC 3339 timestamp";
                vec![Problem::new("in_force", sentence)]
            }),
        }
    }

    fn write(&self) -> Json {
        match self {
            Self::Now => "true".into(),
            Self::NotNow => "false".into(),
            Self::At(time) => time.write(),
        }
    }
}

filter! {
    /// The conditions of a list of assignments; an assignment has to match all of them.
    #[derive(Debug, Clone, Default, PartialEq, Eq, IntoParams)]
    #[into_params(parameter_in = Query)]
    pub struct AssignmentFilter;

    /// The assignments of this principal, of whatever type.
    #[param(nullable = false)]
    principal_id as "principal_id": Option<Uuid>;

    /// The assignments of principals of this type.
    #[param(nullable = false, example = "service")]
    principal_type as "principal_type": Option<PrincipalType>;

    /// The assignments of this role.
    #[param(nullable = false)]
    role_id as "role_id": Option<Uuid>;

    /// The assignments on exactly this entity.
    #[param(nullable = false)]
    entity_id as "entity_id": Option<Uuid>;

    /// `true`: assignments in force now. `false`: assignments that have ended or have not begun. A time: assignments
    /// in force at that time. Each page of a list is compared with its own time.
    #[param(nullable = false, value_type = Option<String>, example = "true")]
    in_force as "in_force": Option<InForce>;
}

impl AssignmentFilter {
    /// Whether `assignment` matches every condition in a call at `now`.
    #[must_use]
    pub fn admits(&self, assignment: &Assignment, now: Timestamp) -> bool {
        let is_in_force =
            |time| assignment.effective_at <= time && assignment.expires_at.is_none_or(|expires_at| time < expires_at);
        self.principal_id.is_none_or(|principal| assignment.principal_id == principal)
            && self.principal_type.as_ref().is_none_or(|kind| assignment.principal_type == kind.as_str())
            && self.role_id.is_none_or(|role| assignment.role_id == role)
            && self.entity_id.is_none_or(|entity| assignment.entity_id == Some(entity))
            && self.in_force.is_none_or(|in_force| {
                let (time, expected) = in_force.at(now);
                is_in_force(time) == expected
            })
    }
}
