//! Registered principals: whom other systems know under an external id, with attributes and a status.
//!
//! Owns the fields of a principal, and which of them are personal. Must never know how a principal is stored or sent.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::assignment::{PrincipalType, default_principal_type};
use super::external_id::ExternalId;
use super::fields::{Fields, Invalid};
use super::input::declare::{filter, record, words};
use super::json::{Json, JsonObject};
use super::text::Text;
use super::time::Timestamp;

/// A principal's name for people: up to 255 characters.
pub type DisplayName = Text<0, 255>;

words! {
    /// Whether a principal may have access.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, ToSchema)]
    pub enum PrincipalStatus: "principal status" {
        /// Assignments decide.
        Active = "active",
        /// Every check is denied, whatever the assignments are.
        Suspended = "suspended",
    }
}

record! {
    /// A registered principal. `(type, id)` is its identity, and `(type, external_id)` is unique.
    ///
    /// Registration is optional: assignments and checks of other principals work without it.
    #[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
    pub struct Principal;
    /// A request to register a principal.
    #[derive(Debug, Clone, PartialEq, ToSchema)]
    #[serde(deny_unknown_fields)]
    pub struct NewPrincipal(new, id, now);
    patch {
        /// A change of a principal. An absent member keeps its value.
        #[derive(Debug, Clone, Default, PartialEq, ToSchema)]
        #[serde(deny_unknown_fields)]
        PrincipalPatch
    }

    /// The id of the principal, unique among principals of the same type.
    id as "id": Uuid {
        set new.id.unwrap_or(id);
        new
            /// The id under which assignments and checks name the principal; generated when absent.
            Option<Uuid> = optional;
    }

    /// The kind of principal, for example `user`. The same id with another type is another principal.
    #[schema(example = "user")]
    principal_type as "type": String {
        new
            /// The kind of principal, for example `service`; `user` when absent. It cannot be changed later.
            #[schema(required = false)]
            PrincipalType = default(default_principal_type());
    }

    /// The id of the principal in another system, unique among principals of the same type; `null` when none is known.
    #[schema(required, example = "auth0|5f7c8ec7c33c6c004bbafe82")]
    external_id as "external_id": Option<String> {
        new
            /// The id of the principal in another system, unique among principals of the same type; 1 to 1024 bytes of
            /// UTF-8, compared byte for byte.
            Option<ExternalId> = optional;
        patch
            /// The new external id; `null` removes it.
            #[schema(value_type = Option<ExternalId>)]
            Option<ExternalId> = given;
    }

    /// The name for people; `null` when none is known.
    #[schema(required, example = "Ada Lovelace")]
    display_name as "display_name": Option<String> {
        new
            /// The name for people; up to 255 characters.
            Option<DisplayName> = optional;
        patch
            /// The new name for people; `null` removes it.
            #[schema(value_type = Option<DisplayName>)]
            Option<DisplayName> = given;
    }

    /// Free-form facts about the principal, up to 64 levels deep, which conditions can read.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    attributes as "attributes": JsonObject {
        new
            /// Free-form facts about the principal, up to 64 levels deep; none when absent.
            #[schema(value_type = BTreeMap<String, serde_json::Value>, required = false)]
            JsonObject = default(JsonObject::new());
        patch
            /// The new attributes, which replace all present ones.
            #[schema(value_type = BTreeMap<String, serde_json::Value>, required = false)]
            JsonObject = given;
    }

    /// Whether the principal may have access: a suspended one is denied everything.
    status as "status": PrincipalStatus {
        new
            /// The status at registration; `active` when absent.
            #[schema(required = false)]
            PrincipalStatus = default(PrincipalStatus::Active);
        patch
            /// The new status: `suspended` denies everything until it is `active` again.
            #[schema(nullable = false)]
            PrincipalStatus = given;
    }

    /// The time of registration.
    created_at as "created_at": Timestamp { set now; }

    /// The time of the last change.
    updated_at as "updated_at": Timestamp { set now; }

    /// The time at which the personal fields were erased; `null` while they were not.
    #[schema(required)]
    erased_at as "erased_at": Option<Timestamp> { set None; }
}

/// The members of a principal that are about a person. They are in the ledger only sealed, and never in a log.
pub const PERSONAL_FIELDS: [&str; 3] = ["external_id", "display_name", "attributes"];

impl NewPrincipal {
    /// An active principal without personal fields, under an id that is generated.
    ///
    /// ```
    /// use epr_core::domain::NewPrincipal;
    ///
    /// let ada = NewPrincipal::new().known_as("auth0|17".parse()?).named("Ada Lovelace".parse()?);
    /// let robot = NewPrincipal::new().of_type("service".parse()?).with_id(uuid::Uuid::from_u128(1));
    /// assert_eq!((ada.principal_type.as_str(), robot.principal_type.as_str()), ("user", "service"));
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self {
            id: None,
            principal_type: default_principal_type(),
            external_id: None,
            display_name: None,
            attributes: JsonObject::new(),
            status: PrincipalStatus::Active,
        }
    }

    /// The same principal under an id of the caller's.
    #[must_use]
    pub fn with_id(self, id: Uuid) -> Self {
        Self { id: Some(id), ..self }
    }

    /// The same principal of another type than `user`.
    #[must_use]
    pub fn of_type(self, principal_type: PrincipalType) -> Self {
        Self { principal_type, ..self }
    }

    /// The same principal with the id under which another system knows it.
    #[must_use]
    pub fn known_as(self, external_id: ExternalId) -> Self {
        Self { external_id: Some(external_id), ..self }
    }

    /// The same principal with a name for people.
    #[must_use]
    pub fn named(self, display_name: DisplayName) -> Self {
        Self { display_name: Some(display_name), ..self }
    }

    /// Reads the body of a registration. An unknown member is an error.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        fields.only(Self::MEMBERS);
        let new = Self::read(&mut fields);
        fields.finish(new)
    }
}

impl Default for NewPrincipal {
    fn default() -> Self {
        Self::new()
    }
}

impl PrincipalPatch {
    /// Reads the body of a change. A member that is unknown or cannot be changed is an error.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        fields.only(Self::MEMBERS);
        let patch = Self::read(&mut fields);
        fields.finish(Some(patch))
    }

    /// Whether the change names a personal field, changed or not.
    #[must_use]
    pub fn is_personal(&self) -> bool {
        self.external_id.is_some() || self.display_name.is_some() || self.attributes.is_some()
    }
}

filter! {
    /// The conditions of a list of principals.
    #[derive(Debug, Clone, Default, PartialEq, Eq, IntoParams)]
    #[into_params(parameter_in = Query)]
    pub struct PrincipalFilter;

    /// Principals of this type.
    #[param(nullable = false)]
    principal_type as "type": Option<PrincipalType>;

    /// Principals of this status.
    #[param(nullable = false)]
    status as "status": Option<PrincipalStatus>;

    /// The principals that another system knows under this id: at most one of each type.
    #[param(nullable = false)]
    external_id as "external_id": Option<ExternalId>;
}

impl PrincipalFilter {
    /// Returns `true` if `principal` matches every condition.
    #[must_use]
    pub fn admits(&self, principal: &Principal) -> bool {
        self.principal_type.as_ref().is_none_or(|kind| principal.principal_type == kind.as_str())
            && self.status.is_none_or(|status| principal.status == status)
            && self.external_id.as_ref().is_none_or(|id| principal.external_id.as_deref() == Some(id.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_callers_or_is_generated() {
        let (own, generated) = (Uuid::from_u128(1), Uuid::from_u128(2));
        let now = Timestamp::parse("2026-01-31T09:30:00Z").unwrap();
        assert_eq!(NewPrincipal::new().with_id(own).into_record(generated, now).id, own);
        assert_eq!(NewPrincipal::new().into_record(generated, now).id, generated);
    }

    #[test]
    fn personal_fields_are_members_of_creation_and_change() {
        for field in PERSONAL_FIELDS {
            assert!(NewPrincipal::MEMBERS.contains(&field) && PrincipalPatch::MEMBERS.contains(&field), "{field}");
        }
        let patch = PrincipalPatch { status: Some(PrincipalStatus::Suspended), ..PrincipalPatch::default() };
        assert!(!patch.is_personal());
        assert!(PrincipalPatch { display_name: Some(None), ..patch }.is_personal());
    }
}
