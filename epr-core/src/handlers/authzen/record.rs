//! The ledger entries of evaluations.
//!
//! Owns their details, which are those of a check's entry. What has no id in the registry is in them as a hash: a
//! name of another system may be about a person, and nothing can be removed from the ledger.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::super::record::{self, Actor, Subject};
use super::request::Evaluation;
use super::search_request::{SearchRequest, Sought};
use crate::Call;
use crate::decision::{Evaluated, Properties, Reason};
use crate::domain::audit::Label;
use crate::domain::fields::Choice as _;
use crate::domain::json::object;
use crate::domain::{Json, JsonObject, Revision, Timestamp};
use crate::engine::cache::Basis;
use crate::error::Result;
use crate::ledger::chain::Draft;
use crate::settings::AuditContext;
use crate::store::{ExternalName, IdentifiedFacts};

/// Makes the entries of one call. Items that share a context share its hash.
pub(super) struct Recorder<'a> {
    call: &'a Call,
    audit_context: AuditContext,
    /// By the address of what is hashed, which lives as long as the call.
    hashes: HashMap<usize, String>,
}

/// A decision on one item of a call.
pub(super) struct DecidedItem<'a> {
    pub(super) evaluation: &'a Evaluation,
    /// What the caller states, if its word counts.
    pub(super) properties: Properties<'a>,
    pub(super) identified: &'a IdentifiedIds,
    pub(super) evaluated: &'a Evaluated,
    pub(super) basis: &'a Basis,
    pub(super) now: Timestamp,
    /// Whether the facts were read for an earlier call.
    pub(super) is_cached: bool,
}

/// The ids behind the names of an item.
pub(super) struct IdentifiedIds {
    pub(super) principal_id: Option<Uuid>,
    pub(super) resource_id: Option<Uuid>,
    pub(super) question: crate::decision::Question,
}

impl From<&IdentifiedFacts> for IdentifiedIds {
    fn from(facts: &IdentifiedFacts) -> Self {
        let IdentifiedFacts { principal_id, resource_id, question, .. } = facts;
        Self { principal_id: *principal_id, resource_id: *resource_id, question: question.clone() }
    }
}

impl<'a> Recorder<'a> {
    pub(super) fn new(call: &'a Call, audit_context: AuditContext) -> Self {
        Self { call, audit_context, hashes: HashMap::new() }
    }

    /// The entry of a decision.
    pub(super) fn draft(&mut self, item: &DecidedItem<'_>) -> Result<Draft> {
        let DecidedItem { evaluation, properties, identified, evaluated, basis, now, is_cached } = item;
        let decision = &evaluated.decision;
        let assignment = match decision.reason {
            Reason::Granted { assignment_id, .. } => Some(assignment_id),
            Reason::Denied(_) => None,
        };
        let mut details = object([
            ("principal_id", identified.principal_id.into()),
            ("principal_type", evaluation.subject.name.kind.as_str().into()),
            ("action", evaluation.action.name.as_str().into()),
            ("resource_id", identified.resource_id.into()),
            ("authorized", decision.allowed.into()),
            ("reason", decision.reason.code().into()),
            ("assignment_id", assignment.into()),
            ("revision", Json::Int(basis.read_at.decisive)),
        ]);
        if *is_cached {
            details.insert("cached".to_owned(), true.into());
        }
        if identified.principal_id.is_none() {
            details.extend([self.name("subject", &evaluation.subject.name)]);
        }
        if identified.resource_id.is_none() {
            details.extend([self.name("resource", &evaluation.resource.name)]);
        }
        if let Some(parameters) = &evaluated.parameters {
            details.extend(self.context(&evaluation.context, parameters));
            if !properties.is_empty() {
                details.extend([self.properties(*properties)]);
            }
        }
        let subject = Subject { id: identified.resource_id, kind: record::kind_of_resource(&basis.resource_type) };
        let actor = match identified.principal_id {
            Some(_) => record::asker(self.call, &identified.question),
            None => Actor::of(self.call),
        };
        let draft = record::draft_by(actor, self.call, *now, "authorization.evaluate", subject, details)?;
        Ok(draft.based_on(basis.read_at.decisive))
    }

    /// A name that has no id in the registry.
    fn name(&self, member: &str, name: &ExternalName) -> (String, Json) {
        let pair = Json::Object(object([("type", name.kind.as_str().into()), ("id", name.id.as_str().into())]));
        match self.audit_context {
            AuditContext::Hash => (format!("{member}_sha256"), record::sha256(&pair).into()),
            AuditContext::Values => (member.to_owned(), pair),
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

    fn properties(&mut self, properties: Properties<'_>) -> (String, Json) {
        let Properties { principal, resource, action } = properties;
        match self.audit_context {
            AuditContext::Values => {
                let all = [("subject", principal), ("resource", resource), ("action", action)];
                let all = all.map(|(name, members)| (name, Json::Object(members.clone())));
                ("properties".to_owned(), Json::Object(object(all)))
            }
            AuditContext::Hash => {
                // Hashes of the three, so that what items share is hashed once.
                let mut hash = |members: &JsonObject| {
                    let hash = self.hashes.entry(std::ptr::from_ref(members).addr());
                    hash.or_insert_with(|| record::sha256(&Json::Object(members.clone()))).clone()
                };
                let all = [("subject", principal), ("resource", resource), ("action", action)];
                let all = all.map(|(name, members)| (name, Json::Text(hash(members))));
                ("properties_sha256".to_owned(), Json::Object(object(all)))
            }
        }
    }
}

/// An answered page of a search.
pub(super) struct Searched<'a> {
    pub(super) request: &'a SearchRequest,
    /// The id behind the name of the subject; `None` when it has none, or is looked for.
    pub(super) principal_id: Option<Uuid>,
    /// The id behind the name of the resource; `None` when it has none, or is looked for.
    pub(super) resource_id: Option<Uuid>,
    /// What the caller states, if its word counts.
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
pub(super) fn searched(
    call: &Call,
    now: Timestamp,
    audit_context: AuditContext,
    search: &Searched<'_>,
) -> Result<Draft> {
    let Searched { request, principal_id, resource_id, properties, .. } = search;
    let mut recorder = Recorder::new(call, audit_context);
    let mut details = object([
        ("kind", request.sought.kind().word().into()),
        ("limit", Json::Int(search.limit.into())),
        ("count", Json::Int(i64::try_from(search.count).unwrap_or(i64::MAX))),
        ("complete", search.is_last.into()),
        ("continued", search.is_continued.into()),
        ("revision", search.revision.to_string().into()),
        ("context_sha256", record::sha256(&Json::Object(request.context.clone())).into()),
    ]);
    let (subject, action, resource) = match &request.sought {
        Sought::Subjects { kind, action, resource } => {
            details.insert("principal_type".to_owned(), kind.as_str().into());
            (None, Some(action), Some(resource))
        }
        Sought::Resources { subject, action, kind } => {
            details.insert("resource_type".to_owned(), kind.as_str().into());
            (Some(subject), Some(action), None)
        }
        Sought::Actions { subject, resource } => (Some(subject), None, Some(resource)),
    };
    if let Some(subject) = subject {
        details.insert("principal_id".to_owned(), (*principal_id).into());
        details.insert("principal_type".to_owned(), subject.name.kind.as_str().into());
        if principal_id.is_none() {
            details.extend([recorder.name("subject", &subject.name)]);
        }
    }
    if let Some(action) = action {
        details.insert("action".to_owned(), action.name.as_str().into());
    }
    if let Some(resource) = resource {
        details.insert("resource_id".to_owned(), (*resource_id).into());
        if resource_id.is_none() {
            details.extend([recorder.name("resource", &resource.name)]);
        }
    }
    if !properties.is_empty() {
        details.extend([recorder.properties(*properties)]);
    }
    let kind = resource.and_then(|resource| Label::new(resource.name.kind.as_str()).ok());
    let subject = Subject { id: *resource_id, kind };
    record::draft_by(Actor::of(call), call, now, "authorization.search", subject, details)
}
