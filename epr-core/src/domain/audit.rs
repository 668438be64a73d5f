//! The ledger's data: audit events before they are recorded, entries after.
//!
//! Owns their fields and the reader of an event. Must never hash or store an entry.

use serde::{Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::fields::{self, Fields, Invalid};
use super::input::declare::{filter, words};
use super::json::{Json, JsonObject};
use super::text::Text;
use super::time::Timestamp;

/// The source of an event: up to 128 characters. The ledger's texts have upper bounds only, as in the contract: an
/// older ledger can contain empty ones.
pub type AuditSource = Text<0, 128>;
/// The action that an entry records, such as `role.create`: up to 120 characters.
pub type LedgerAction = Text<0, 120>;
/// The type of an actor or an entity: up to 64 characters.
pub type Label = Text<0, 64>;
/// The id that correlates entries: up to 120 characters.
pub type CorrelationId = Text<0, 120>;

/// The `source` of the entries about EPR's own changes and decisions.
pub const OWN_SOURCE: &str = "entity_permissions_core";

/// An event to be recorded in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// The idempotency key, if the source gave one.
    pub event_id: Option<Uuid>,
    /// The service that reports the event.
    pub source: AuditSource,
    /// The action, for example `role.create`.
    pub action: LedgerAction,
    /// The id of the actor.
    pub actor_id: Option<Uuid>,
    /// The type of the actor, for example `user`.
    pub actor_type: Label,
    /// The id of the entity that the event is about.
    pub entity_id: Option<Uuid>,
    /// The type of that entity.
    pub entity_type: Option<Label>,
    /// The id that correlates the event with others.
    pub correlation_id: Option<CorrelationId>,
    /// Further facts about the event.
    pub details: JsonObject,
    /// The time at which the event happened.
    pub occurred_at: Timestamp,
}

impl AuditEvent {
    /// Reads an event from another service, and whether it has a time; without one, `now` is used. `null` is the same
    /// as absent, and unknown members are ignored.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(mut body: Json, now: Timestamp) -> Result<(Self, bool), Invalid> {
        // Taken out rather than copied: it is most of the event.
        let details = match &mut body {
            Json::Object(members) => match members.get_mut("details") {
                Some(Json::Object(details)) => std::mem::take(details),
                _ => JsonObject::new(),
            },
            _ => JsonObject::new(),
        };
        let mut fields = Fields::of_body(&body)?;
        let source = fields.required("source", fields::text);
        let action = fields.required("action", fields::text);
        let event_id = fields.optional("event_id", fields::uuid);
        let actor_id = fields.optional("actor_id", fields::uuid);
        let actor_type = fields.optional("actor_type", fields::text);
        let entity_id = fields.optional("entity_id", fields::uuid);
        let entity_type = fields.optional("entity_type", fields::text);
        let correlation_id = fields.optional("correlation_id", fields::text);
        fields.optional("details", fields::object);
        let occurred_at = fields.optional("occurred_at", fields::timestamp);
        let build = source.zip(action).zip(Label::new("user").ok()).map(|((source, action), user)| Self {
            event_id,
            source,
            action,
            actor_id,
            actor_type: actor_type.unwrap_or(user),
            entity_id,
            entity_type,
            correlation_id,
            details,
            occurred_at: occurred_at.unwrap_or(now),
        });
        fields.finish(build).map(|event| (event, occurred_at.is_some()))
    }
}

words! {
    /// The reason for which a message did not become a ledger entry.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
    pub enum RejectionKind: "kind of rejection" {
        /// The message is not an audit event.
        Invalid = "invalid",
        /// The ledger has another event with the same id.
        Conflict = "conflict",
        /// The database accepted other entries, but not this one.
        Refused = "refused",
    }
}

/// The number of bytes of a rejected message's body that are kept.
pub const MAX_REJECTED_BODY_BYTES: usize = 64 * 1024;
/// The number of characters of a reason and of a message id that are kept.
const MAX_REASON_CHARS: usize = 1024;

/// A message that did not become a ledger entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The queue's id of the message.
    pub message_id: String,
    /// The reason, for a program.
    pub kind: RejectionKind,
    /// The reason, for a person.
    pub reason: String,
    /// The body, cut at [`MAX_REJECTED_BODY_BYTES`].
    pub body: String,
    /// The length of the whole body in bytes.
    pub body_bytes: i64,
}

impl Rejection {
    /// Cuts everything to its bounds. U+0000, which PostgreSQL's text cannot hold, becomes U+FFFD.
    #[must_use]
    pub fn new(message_id: &str, kind: RejectionKind, reason: &str, body: &str) -> Self {
        let storable = |text: &str| text.replace('\0', "\u{fffd}");
        let cut = |text: &str| storable(text).chars().take(MAX_REASON_CHARS).collect();
        // Cut before and after: the body may be large, and the replacement of a NUL is longer.
        let start = |text: &str| text.get(..text.floor_char_boundary(MAX_REJECTED_BODY_BYTES)).map(str::to_owned);
        let start = start(body).map(|text| storable(&text)).and_then(|text| start(&text)).unwrap_or_default();
        Self {
            message_id: cut(message_id),
            kind,
            reason: cut(reason),
            body: start,
            body_bytes: i64::try_from(body.len()).unwrap_or(i64::MAX),
        }
    }
}

/// A stored rejection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptRejection {
    /// The position in the list of rejections: later ones have higher numbers.
    pub id: i64,
    /// The rejected message, as the last delivery had it.
    #[serde(flatten)]
    pub rejection: Rejection,
    /// The number of deliveries by the queue.
    pub times_seen: i64,
    /// The time of the first delivery.
    pub first_seen_at: Timestamp,
    /// The time of the last delivery.
    pub last_seen_at: Timestamp,
}

/// When the ledger was verified last, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastVerification {
    /// When the verification ended.
    pub verified_at: Timestamp,
    /// The first entry that it read.
    pub first_sequence: i64,
    /// The last entry that it read.
    pub last_sequence: i64,
    /// What it found first; `None` when the chain holds.
    pub finding: Option<String>,
}

/// An entry of the ledger.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct AuditEntry {
    /// The position in the ledger: 1, 2, 3 … without a gap.
    #[schema(example = 17, minimum = 1)]
    pub sequence: i64,
    /// The hash of the previous entry; 64 zeros for the first entry.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub previous_hash: String,
    /// The hash of this entry, which includes `previous_hash`.
    #[schema(pattern = "^[0-9a-f]{64}$")]
    pub entry_hash: String,
    /// The version of the hash: 1.
    pub hash_version: i32,
    /// The idempotency key, if the entry has one.
    #[schema(required)]
    pub event_id: Option<Uuid>,
    /// The service that reported the entry.
    #[schema(example = "entity_permissions_core")]
    pub source: String,
    /// The action.
    #[schema(example = "entity.create")]
    pub action: String,
    /// The actor, if known.
    #[schema(required)]
    pub actor_id: Option<Uuid>,
    /// The type of the actor.
    #[schema(example = "user")]
    pub actor_type: String,
    /// The entity on which the action was performed.
    #[schema(required)]
    pub entity_id: Option<Uuid>,
    /// The type of that entity.
    #[schema(required)]
    pub entity_type: Option<String>,
    /// An id that links the entry to others, for example the request id.
    #[schema(required)]
    pub correlation_id: Option<String>,
    /// Further facts about the action.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub details: CanonicalDetails,
    /// The time of the action.
    pub occurred_at: Timestamp,
}

/// The canonical JSON text of `details`, which is the text that was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalDetails(pub String);

impl Serialize for CanonicalDetails {
    /// Writes the JSON value, not a string.
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(out)
    }
}

filter! {
    /// The conditions of a list of ledger entries; an entry has to match all of them.
    #[derive(Debug, Clone, Default, PartialEq, Eq, IntoParams)]
    #[into_params(parameter_in = Query)]
    pub struct AuditFilter;

    /// Entries with this action, for example `role.create`.
    #[param(nullable = false, max_length = 512)]
    action as "action": Option<String> = by fields::filter_text;

    /// Entries about what this actor did.
    #[param(nullable = false)]
    actor_id as "actor_id": Option<Uuid>;

    /// Entries about this principal, of whatever type: everything that it did as the actor, which includes its own
    /// checks, and every change of its registration and its assignments.
    #[param(nullable = false)]
    principal_id as "principal_id": Option<Uuid>;

    /// The grant and the revocation of this assignment.
    #[param(nullable = false)]
    assignment_id as "assignment_id": Option<Uuid>;

    /// Entries about this entity.
    #[param(nullable = false)]
    entity_id as "entity_id": Option<Uuid>;

    /// Entries about this type of entity.
    #[param(nullable = false, max_length = 512)]
    entity_type as "entity_type": Option<String> = by fields::filter_text;

    /// Entries reported by this source.
    #[param(nullable = false, max_length = 512)]
    source as "source": Option<String> = by fields::filter_text;

    /// Entries with this correlation id.
    #[param(nullable = false, max_length = 512)]
    correlation_id as "correlation_id": Option<String> = by fields::filter_text;

    /// The entry with this event id.
    #[param(nullable = false)]
    event_id as "event_id": Option<Uuid>;

    /// Entries of events at or after this time.
    #[param(nullable = false)]
    occurred_from as "occurred_from": Option<Timestamp>;

    /// Entries of events at or before this time.
    #[param(nullable = false)]
    occurred_to as "occurred_to": Option<Timestamp>;

    /// Entries from this sequence on.
    #[param(nullable = false, minimum = 1)]
    from_sequence as "from_sequence": Option<i64> = by fields::sequence;

    /// Entries up to and including this sequence.
    #[param(nullable = false, minimum = 1)]
    to_sequence as "to_sequence": Option<i64> = by fields::sequence;
}

/// A page of the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPage {
    /// The largest number of entries.
    pub limit: u32,
    /// The sequence after which the page starts, in the order of reading.
    pub after: Option<i64>,
    /// Whether the order is by ascending sequence; otherwise it is descending.
    pub ascending: bool,
}

/// Entries that a restore lost: a checkpoint of the former incarnation covers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct LostEntries {
    /// The entry that says so, which begins the incarnation after the restore.
    pub sequence: i64,
    /// The first lost sequence of the former incarnation.
    pub first: i64,
    /// The last lost sequence of the former incarnation.
    pub last: i64,
}
