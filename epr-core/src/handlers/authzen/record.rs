//! The ledger entries of evaluations.
//!
//! Owns their details, which are those of a check's entry. What has no id in the registry is in them as a hash under a
//! key, and so is everything that is stated about a subject: it may be about a person, and nothing can be removed from
//! the ledger.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::super::batch::{ItemDecision, NamedAsking};
use super::super::record::{self, Actor, Subject};
use super::search_request::{SearchQuestion, SearchRequest};
use crate::Call;
use crate::decision::{Properties, Reason};
use crate::domain::audit::Label;
use crate::domain::fields::Choice as _;
use crate::domain::json::object;
use crate::domain::{Json, JsonObject, Revision, Timestamp};
use crate::engine::name_hashes::NameKey;
use crate::error::Result;
use crate::ledger::chain::Draft;
use crate::settings::AuditContext;
use crate::store::ExternalName;

/// Makes the entries of one call. Items that share a context share its hash.
pub(in super::super) struct Recorder<'a> {
    call: &'a Call,
    audit_context: AuditContext,
    names: &'a NameKey,
    /// By the address of what is hashed, which lives as long as the call.
    hashes: HashMap<usize, String>,
}

impl<'a> Recorder<'a> {
    pub(in super::super) fn new(call: &'a Call, audit_context: AuditContext, names: &'a NameKey) -> Self {
        Self { call, audit_context, names, hashes: HashMap::new() }
    }

    /// The entry of a decision.
    pub(in super::super) fn draft(&mut self, asking: NamedAsking<'_>, decided: &ItemDecision) -> Result<Draft> {
        let (evaluation, properties) = (asking.evaluation, asking.properties());
        let ItemDecision { ids, evaluated, basis, now, .. } = decided;
        let decision = &evaluated.decision;
        let assignment = match decision.reason {
            Reason::Granted { assignment_id, .. } => Some(assignment_id),
            Reason::Denied(_) => None,
        };
        let mut details = object([
            ("principal_id", ids.principal_id.into()),
            ("principal_type", evaluation.subject.name.kind.as_str().into()),
            ("action", evaluation.action.name.as_str().into()),
            ("resource_id", ids.resource_id.into()),
            ("authorized", decision.allowed.into()),
            ("reason", decision.reason.code().into()),
            ("assignment_id", assignment.into()),
            ("revision", Json::Int(basis.read_at.decisive)),
        ]);
        if !decided.is_evaluated() {
            details.insert("cached".to_owned(), true.into());
        }
        if ids.principal_id.is_none() {
            details.extend([self.subject(&evaluation.subject.name)]);
        }
        if ids.resource_id.is_none() {
            details.extend([self.resource(&evaluation.resource.name)]);
        }
        if let Some(parameters) = &evaluated.parameters {
            details.extend(self.context(&evaluation.context, parameters));
            if !properties.is_empty() {
                details.extend(self.properties(properties));
            }
        }
        let subject = Subject { id: ids.resource_id, kind: record::kind_of_resource(&basis.resource_type) };
        let actor = match ids.principal_id {
            Some(_) => record::asker(self.call, &ids.question),
            None => Actor::of(self.call),
        };
        let draft = record::draft_by(actor, self.call, *now, "authorization.evaluate", subject, details)?;
        Ok(draft.based_on(basis.read_at.decisive))
    }

    /// The name of a subject that has no id in the registry. Only its hash, whatever the settings are.
    fn subject(&self, name: &ExternalName) -> (String, Json) {
        ("subject_hmac".to_owned(), self.names.hash(&pair(name)).into())
    }

    /// The name of a resource that has no id in the registry.
    fn resource(&self, name: &ExternalName) -> (String, Json) {
        match self.audit_context {
            AuditContext::Hash => ("resource_hmac".to_owned(), self.names.hash(&pair(name)).into()),
            AuditContext::Values => ("resource".to_owned(), pair(name)),
        }
    }

    fn context(&mut self, context: &Arc<JsonObject>, parameters: &BTreeSet<String>) -> JsonObject {
        match self.audit_context {
            AuditContext::Values => record::context_details(context, parameters, AuditContext::Values),
            AuditContext::Hash => {
                let hash = self
                    .hashes
                    .entry(Arc::as_ptr(context).addr())
                    .or_insert_with(|| record::sha256(&Json::Object(JsonObject::clone(context))));
                record::hashed_context_details(hash.clone(), parameters)
            }
        }
    }

    /// Stated properties. Those of a subject are there only as a hash, whatever the settings are.
    fn properties(&mut self, properties: Properties<'_>) -> JsonObject {
        let Properties { principal, resource, action } = properties;
        // Hashes of each, so that what items share is hashed once.
        let mut hash = |members: &JsonObject| {
            let hash = self.hashes.entry(std::ptr::from_ref(members).addr());
            Json::Text(hash.or_insert_with(|| self.names.hash(&Json::Object(members.clone()))).clone())
        };
        let value = |members: &JsonObject| Json::Object(members.clone());
        match self.audit_context {
            AuditContext::Values => object([
                ("properties", Json::Object(object([("action", value(action)), ("resource", value(resource))]))),
                ("properties_hmac", Json::Object(object([("subject", hash(principal))]))),
            ]),
            AuditContext::Hash => {
                let all = [("subject", principal), ("resource", resource), ("action", action)];
                object([("properties_hmac", Json::Object(object(all.map(|(name, members)| (name, hash(members))))))])
            }
        }
    }
}

fn pair(name: &ExternalName) -> Json {
    Json::Object(object([("type", name.kind.as_str().into()), ("id", name.id.as_str().into())]))
}

/// An answered page of a search.
pub(super) struct Searched<'a> {
    pub(super) request: &'a SearchRequest,
    /// The id behind the name of the subject; `None` when it has none, or is looked for.
    pub(super) principal_id: Option<Uuid>,
    /// The id behind the name of the resource; `None` when it has none, or is looked for.
    pub(super) resource_id: Option<Uuid>,
    /// What the caller states, if it may.
    pub(super) properties: Properties<'a>,
    pub(super) limit: u32,
    pub(super) count: usize,
    /// Whether it is not the first page.
    pub(super) is_continued: bool,
    /// Whether it is the last page.
    pub(super) is_last: bool,
    pub(super) revision: Revision,
}

/// The entry of a page of a search: the question by ids, and the outcome. What was found is not in it.
pub(super) fn searched(recorder: &mut Recorder<'_>, now: Timestamp, search: &Searched<'_>) -> Result<Draft> {
    let Searched { request, principal_id, resource_id, properties, .. } = search;
    let mut details = object([
        ("kind", request.question.kind().word().into()),
        ("limit", Json::Int(search.limit.into())),
        ("count", Json::Int(i64::try_from(search.count).unwrap_or(i64::MAX))),
        ("complete", search.is_last.into()),
        ("continued", search.is_continued.into()),
        ("revision", search.revision.to_string().into()),
        ("context_sha256", record::sha256(&Json::Object(request.context.clone())).into()),
    ]);
    let (subject, action, resource) = match &request.question {
        SearchQuestion::Subjects { subject_type, action, resource } => {
            details.insert("principal_type".to_owned(), subject_type.as_str().into());
            (None, Some(action), Some(resource))
        }
        SearchQuestion::Resources { subject, action, resource_type } => {
            details.insert("resource_type".to_owned(), resource_type.as_str().into());
            (Some(subject), Some(action), None)
        }
        SearchQuestion::Actions { subject, resource } => (Some(subject), None, Some(resource)),
    };
    if let Some(subject) = subject {
        details.insert("principal_id".to_owned(), (*principal_id).into());
        details.insert("principal_type".to_owned(), subject.name.kind.as_str().into());
        if principal_id.is_none() {
            details.extend([recorder.subject(&subject.name)]);
        }
    }
    if let Some(action) = action {
        details.insert("action".to_owned(), action.name.as_str().into());
    }
    if let Some(resource) = resource {
        details.insert("resource_id".to_owned(), (*resource_id).into());
        if resource_id.is_none() {
            details.extend([recorder.resource(&resource.name)]);
        }
    }
    if !properties.is_empty() {
        details.extend(recorder.properties(*properties));
    }
    let kind = resource.and_then(|resource| Label::new(resource.name.kind.as_str()).ok());
    let subject = Subject { id: *resource_id, kind };
    record::draft_by(Actor::of(recorder.call), recorder.call, now, "authorization.search", subject, details)
}
