//! A request to assign a role to a principal that is named by its id, or by the id that another system has for it.
//!
//! Owns the choice between the two names. Must never know how a principal is found or registered.

use std::borrow::Cow;

use utoipa::openapi::schema::{AdditionalProperties, OneOfBuilder, Schema};
use utoipa::openapi::{Ref, RefOr};
use utoipa::{PartialSchema, ToSchema};
use uuid::Uuid;

use super::external_id::ExternalId;
use super::fields::{Fields, Invalid, Problem};
use super::input::value::Value as _;
use super::{Json, JsonObject, NewAssignment};

/// A request to assign a role.
#[derive(Debug, Clone, PartialEq)]
pub enum AssignmentRequest {
    /// To the principal with the id that the assignment names, registered or not.
    ToId(NewAssignment),
    /// To the principal that another system knows under this external id. One that is unknown is registered, with the
    /// `principal_type` of the assignment, whose `principal_id` is ignored.
    ToExternalId(ExternalId, NewAssignment),
}

/// The member that names the principal by its external id.
const EXTERNAL: &str = "principal_external_id";
/// The member that names the principal by its id.
const ID: &str = "principal_id";

impl From<NewAssignment> for AssignmentRequest {
    fn from(new: NewAssignment) -> Self {
        Self::ToId(new)
    }
}

impl AssignmentRequest {
    /// Every member that a body may have.
    #[must_use]
    pub fn members() -> Vec<&'static str> {
        NewAssignment::MEMBERS.iter().copied().chain([EXTERNAL]).collect()
    }

    /// The assignment, whose `principal_id` is that of [`AssignmentRequest::ToId`] only.
    #[must_use]
    pub fn assignment(&self) -> &NewAssignment {
        match self {
            Self::ToId(new) | Self::ToExternalId(_, new) => new,
        }
    }

    /// Reads the body of an assignment: `read` reads it with `principal_id`, which `principal_external_id` can replace.
    ///
    /// # Errors
    /// Every failing field; both fields when both name the principal.
    pub fn from_body(body: &Json, read: impl FnOnce(&Json) -> Result<NewAssignment, Invalid>) -> Result<Self, Invalid> {
        let Json::Object(members) = body else { return read(body).map(Self::ToId) };
        if members.get(EXTERNAL).is_none_or(|value| *value == Json::Null) {
            let without: JsonObject = members.clone().into_iter().filter(|(name, _)| name != EXTERNAL).collect();
            return read(&without.into()).map(Self::ToId);
        }
        let mut fields = Fields::new("body", members);
        let external_id = fields.required(EXTERNAL, ExternalId::read);
        if members.get(ID).is_some_and(|value| *value != Json::Null) {
            for (name, other) in [(ID, EXTERNAL), (EXTERNAL, ID)] {
                let sentence = format!("Give either {ID} or {EXTERNAL}, and not also {other}");
                fields.report(name, Problem::new("value_error", sentence));
            }
        }
        let external_id = fields.finish(external_id);
        // The rest is read as if the principal were named by an id.
        let renamed = members.clone().into_iter().filter(|(name, _)| name != EXTERNAL && name != ID);
        let renamed: JsonObject = renamed.chain([(ID.to_owned(), Uuid::nil().into())]).collect();
        Invalid::both(external_id, read(&renamed.into())).map(|(id, new)| Self::ToExternalId(id, new))
    }

    /// The body of this request.
    #[must_use]
    pub fn to_body(&self) -> JsonObject {
        match self {
            Self::ToId(new) => new.to_body(),
            Self::ToExternalId(external_id, new) => {
                let rest = new.to_body().into_iter().filter(|(name, _)| name != ID);
                rest.chain([(EXTERNAL.to_owned(), external_id.write())]).collect()
            }
        }
    }
}

/// The name of the schema of a request by external id.
const BY_EXTERNAL_ID: &str = "NewAssignmentByExternalId";

/// One of two objects: with `principal_id`, or with `principal_external_id`.
impl PartialSchema for AssignmentRequest {
    fn schema() -> RefOr<Schema> {
        let by_id = Ref::from_schema_name(NewAssignment::name());
        OneOfBuilder::new().item(by_id).item(Ref::from_schema_name(BY_EXTERNAL_ID)).into()
    }
}

/// Both objects have names, which generators of clients use.
impl ToSchema for AssignmentRequest {
    fn name() -> Cow<'static, str> {
        "AssignmentRequest".into()
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((NewAssignment::name().into_owned(), NewAssignment::schema()));
        schemas.push((BY_EXTERNAL_ID.to_owned(), by_external_id_schema()));
        NewAssignment::schemas(schemas);
    }
}

fn by_external_id_schema() -> RefOr<Schema> {
    let mut schema = NewAssignment::schema();
    if let RefOr::T(Schema::Object(object)) = &mut schema {
        object.properties.remove(ID);
        let mut external_id = ExternalId::schema();
        if let RefOr::T(Schema::Object(text)) = &mut external_id {
            let about = "The id of the principal in another system: 1 to 1024 bytes of UTF-8. An unknown one registers \
                         a principal of the type `principal_type`.";
            text.description = Some(about.to_owned());
        }
        object.properties.insert(EXTERNAL.to_owned(), external_id);
        for required in object.required.iter_mut().filter(|name| *name == ID) {
            EXTERNAL.clone_into(required);
        }
        object.description = Some(
            "A request to assign a role to the principal that another system knows under an external id. An unknown \
             one is registered."
                .to_owned(),
        );
        object.additional_properties = Some(Box::new(AdditionalProperties::FreeForm(false)));
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Timestamp;

    const ROLE: &str = "01a20864-776d-7072-9b13-e0c12a727e9e";
    const USER: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11";

    fn read(text: &str) -> Result<AssignmentRequest, Vec<String>> {
        let now = Timestamp::parse("2026-01-31T09:30:00Z").unwrap();
        let body = Json::parse(text.as_bytes()).unwrap();
        let read = AssignmentRequest::from_body(&body, |body| NewAssignment::from_body(body, now, |_| Ok(())));
        read.map_err(|invalid| {
            let locations = invalid.0.iter().map(|error| serde_json::to_string(&error.loc).unwrap());
            locations.collect()
        })
    }

    #[test]
    fn exactly_one_name_of_the_principal_is_accepted() {
        let by_id = read(&format!(r#"{{"principal_id": "{USER}", "role_id": "{ROLE}"}}"#)).unwrap();
        assert!(matches!(by_id, AssignmentRequest::ToId(_)));
        let known = read(&format!(r#"{{"principal_external_id": "ada", "role_id": "{ROLE}"}}"#)).unwrap();
        let AssignmentRequest::ToExternalId(external_id, _) = &known else { panic!("{known:?}") };
        assert_eq!(external_id.as_str(), "ada");
        assert_eq!(
            read(&Json::Object(known.to_body()).to_string()).unwrap(),
            known,
            "the body reads as it was written"
        );

        let both = format!(r#"{{"principal_id": "{USER}", "principal_external_id": "ada", "role_id": "{ROLE}"}}"#);
        assert_eq!(read(&both).unwrap_err(), [r#"["body","principal_id"]"#, r#"["body","principal_external_id"]"#]);
        let neither = format!(r#"{{"role_id": "{ROLE}"}}"#);
        assert_eq!(read(&neither).unwrap_err(), [r#"["body","principal_id"]"#]);
        let all = r#"{"principal_external_id": "", "role_id": 7, "x": 1}"#;
        let mut failing = read(all).unwrap_err();
        failing.sort();
        assert_eq!(failing, [r#"["body","principal_external_id"]"#, r#"["body","role_id"]"#, r#"["body","x"]"#]);
    }
}
