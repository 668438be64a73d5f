//! The record of a principal: how it is read, written, and compared with the registry.
//!
//! A record changes only the members that it names. Must never blank a personal field because a record lacks it.

use epr_core::domain::assignment::{PrincipalType, default_principal_type};
use epr_core::domain::fields::{self, Choice as _, Fields, Problem};
use epr_core::domain::input::value::Value as _;
use epr_core::domain::json::object;
use epr_core::domain::principal::DisplayName;
use epr_core::domain::{
    BulkStep, ExternalId, Invalid, Json, JsonObject, NewPrincipal, Principal, PrincipalFilter, PrincipalPatch,
    PrincipalStatus, Text,
};
use serde_json::json;
use uuid::Uuid;

use crate::plan::{Change, NoPlan, Planned};
use crate::registry::Registry;
use crate::text::escaped;

const PRINCIPAL: [&str; 7] =
    ["kind", "principal_id", "principal_type", "external_id", "display_name", "attributes", "status"];

/// A principal of a file. At least one of `id` and `external_id` is there.
#[derive(Debug, Clone, PartialEq)]
pub struct PrincipalRecord {
    /// Its id.
    pub id: Option<Uuid>,
    /// Its type.
    pub principal_type: PrincipalType,
    /// Its external id.
    pub external_id: Option<ExternalId>,
    display_name: Option<DisplayName>,
    attributes: Option<JsonObject>,
    status: Option<PrincipalStatus>,
}

/// Reads a record. `null` is read as absent, and so are empty attributes.
///
/// # Errors
/// Every failing field.
pub fn read(mut fields: Fields<'_>) -> Result<PrincipalRecord, Invalid> {
    fields.only(&PRINCIPAL);
    let record = PrincipalRecord {
        id: fields.optional("principal_id", fields::uuid),
        principal_type: fields.optional("principal_type", fields::text).unwrap_or_else(default_principal_type),
        external_id: fields.optional("external_id", ExternalId::read),
        display_name: fields.optional("display_name", fields::text),
        attributes: fields.optional("attributes", JsonObject::read).filter(|attributes| !attributes.is_empty()),
        status: fields.optional("status", fields::choice),
    };
    if !fields.has("principal_id") && !fields.has("external_id") {
        fields.report("principal_id", Problem::new("missing", "give principal_id or external_id"));
    }
    fields.finish(Some(record))
}

/// The record of a principal of the registry.
#[must_use]
pub fn record(principal: &Principal) -> JsonObject {
    object([
        ("kind", "principal".into()),
        ("principal_id", principal.id.into()),
        ("principal_type", principal.principal_type.as_str().into()),
        ("external_id", principal.external_id.as_deref().into()),
        ("display_name", principal.display_name.as_deref().into()),
        ("attributes", Some(principal.attributes.clone()).filter(|attributes| !attributes.is_empty()).into()),
        ("status", principal.status.word().into()),
    ])
}

/// The plan for a principal.
///
/// A record ends a suspension only with `may_activate`: a file that was exported before the suspension must not undo
/// it.
///
/// # Errors
/// The record does not fit the registry, or the registry cannot be read.
pub async fn plan<R: Registry>(
    registry: &R,
    wanted: &PrincipalRecord,
    may_activate: bool,
) -> Result<Planned, NoPlan<R::Error>> {
    let kind = &wanted.principal_type;
    let existing = match (wanted.id, &wanted.external_id) {
        (Some(id), _) => registry.principal_if_any(kind, id).await?,
        (None, Some(external_id)) => known_as(registry, kind, external_id).await?,
        (None, None) => None,
    };
    let named = wanted.id.or(existing.as_ref().map(|found| found.id)).map(|id| id.to_string());
    let headline = format!("principal {} {}", escaped(kind.as_str()), named.unwrap_or_else(|| "with a new id".into()));
    let expects = existing.as_ref().map(|found| BulkStep::ExpectPrincipal(kind.clone(), found.id, found.updated_at));
    let planned = |change, step: Option<BulkStep>, lines: Vec<String>, values: Vec<String>| Planned {
        change,
        expects: expects.filter(|_| step.is_some()),
        step,
        entity_id: None,
        json: json!({"kind": "principal", "principal_id": wanted.id, "principal_type": kind, "changes": lines}),
        summary: (headline, lines),
        values,
    };
    let Some(existing) = existing else {
        let new = NewPrincipal {
            id: wanted.id,
            principal_type: kind.clone(),
            external_id: wanted.external_id.clone(),
            display_name: wanted.display_name.clone(),
            attributes: wanted.attributes.clone().unwrap_or_default(),
            status: wanted.status.unwrap_or(PrincipalStatus::Active),
        };
        let values = values(
            &object([
                ("external_id", new.external_id.as_ref().map(ExternalId::as_str).into()),
                ("display_name", new.display_name.as_ref().map(Text::as_str).into()),
                ("status", new.status.word().into()),
                ("attributes", Some(new.attributes.clone()).filter(|attributes| !attributes.is_empty()).into()),
            ]),
            None,
        );
        return Ok(planned(Change::Create, Some(BulkStep::CreatePrincipal(new)), Vec::new(), values));
    };
    let patch = wanted.changes(&existing);
    if patch == PrincipalPatch::default() {
        return Ok(planned(Change::Nothing, None, Vec::new(), Vec::new()));
    }
    if existing.erased_at.is_some() && patch.is_personal() {
        return Err(NoPlan::Unfit(format!(
            "principal_id: {} was erased here; remove its external_id, display_name and attributes from the file",
            existing.id
        )));
    }
    if patch.status == Some(PrincipalStatus::Active) && !may_activate {
        return Err(NoPlan::Unfit(format!(
            "status: {} is suspended here; let the import end suspensions, or remove the status from the file",
            existing.id
        )));
    }
    let change = |name: &String| match (name.as_str(), patch.status) {
        ("status", Some(status)) => format!("status: {} -> {}", existing.status.word(), status.word()),
        _ => format!("{name} changes"),
    };
    let body = patch.to_body();
    let lines = body.keys().map(change).collect();
    let values = values(&body, Some(&record(&existing)));
    Ok(planned(Change::Update, Some(BulkStep::UpdatePrincipal(kind.clone(), existing.id, patch)), lines, values))
}

/// The fields of `new` that are given, as JSON, each with its value before if there was one.
fn values(new: &JsonObject, old: Option<&JsonObject>) -> Vec<String> {
    let given = |value: &&Json| **value != Json::Null;
    let line = |(name, value): (&String, &Json)| match old.and_then(|old| old.get(name)).filter(given) {
        Some(old) => format!("{name}: {old} -> {value}"),
        None => format!("{name}: {value}"),
    };
    new.iter().filter(|(_, value)| given(value)).map(line).collect()
}

/// The principal of a type with this external id.
pub(crate) async fn known_as<R: Registry>(
    registry: &R,
    kind: &PrincipalType,
    external_id: &ExternalId,
) -> Result<Option<Principal>, R::Error> {
    let filter = PrincipalFilter {
        principal_type: Some(kind.clone()),
        external_id: Some(external_id.clone()),
        ..PrincipalFilter::default()
    };
    registry.principal_matching(&filter).await
}

impl PrincipalRecord {
    /// What the record names and `existing` has otherwise.
    fn changes(&self, existing: &Principal) -> PrincipalPatch {
        let (external_id, display_name) = (self.external_id.clone(), self.display_name.clone());
        PrincipalPatch {
            external_id: external_id
                .filter(|wanted| existing.external_id.as_deref() != Some(wanted.as_str()))
                .map(Some),
            display_name: display_name
                .filter(|wanted| existing.display_name.as_deref() != Some(wanted.as_str()))
                .map(Some),
            attributes: self.attributes.clone().filter(|wanted| *wanted != existing.attributes),
            status: self.status.filter(|wanted| *wanted != existing.status),
        }
    }
}
