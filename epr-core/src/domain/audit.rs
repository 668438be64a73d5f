//! What the ledger records: events on the way in, entries on the way out.

use serde::{Serialize, Serializer};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::fields::{self, Choice, Fields, Invalid};
use super::json::{Json, JsonObject};
use super::text::Text;
use super::time::Timestamp;

/// Who reports an event: up to 128 characters. The ledger's texts have upper bounds only, as in the contract: an older
/// ledger may hold empty ones.
pub type Source = Text<0, 128>;
/// What happened: up to 120 characters.
pub type LedgerAction = Text<0, 120>;
/// A label of a kind (of actor, of entity): up to 64 characters.
pub type Label = Text<0, 64>;
/// What ties events together: up to 120 characters.
pub type CorrelationId = Text<0, 120>;

/// The `source` of what EPR records about itself.
pub const OWN_SOURCE: &str = "entity_permissions_core";

/// Something that happened, to be recorded.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEvent {
    /// The idempotency key, if the reporter gave one.
    pub event_id: Option<Uuid>,
    /// Who reports it.
    pub source: Source,
    /// What happened.
    pub action: LedgerAction,
    /// Who did it.
    pub actor_id: Option<Uuid>,
    /// What kind of actor that is.
    pub actor_type: Label,
    /// What it was done to.
    pub entity_id: Option<Uuid>,
    /// What kind of thing that is.
    pub entity_type: Option<Label>,
    /// What ties it to other events.
    pub correlation_id: Option<CorrelationId>,
    /// Everything else.
    pub details: JsonObject,
    /// When it happened.
    pub occurred_at: Timestamp,
}

impl AuditEvent {
    /// Reads an event that another service reports, and whether it says when it happened; if not, that is `now`. `null`
    /// counts as absent, members that no event has are left alone.
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

/// Why a message did not become an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RejectionKind {
    /// It is no audit event.
    Invalid,
    /// Another event with the same id stands in the ledger.
    Conflict,
    /// The database took others, but not this one.
    Refused,
}

impl Choice for RejectionKind {
    const ALL: &'static [Self] = &[Self::Invalid, Self::Conflict, Self::Refused];

    fn word(self) -> &'static str {
        match self {
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Refused => "refused",
        }
    }
}

/// Most bytes of a rejected message's body that are kept.
pub const MAX_REJECTED_BODY_BYTES: usize = 64 * 1024;
/// Most characters of a reason that are kept, and of a message id.
const MAX_REASON_CHARS: usize = 1024;

/// A message that did not become an entry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Rejection {
    /// The queue's id of it.
    pub message_id: String,
    /// Why, for a program.
    pub kind: RejectionKind,
    /// Why, for a person.
    pub reason: String,
    /// The body, or its start.
    pub body: String,
    /// How long all of the body is.
    pub body_bytes: i64,
}

impl Rejection {
    /// Cuts everything to its bounds. U+0000, which PostgreSQL's text cannot hold, becomes U+FFFD.
    #[must_use]
    pub fn new(message_id: &str, kind: RejectionKind, reason: &str, body: &str) -> Self {
        let storable = |text: &str| text.replace('\0', "\u{fffd}");
        let cut = |text: &str| storable(text).chars().take(MAX_REASON_CHARS).collect();
        // Cut before and after: the body may be large, and what stands for a NUL is longer.
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

/// A rejection as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct KeptRejection {
    /// Its place in the list: later ones are higher.
    pub id: i64,
    /// What was rejected, as it was seen last.
    #[serde(flatten)]
    pub rejection: Rejection,
    /// How often the queue has delivered it.
    pub times_seen: i64,
    /// When it was seen first.
    pub first_seen_at: Timestamp,
    /// When it was seen last.
    pub last_seen_at: Timestamp,
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

/// `details` as the text that was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CanonicalDetails(pub String);

impl Serialize for CanonicalDetails {
    /// As the JSON it is, not as a string.
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        let raw: &serde_json::value::RawValue = serde_json::from_str(&self.0).map_err(serde::ser::Error::custom)?;
        raw.serialize(out)
    }
}

/// What a reader of the ledger asks for. Every condition given must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditFilter {
    /// Of this action.
    #[param(nullable = false, max_length = 512)]
    pub action: Option<String>,
    /// By this actor.
    #[param(nullable = false)]
    pub actor_id: Option<Uuid>,
    /// On this entity.
    #[param(nullable = false)]
    pub entity_id: Option<Uuid>,
    /// On this kind of entity.
    #[param(nullable = false, max_length = 512)]
    pub entity_type: Option<String>,
    /// Reported by this source.
    #[param(nullable = false, max_length = 512)]
    pub source: Option<String>,
    /// Tied together by this id.
    #[param(nullable = false, max_length = 512)]
    pub correlation_id: Option<String>,
    /// With this idempotency key.
    #[param(nullable = false)]
    pub event_id: Option<Uuid>,
    /// Not before this moment.
    #[param(nullable = false)]
    pub occurred_from: Option<Timestamp>,
    /// Not after this moment.
    #[param(nullable = false)]
    pub occurred_to: Option<Timestamp>,
    /// From this place on.
    #[param(nullable = false, minimum = 1)]
    pub from_sequence: Option<i64>,
    /// Up to and including this place.
    #[param(nullable = false, minimum = 1)]
    pub to_sequence: Option<i64>,
}

/// Which part of the ledger to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AuditPage {
    /// At most this many entries.
    pub limit: u32,
    /// Only entries after this place, in the order of reading.
    pub after: Option<i64>,
    /// Oldest first, instead of newest first.
    pub ascending: bool,
}
