//! The ledger entries of principals: personal fields are sealed under the key of the principal.
//!
//! Must never put a personal field into an entry unsealed. The names of the sealed fields are not personal.

use super::record::{Subject, changed, draft, literal};
use crate::Call;
use crate::domain::fields::Choice as _;
use crate::domain::json::object;
use crate::domain::principal::PERSONAL_FIELDS;
use crate::domain::{Json, JsonObject, Principal, Timestamp};
use crate::error::{Error, Result};
use crate::history::RowVersion;
use crate::ledger::chain::Draft;
use crate::seal::{PrincipalKey, SealError, SealedPlace, seal, split_personal};
use crate::store::StoreError;

/// The personal fields of a principal that have a value.
pub(super) fn personal_fields(principal: &Principal) -> JsonObject {
    let (_, personal) = split_personal(principal.details());
    let has_value = |value: &Json| !matches!(value, Json::Null) && *value != Json::Object(JsonObject::new());
    personal.into_iter().filter(|(_, value)| has_value(value)).collect()
}

/// Whether `members` contains a personal field.
pub(super) fn is_personal(members: &JsonObject) -> bool {
    PERSONAL_FIELDS.iter().any(|field| members.get(field).is_some())
}

/// `key` is `None` when the principal has no personal field.
pub(super) fn created(call: &Call, principal: &Principal, key: Option<&PrincipalKey>) -> Result<Draft> {
    let mut details = identity(principal);
    details.insert("status".to_owned(), principal.status.word().into());
    let personal = personal_fields(principal);
    entry(call, principal, ("principal.create", principal.created_at), details, (personal, key))
}

/// `key` is `None` when `changes` has no personal field.
pub(super) fn updated(
    call: &Call,
    after: &Principal,
    changes: JsonObject,
    key: Option<&PrincipalKey>,
) -> Result<Draft> {
    let (changes, personal) = split_personal(changes);
    let mut details = identity(after);
    details.insert("changes".to_owned(), changes.into());
    entry(call, after, ("principal.update", after.updated_at), details, (personal, key))
}

pub(super) fn erased(call: &Call, after: &Principal, revoked: usize) -> Result<Draft> {
    let mut details = identity(after);
    let revoked = Json::Int(i64::try_from(revoked).unwrap_or(i64::MAX));
    details.insert("assignments_revoked".to_owned(), revoked);
    entry(call, after, ("principal.erase", after.updated_at), details, (JsonObject::new(), None))
}

fn identity(principal: &Principal) -> JsonObject {
    object([("principal_id", principal.id.into()), ("principal_type", principal.principal_type.as_str().into())])
}

fn entry(
    call: &Call,
    principal: &Principal,
    (action, at): (&'static str, Timestamp),
    mut details: JsonObject,
    (personal, key): (JsonObject, Option<&PrincipalKey>),
) -> Result<Draft> {
    if let Some(key) = key.filter(|_| !personal.is_empty()) {
        let place = SealedPlace {
            action,
            occurred_at: at,
            principal_type: &principal.principal_type,
            principal_id: principal.id,
        };
        let names = personal.keys().map(|name| name.as_str().into()).collect();
        details.insert("sealed".to_owned(), seal(key, &place, &personal).map_err(unsealable)?.into());
        details.insert("sealed_fields".to_owned(), Json::List(names));
    }
    let subject = Subject { id: Some(principal.id), kind: Some(literal("principal")) };
    let version = match action {
        "principal.create" => RowVersion::created(principal.clone()),
        _ => changed(principal.clone()),
    };
    Ok(draft(call, at, action, subject, details)?.with_row(version))
}

pub(super) fn unsealable(error: SealError) -> Error {
    Error::Internal(StoreError::Backend(error.into()))
}
