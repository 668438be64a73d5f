//! Reads the bodies of lists of access, and their canonical form, which a page token is bound to.

use sha2::{Digest as _, Sha256};

use super::token::RequestHash;
use crate::domain::access::{
    ActionsRequest, DEFAULT_LIMIT, Include, ListForm, ListKind, ListRequest, MAX_LIMIT, MAX_TOKEN_CHARS,
    PrincipalsRequest, ResourcesRequest,
};
use crate::domain::assignment::default_principal_type;
use crate::domain::fields::{self, Choice as _, Fields, Problem, Reading};
use crate::domain::input::value::Value as _;
use crate::domain::json::object;
use crate::domain::{EntityType, EntityTypes, Invalid, Json, JsonObject, moment};
use crate::handlers::question_body;
use crate::ledger::canonical;

/// A request for a list of access.
pub(crate) trait AccessRequest {
    /// The list.
    const KIND: ListKind;

    /// What every list takes.
    fn list(&self) -> &ListRequest;

    /// The members of the question, for the ledger and for the token.
    fn members(&self) -> JsonObject;

    /// The hash of everything but the token.
    fn hash(&self) -> RequestHash {
        let ListRequest { context, limit, next: _, at, revision, explain, include } = self.list();
        let whole = object([
            ("kind", Self::KIND.word().into()),
            ("question", Json::Object(self.members())),
            ("context", Json::Object(context.clone())),
            ("limit", Json::Int((*limit).into())),
            ("at", at.map(|at| at.to_string()).into()),
            ("revision", revision.map(|revision| revision.to_string()).into()),
            ("explain", (*explain).into()),
            ("include", words(include)),
        ]);
        Sha256::digest(canonical::text_of(&Json::Object(whole))).into()
    }
}

/// The words of `include`.
pub(super) fn words(include: &[Include]) -> Json {
    Json::List(include.iter().map(|one| one.word().into()).collect())
}

impl AccessRequest for PrincipalsRequest {
    const KIND: ListKind = ListKind::Principals;

    fn list(&self) -> &ListRequest {
        &self.list
    }

    fn members(&self) -> JsonObject {
        object([
            ("action", self.action.as_str().into()),
            ("resource_id", self.resource_id.into()),
            ("principal_type", self.principal_type.as_ref().map(|kind| kind.as_str().to_owned()).into()),
        ])
    }
}

impl AccessRequest for ResourcesRequest {
    const KIND: ListKind = ListKind::Resources;

    fn list(&self) -> &ListRequest {
        &self.list
    }

    fn members(&self) -> JsonObject {
        object([
            ("principal_id", self.principal_id.into()),
            ("principal_type", self.principal_type.as_str().into()),
            ("action", self.action.as_str().into()),
            ("resource_type", self.resource_type.as_ref().map(|one| one.word().to_owned()).into()),
            ("within", self.within.into()),
            ("form", self.form.word().into()),
        ])
    }
}

impl AccessRequest for ActionsRequest {
    const KIND: ListKind = ListKind::Actions;

    fn list(&self) -> &ListRequest {
        &self.list
    }

    fn members(&self) -> JsonObject {
        object([
            ("principal_id", self.principal_id.into()),
            ("principal_type", self.principal_type.as_str().into()),
            ("resource_id", self.resource_id.into()),
        ])
    }
}

impl PrincipalsRequest {
    /// Reads the body. Unknown members are ignored, as in checks.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let action = fields.required("action", fields::text);
        let resource_id = fields.required("resource_id", fields::uuid);
        let principal_type = fields.optional("principal_type", fields::text);
        let list = list(&mut fields);
        let read = action.zip(resource_id);
        fields.finish(read.map(|(action, resource_id)| Self { action, resource_id, principal_type, list }))
    }
}

impl ResourcesRequest {
    /// Reads the body of a request to a service that accepts the entity types `types`. Unknown members are ignored, as
    /// in checks.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json, types: &EntityTypes) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let principal_id = fields.required("principal_id", fields::uuid);
        let principal_type = fields.given("principal_type", fields::text).unwrap_or_else(default_principal_type);
        let action = fields.required("action", fields::text);
        let resource_type = fields.optional("resource_type", |value| EntityType::read_for(value, types));
        let within = fields.optional("within", fields::uuid);
        let form = fields.given("form", fields::choice::<ListForm>).unwrap_or_default();
        let list = list(&mut fields);
        let read = principal_id.zip(action);
        fields.finish(read.map(|(principal_id, action)| Self {
            principal_id,
            principal_type,
            action,
            resource_type,
            within,
            form,
            list,
        }))
    }
}

impl ActionsRequest {
    /// Reads the body. Unknown members are ignored, as in checks.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let principal_id = fields.required("principal_id", fields::uuid);
        let principal_type = fields.given("principal_type", fields::text).unwrap_or_else(default_principal_type);
        let resource_id = fields.required("resource_id", fields::uuid);
        let list = list(&mut fields);
        let read = principal_id.zip(resource_id);
        fields.finish(read.map(|(principal_id, resource_id)| Self { principal_id, principal_type, resource_id, list }))
    }
}

/// Reads what every list takes.
fn list(fields: &mut Fields<'_>) -> ListRequest {
    let limit = fields.given("limit", fields::whole_number(1, MAX_LIMIT.into()));
    let mut include = fields.optional("include", fields::list(fields::choice::<Include>)).unwrap_or_default();
    include.sort_unstable();
    include.dedup();
    ListRequest {
        context: fields.optional("context", question_body::context).unwrap_or_default(),
        limit: limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(DEFAULT_LIMIT),
        next: fields.optional("next", token),
        at: fields.optional("at", fields::timestamp),
        revision: fields.optional("revision", moment::revision),
        explain: fields.given("explain", fields::boolean).unwrap_or(true),
        include,
    }
}

fn token(value: &Json) -> Reading<String> {
    let text = value.as_text().ok_or_else(|| vec![Problem::new("string_type", "Input should be a valid string")])?;
    if text.is_empty() || text.len() > MAX_TOKEN_CHARS {
        return Err(vec![Problem::new("page_token", super::token::TokenError::NotAuthentic.to_string())]);
    }
    Ok(text.to_owned())
}
