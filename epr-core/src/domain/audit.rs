//! What the ledger records: events on the way in, entries on the way out.

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::json::JsonObject;
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

/// An entry of the ledger, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Its place: 1, 2, 3 … without a gap.
    pub sequence: i64,
    /// The hash of the entry before it; 64 zeros for the first.
    pub previous_hash: String,
    /// Its hash.
    pub entry_hash: String,
    /// How the hash is made; 1.
    pub hash_version: i32,
    /// The idempotency key.
    pub event_id: Option<Uuid>,
    /// Who reported it.
    pub source: String,
    /// What happened.
    pub action: String,
    /// Who did it.
    pub actor_id: Option<Uuid>,
    /// What kind of actor that is.
    pub actor_type: String,
    /// What it was done to.
    pub entity_id: Option<Uuid>,
    /// What kind of thing that is.
    pub entity_type: Option<String>,
    /// What ties it to other events.
    pub correlation_id: Option<String>,
    /// Everything else.
    pub details: CanonicalDetails,
    /// When it happened.
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
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Of this action.
    pub action: Option<String>,
    /// By this actor.
    pub actor_id: Option<Uuid>,
    /// On this entity.
    pub entity_id: Option<Uuid>,
    /// On this kind of entity.
    pub entity_type: Option<String>,
    /// Reported by this source.
    pub source: Option<String>,
    /// Tied together by this id.
    pub correlation_id: Option<String>,
    /// With this idempotency key.
    pub event_id: Option<Uuid>,
    /// Not before this moment.
    pub occurred_from: Option<Timestamp>,
    /// Not after this moment.
    pub occurred_to: Option<Timestamp>,
    /// From this place on.
    pub from_sequence: Option<i64>,
    /// Up to and including this place.
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
