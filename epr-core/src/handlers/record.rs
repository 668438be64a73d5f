//! The ledger entries of EPR's own actions, with the changes that they made.

use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::asked::Asked;
use super::former_checkpoint::FormerCheckpoint;
use crate::Call;
use crate::decision::{Evaluated, Explanation, Question, Reason, ResourceType};
use crate::domain::access::{ListKind, ListRequest};
use crate::domain::audit::{AuditSource, Label, LedgerAction, OWN_SOURCE};
use crate::domain::fields::{Choice as _, Problem};
use crate::domain::json::object;
use crate::domain::{
    Assignment, AuditEvent, Entity, EntityType, Incarnation, Json, JsonObject, PastMoment, Role, StatedReason,
    Timestamp,
};
use crate::engine::cache::Basis;
use crate::error::{Error, Result};
use crate::history::{RegistryRow, RowKey, RowVersion};
use crate::ledger::canonical;
use crate::ledger::chain::Draft;
use crate::settings::AuditContext;
use crate::store::{ForeignRows, FormerIncarnation};

/// The subject of an entry.
pub(super) struct Subject {
    pub(super) id: Option<Uuid>,
    pub(super) kind: Option<Label>,
}

/// The actor of an entry.
pub(super) struct Actor {
    id: Option<Uuid>,
    kind: Label,
}

impl Actor {
    /// The actor that the caller named, or else the caller itself.
    pub(super) fn of(call: &Call) -> Self {
        match (call.actor_id, &call.caller) {
            (None, Some(caller)) => Self { id: Some(caller.actor_id()), kind: literal(caller.actor_type()) },
            (id, _) => Self { id, kind: literal("user") },
        }
    }
}

/// The version of a row that had one before.
pub(super) fn changed(row: impl Into<RegistryRow>) -> RowVersion {
    row.into().into()
}

/// The entry of a change, with the reason that the caller states.
pub(super) fn draft(
    call: &Call,
    now: Timestamp,
    action: &'static str,
    subject: Subject,
    mut details: JsonObject,
) -> Result<Draft> {
    if let Some(reason) = &call.stated_reason {
        details.insert("stated_reason".to_owned(), reason.as_str().into());
    }
    draft_by(Actor::of(call), call, now, action, subject, details)
}

pub(super) fn draft_by(
    actor: Actor,
    call: &Call,
    now: Timestamp,
    action: &'static str,
    subject: Subject,
    mut details: JsonObject,
) -> Result<Draft> {
    if let Some(caller) = call.caller.as_ref().filter(|_| call.actor_id.is_none()) {
        details.insert("caller".to_owned(), caller.name().into());
    }
    let event = AuditEvent {
        event_id: None,
        source: literal::<AuditSource>(OWN_SOURCE),
        action: literal::<LedgerAction>(action),
        actor_id: actor.id,
        actor_type: actor.kind,
        entity_id: subject.id,
        entity_type: subject.kind,
        correlation_id: call.correlation_id.clone(),
        details,
        occurred_at: now,
    };
    // Only the caller's input can make details too large: an entity's attributes, or the texts of a role.
    let field = if action.starts_with("role.") { "permissions" } else { "attributes" };
    Draft::new(event).map_err(|error| Error::field(field, Problem::new("too_large", error.to_string())))
}

/// A word of this program; all of them are within the bounds.
pub(super) fn literal<T: TryFrom<&'static str>>(word: &'static str) -> T {
    T::try_from(word).unwrap_or_else(|_| unreachable!("`{word}` is within its bounds"))
}

/// The word of an entity type as the kind of a subject.
fn kind_of(entity_type: &EntityType) -> Label {
    Label::new(entity_type.word()).unwrap_or_else(|_| unreachable!("a type has at most 64 characters"))
}

/// The type of a resource as the kind of a subject; `None` for a type of another system that is too long.
pub(super) fn kind_of_resource(resource_type: &ResourceType) -> Option<Label> {
    Label::new(resource_type.word()).ok()
}

fn entity_draft(
    call: &Call,
    entity: &Entity,
    action: &'static str,
    at: Timestamp,
    details: JsonObject,
) -> Result<Draft> {
    let subject = Subject { id: Some(entity.id), kind: Some(kind_of(&entity.entity_type)) };
    draft(call, at, action, subject, details)
}

pub(super) fn entity_created(call: &Call, entity: &Entity) -> Result<Draft> {
    Ok(entity_draft(call, entity, "entity.create", entity.created_at, entity.details())?
        .with_row(RowVersion::created(entity.clone())))
}

pub(super) fn entity_updated(call: &Call, before: &Entity, after: &Entity) -> Result<Draft> {
    let details = object([("changes", after.changes_since(before).into())]);
    Ok(entity_draft(call, after, "entity.update", after.updated_at, details)?.with_row(changed(after.clone())))
}

/// Without a version of the row: when an update archives the entity, the entry before this one has it. Otherwise the
/// caller adds one.
pub(super) fn entity_archived(call: &Call, entity: &Entity) -> Result<Draft> {
    let details = object([("name", entity.name.as_str().into()), ("type", entity.entity_type.word().into())]);
    Ok(entity_draft(call, entity, "entity.archive", entity.updated_at, details)?.keeping_rows())
}

fn role_draft(call: &Call, role: &Role, action: &'static str, details: JsonObject) -> Result<Draft> {
    draft(call, role.updated_at, action, Subject { id: Some(role.id), kind: Some(literal("role")) }, details)
}

pub(super) fn role_created(call: &Call, role: &Role) -> Result<Draft> {
    let mut details = role.details();
    details.insert("role_id".to_owned(), role.id.into());
    Ok(role_draft(call, role, "role.create", details)?.with_row(RowVersion::created(role.clone())))
}

pub(super) fn role_updated(call: &Call, before: &Role, after: &Role) -> Result<Draft> {
    let changes = after.changes_since(before);
    let details =
        object([("role_id", after.id.into()), ("name", after.name.as_str().into()), ("changes", changes.into())]);
    Ok(role_draft(call, after, "role.update", details)?.with_row(changed(after.clone())))
}

/// `entity_type` is the type of the entity on which it is assigned; `None` for a global one.
fn assignment_draft(
    call: &Call,
    at: Timestamp,
    assignment: &Assignment,
    entity_type: Option<&EntityType>,
    action: &'static str,
) -> Result<Draft> {
    let mut details = assignment.details();
    details.insert("assignment_id".to_owned(), assignment.id.into());
    let subject = Subject { id: assignment.entity_id, kind: entity_type.map(kind_of) };
    draft(call, at, action, subject, details)
}

pub(super) fn assigned(call: &Call, assignment: &Assignment, entity_type: Option<&EntityType>) -> Result<Draft> {
    let draft = assignment_draft(call, assignment.created_at, assignment, entity_type, "role_assignment.create")?;
    Ok(draft.with_row(RowVersion::created(assignment.clone())))
}

pub(super) fn revoked(
    call: &Call,
    now: Timestamp,
    assignment: &Assignment,
    entity_type: Option<&EntityType>,
) -> Result<Draft> {
    let draft = assignment_draft(call, now, assignment, entity_type, "role_assignment.delete")?;
    Ok(draft.with_row(RowVersion::ended(RowKey::Assignment(assignment.id))))
}

pub(super) fn foreign_rows_set_aside(call: &Call, now: Timestamp, rows: &ForeignRows) -> Result<Draft> {
    let details = object([
        ("count", Json::Int(i64::try_from(rows.count).unwrap_or(i64::MAX))),
        ("sequences", rows.sequences.clone().into()),
        ("sha256", rows.sha256.as_str().into()),
    ]);
    draft(call, now, "ledger.set_aside", Subject { id: None, kind: None }, details)
}

/// The entry about a bundle of archived entries that were dropped.
#[cfg(feature = "proofs")]
pub(super) struct EntriesDropped<'a> {
    pub(super) first: i64,
    pub(super) last: i64,
    /// The hash of the last entry.
    pub(super) entry_hash: &'a str,
    /// The root of the tree up to the last entry.
    pub(super) root: &'a str,
    pub(super) archive: &'a str,
    pub(super) incarnation: Incarnation,
    /// The number of entries of the published checkpoint.
    pub(super) published: u64,
    pub(super) retention_days: u32,
}

#[cfg(feature = "proofs")]
pub(super) fn entries_dropped(call: &Call, now: Timestamp, dropped: &EntriesDropped<'_>) -> Result<Draft> {
    let details = object([
        ("archive", dropped.archive.into()),
        ("entry_hash", dropped.entry_hash.into()),
        ("first", Json::Int(dropped.first)),
        ("incarnation", dropped.incarnation.0.into()),
        ("last", Json::Int(dropped.last)),
        ("published", Json::Int(i64::try_from(dropped.published).unwrap_or(i64::MAX))),
        ("retention_days", Json::Int(i64::from(dropped.retention_days))),
        ("root", dropped.root.into()),
    ]);
    draft(call, now, "ledger.drop", Subject { id: None, kind: None }, details)
}

/// The entry that begins an incarnation of the ledger, with the head and the last checkpoint of the former one, if it
/// has one.
pub(super) fn reincarnated(
    call: &Call,
    now: Timestamp,
    incarnation: Incarnation,
    (former, checkpoint): (&FormerIncarnation, Option<&FormerCheckpoint>),
    why: &StatedReason,
) -> Result<Draft> {
    let head =
        object([("entry_hash", former.head.entry_hash.as_str().into()), ("sequence", Json::Int(former.head.sequence))]);
    let checkpoint = checkpoint.map(|checkpoint| {
        let FormerCheckpoint { origin, size, .. } = checkpoint;
        Json::Object(object([
            ("origin", origin.as_str().into()),
            ("root", checkpoint.root_text().into()),
            ("size", Json::Int(*size)),
        ]))
    });
    let details = object([
        ("former_checkpoint", checkpoint.unwrap_or(Json::Null)),
        ("former_head", Json::Object(head)),
        ("former_incarnation", former.incarnation.0.into()),
        ("incarnation", incarnation.0.into()),
        ("why", why.as_str().into()),
    ]);
    draft(call, now, "ledger.reincarnate", Subject { id: None, kind: None }, details)
}

/// The actor of a decision: the principal, unless the caller named another one.
pub(super) fn asker(call: &Call, question: &Question) -> Actor {
    match (call.actor_id, Label::new(question.principal_type.as_str())) {
        (None, Ok(kind)) => Actor { id: Some(question.principal_id), kind },
        _ => Actor::of(call),
    }
}

/// The entry of a decision made at `now` on facts of `basis`. `is_cached`: the facts were read for an earlier call.
pub(super) fn decided(
    asked: Asked<'_>,
    now: Timestamp,
    evaluated: &Evaluated,
    basis: &Basis,
    audit_context: AuditContext,
    is_cached: bool,
) -> Result<Draft> {
    let Asked { call, question, context } = asked;
    let mut details = decision_details(question, evaluated);
    details.insert("revision".to_owned(), Json::Int(basis.read_at.decisive));
    if is_cached {
        details.insert("cached".to_owned(), true.into());
    }
    if let Some(parameters) = &evaluated.parameters {
        details.extend(context_details(context, parameters, audit_context));
    }
    let subject = Subject { id: Some(question.resource_id), kind: kind_of_resource(&basis.resource_type) };
    Ok(draft_by(asker(call, question), call, now, "authorization.evaluate", subject, details)?
        .based_on(basis.read_at.decisive))
}

/// What a review was about, besides its question.
#[derive(Clone, Copy)]
pub(super) struct Reviewed<'a> {
    pub(super) past: PastMoment,
    pub(super) resource_type: &'a ResourceType,
}

/// The entry of a decision about the past, made at `now`.
pub(super) fn reviewed_check(
    asked: Asked<'_>,
    now: Timestamp,
    evaluated: &Evaluated,
    reviewed: Reviewed<'_>,
    audit_context: AuditContext,
) -> Result<Draft> {
    let Asked { call, question, context } = asked;
    let mut details = decision_details(question, evaluated);
    details.insert("kind".to_owned(), "check".into());
    details.insert("revision".to_owned(), reviewed.past.revision.to_string().into());
    details.insert("at".to_owned(), reviewed.past.at.to_string().into());
    if let Some(parameters) = &evaluated.parameters {
        details.extend(context_details(context, parameters, audit_context));
    }
    let subject = Subject { id: Some(question.resource_id), kind: kind_of_resource(reviewed.resource_type) };
    draft(call, now, REVIEW, subject, details)
}

/// The action of entries about past answers.
pub(super) const REVIEW: &str = "authorization.review";

/// The question and the outcome of a decision.
fn decision_details(question: &Question, evaluated: &Evaluated) -> JsonObject {
    let decision = &evaluated.decision;
    let assignment = match decision.reason {
        Reason::Granted { assignment_id, .. } => Some(assignment_id),
        Reason::Denied(_) => None,
    };
    object([
        ("principal_id", question.principal_id.into()),
        ("principal_type", question.principal_type.as_str().into()),
        ("action", question.action.as_str().into()),
        ("resource_id", question.resource_id.into()),
        ("authorized", decision.allowed.into()),
        ("reason", decision.reason.code().into()),
        ("assignment_id", assignment.into()),
    ])
}

/// The SHA-256 of the canonical text of a context, in hex.
fn context_sha256(context: &JsonObject) -> String {
    sha256(&Json::Object(context.clone()))
}

/// The SHA-256 of the canonical text of `json`, in hex.
pub(super) fn sha256(json: &Json) -> String {
    canonical::hex(&Sha256::digest(canonical::text_of(json)))
}

/// What the entry of a decision says about the context that its conditions looked at.
pub(super) fn context_details(
    context: &JsonObject,
    parameters: &BTreeSet<String>,
    audit_context: AuditContext,
) -> JsonObject {
    match audit_context {
        AuditContext::Hash => hashed_context_details(context_sha256(context), parameters),
        AuditContext::Values => {
            let seen = context.iter().filter(|(name, _)| parameters.contains(*name));
            let seen: JsonObject = seen.map(|(name, value)| (name.clone(), value.clone())).collect();
            object([("context", Json::Object(seen)), ("parameters", names(parameters))])
        }
    }
}

/// The same about a context with this hash.
pub(super) fn hashed_context_details(sha256: String, parameters: &BTreeSet<String>) -> JsonObject {
    object([("context_sha256", sha256.into()), ("parameters", names(parameters))])
}

fn names(parameters: &BTreeSet<String>) -> Json {
    Json::List(parameters.iter().map(|name| name.as_str().into()).collect())
}

/// The entry of an explanation given at `now`: ids and the outcome. The context is there as its hash, and no personal
/// field of the principal is.
pub(super) fn explained(asked: Asked<'_>, now: Timestamp, explanation: &Explanation) -> Result<Draft> {
    explanation_draft(asked, now, "authorization.explain", explanation)
}

/// The entry of an explanation about the past.
pub(super) fn reviewed_explanation(asked: Asked<'_>, now: Timestamp, explanation: &Explanation) -> Result<Draft> {
    explanation_draft(asked, now, REVIEW, explanation)
}

fn explanation_draft(
    asked: Asked<'_>,
    now: Timestamp,
    action: &'static str,
    explanation: &Explanation,
) -> Result<Draft> {
    let Asked { call, question, context } = asked;
    let applying = explanation.assignments.iter().filter(|assignment| assignment.applies);
    let mut details = object([
        ("principal_id", question.principal_id.into()),
        ("principal_type", question.principal_type.as_str().into()),
        ("action", question.action.as_str().into()),
        ("resource_id", question.resource_id.into()),
        ("decision", explanation.decision.into()),
        ("reason", explanation.reason.as_str().into()),
        ("at", explanation.at.to_string().into()),
        ("assignments", Json::Int(i64::try_from(explanation.assignments.len()).unwrap_or(i64::MAX))),
        ("applying", Json::Int(i64::try_from(applying.count()).unwrap_or(i64::MAX))),
        ("revision", explanation.revision.as_str().into()),
        ("context_sha256", context_sha256(context).into()),
    ]);
    let subject = Subject { id: Some(question.resource_id), kind: Some(kind_of(&explanation.resource.entity_type)) };
    if action == REVIEW {
        details.insert("kind".to_owned(), "explanation".into());
    }
    draft(call, now, action, subject, details)
}

/// What the entry of a page of a list says.
pub(super) struct Listing<'a> {
    pub(super) kind: ListKind,
    /// The members of the question.
    pub(super) question: JsonObject,
    pub(super) list: &'a ListRequest,
    /// The number of items.
    pub(super) count: usize,
    /// Whether the list ends with the page.
    pub(super) complete: bool,
    /// Whether the page is not the first one.
    pub(super) is_continued: bool,
    /// Whether the request names a moment.
    pub(super) is_past: bool,
    pub(super) revision: &'a str,
    pub(super) as_of: Timestamp,
    /// The entity that the list is about.
    pub(super) subject: Option<&'a (Uuid, EntityType)>,
}

/// The entry of a page of a list that was answered at `now`: the question and the numbers, not the items.
pub(super) fn listed(call: &Call, now: Timestamp, listing: Listing<'_>) -> Result<Draft> {
    let list = listing.list;
    let mut details = listing.question;
    details.extend(object([
        ("kind", listing.kind.word().into()),
        ("include", Json::List(list.include.iter().map(|one| one.word().into()).collect())),
        ("limit", Json::Int(list.limit.into())),
        ("count", Json::Int(i64::try_from(listing.count).unwrap_or(i64::MAX))),
        ("complete", listing.complete.into()),
        ("continued", listing.is_continued.into()),
        ("revision", listing.revision.into()),
        ("at", listing.as_of.to_string().into()),
        ("context_sha256", context_sha256(&list.context).into()),
    ]));
    let subject = match listing.subject {
        Some((id, kind)) => Subject { id: Some(*id), kind: Some(kind_of(kind)) },
        None => Subject { id: None, kind: None },
    };
    draft(call, now, if listing.is_past { REVIEW } else { "authorization.list" }, subject, details)
}
