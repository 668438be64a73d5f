//! Assignments: who holds which role, where, and from when to when.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::fields::{self, Fields, Invalid, Problem};
use super::json::Json;
use super::schema::AnyTime;
use super::text::Text;
use super::time::Timestamp;

/// The kind of principal (`user`, `service`, `group` …): an open label of 1 to 64 characters.
pub type PrincipalType = Text<1, 64>;

/// The label that counts when a caller names none: `user`.
#[must_use]
pub fn default_principal_type() -> PrincipalType {
    // Within the bounds by sight; the fallback is unreachable and would only be refused later.
    PrincipalType::new("user").unwrap_or_else(|_| unreachable!("`user` is within 1 to 64 characters"))
}

/// One grant of a role. `(principal_id, principal_type, role_id, entity_id)` is unique, no entity counting as equal
/// to no entity.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Assignment {
    /// Its id.
    pub id: Uuid,
    /// Who holds the role.
    pub principal_id: Uuid,
    /// What kind of principal that is; part of who it is.
    pub principal_type: String,
    /// The role held.
    pub role_id: Uuid,
    /// Where: on this entity and everything below it; everywhere when absent.
    #[schema(required)]
    pub entity_id: Option<Uuid>,
    /// In force from this moment, which counts as in.
    pub effective_at: Timestamp,
    /// In force until this moment, which counts as out; for ever when absent.
    #[schema(required)]
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// A request to assign a role.
#[derive(Debug, Clone, PartialEq, Eq, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAssignment {
    /// Who shall hold the role.
    pub principal_id: Uuid,
    /// The principal's type; `user` when absent.
    #[schema(required = false)]
    pub principal_type: PrincipalType,
    /// The role.
    pub role_id: Uuid,
    /// Where; everywhere when absent.
    pub entity_id: Option<Uuid>,
    /// From when; now when absent.
    #[schema(value_type = Option<AnyTime>)]
    pub effective_at: Option<Timestamp>,
    /// Until when; for ever when absent.
    #[schema(value_type = Option<AnyTime>)]
    pub expires_at: Option<Timestamp>,
}

impl NewAssignment {
    /// Every member that a body may have.
    pub const MEMBERS: &[&str] =
        &["principal_id", "principal_type", "role_id", "entity_id", "effective_at", "expires_at"];

    /// A role for a user, everywhere, from now on.
    #[must_use]
    pub fn new(principal_id: Uuid, role_id: Uuid) -> Self {
        Self {
            principal_id,
            principal_type: default_principal_type(),
            role_id,
            entity_id: None,
            effective_at: None,
            expires_at: None,
        }
    }

    /// The same, on one entity and what is below it.
    #[must_use]
    pub fn on(self, entity_id: Uuid) -> Self {
        Self { entity_id: Some(entity_id), ..self }
    }

    /// Reads the body of an assignment made at `now`. An unknown field is an error: `entity` for `entity_id` would grant everywhere.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json, now: Timestamp) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        fields.only(Self::MEMBERS);
        let principal_id = fields.required("principal_id", fields::uuid);
        let principal_type = fields.given("principal_type", fields::text).unwrap_or_else(default_principal_type);
        let role_id = fields.required("role_id", fields::uuid);
        let entity_id = fields.optional("entity_id", fields::uuid);
        let effective_at = fields.optional("effective_at", fields::timestamp);
        let expires_at = fields.optional("expires_at", fields::timestamp);
        if let Some(problem) = window_problem(effective_at.unwrap_or(now), expires_at) {
            fields.report("expires_at", problem);
        }
        let build = principal_id.zip(role_id).map(|(principal_id, role_id)| Self {
            principal_id,
            principal_type,
            role_id,
            entity_id,
            effective_at,
            expires_at,
        });
        fields.finish(build)
    }
}

/// What is wrong with a window that ends before or when it starts.
pub(crate) fn window_problem(effective_at: Timestamp, expires_at: Option<Timestamp>) -> Option<Problem> {
    expires_at
        .is_some_and(|end| end <= effective_at)
        .then(|| Problem::new("value_error", "expires_at should be after effective_at"))
}

/// Which assignments a list holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AssignmentFilter {
    /// Of this principal, whatever its type.
    #[param(nullable = false)]
    pub principal_id: Option<Uuid>,
    /// On exactly this entity.
    #[param(nullable = false)]
    pub entity_id: Option<Uuid>,
}
