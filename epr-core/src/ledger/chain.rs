//! Sealing events into entries: each takes its place and the hash of the one before it.

use uuid::Uuid;

use super::canonical::{self, Fields, MAX_DETAILS_BYTES};
use super::{GENESIS_HASH, HASH_VERSION, number};
use crate::domain::audit::OWN_SOURCE;
use crate::domain::json::{JsonFault, MAX_DEPTH};
use crate::domain::{AuditEvent, Json, Timestamp};

/// The end of the chain: where the next entry goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The place of the last entry; 0 when there is none.
    pub sequence: i64,
    /// Its hash; 64 zeros when there is none.
    pub entry_hash: String,
}

impl Head {
    /// The head of an empty ledger.
    #[must_use]
    pub fn genesis() -> Self {
        Self { sequence: 0, entry_hash: GENESIS_HASH.to_owned() }
    }
}

/// The hash of an entry, or the one it names, as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HexHash([u8; 64]);

impl HexHash {
    /// `text`, which is a hash of this chain.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut digits = [b'0'; 64];
        digits.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from);
        Self(digits)
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or(GENESIS_HASH)
    }
}

impl std::fmt::Debug for HexHash {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.as_str())
    }
}

/// An event with its place, ready to be stored.
#[derive(Debug, Clone)]
pub struct Sealed<'a> {
    /// What happened.
    pub event: &'a Draft,
    /// Its place.
    pub sequence: i64,
    /// The hash before.
    pub previous_hash: String,
    /// Its own hash.
    pub entry_hash: String,
}

/// An event whose `details` have been written in the canonical form and found to be within the bounds. Made before
/// the ledger is locked, so that nothing under the lock can be refused.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What happened; its `details` are in [`Draft::details`] only.
    event: AuditEvent,
    details: String,
    /// Whether its reporter said when it happened.
    dated: bool,
    /// The entry that last changed what decisions depend on, when this one records a decision.
    basis: Option<i64>,
}

/// Why an event's details cannot be kept exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetailsFault {
    /// Their canonical text is over the bound.
    #[error("the details take {0} bytes in their canonical form; at most {MAX_DETAILS_BYTES} are kept")]
    TooLarge(usize),
    /// They are too deep, or hold a number that is not finite.
    #[error(transparent)]
    Bounds(#[from] JsonFault),
}

/// Deeper than what a caller may send, because EPR puts that into details of its own.
const MAX_DETAILS_DEPTH: usize = MAX_DEPTH + 4;

impl Draft {
    /// Writes the details.
    ///
    /// # Errors
    /// They cannot be kept exactly.
    pub fn new(mut event: AuditEvent) -> Result<Self, DetailsFault> {
        let details = Json::Object(std::mem::take(&mut event.details));
        details.check(MAX_DETAILS_DEPTH)?;
        let details = canonical::text_of(&details);
        if details.len() > MAX_DETAILS_BYTES {
            return Err(DetailsFault::TooLarge(details.len()));
        }
        Ok(Self { event, details, dated: true, basis: None })
    }

    /// An event of an older ledger with the canonical text of its details, which was hashed. It has no bounds.
    #[must_use]
    pub fn recorded(event: AuditEvent, details: String) -> Self {
        Self { event, details, dated: true, basis: None }
    }

    /// The same event, whose reporter did not say when it happened: its time was taken from a clock on the way, and says
    /// nothing about whether a later one with the same key is the same.
    #[must_use]
    pub fn undated(self) -> Self {
        Self { dated: false, ..self }
    }

    /// The same event, which is true only while entry `revision` is the newest one that changed what decisions depend on. Once
    /// there is a newer one it is not appended.
    #[must_use]
    pub fn based_on(self, revision: i64) -> Self {
        Self { basis: Some(revision), ..self }
    }

    /// What [`Draft::based_on`] was given.
    #[must_use]
    pub fn basis(&self) -> Option<i64> {
        self.basis
    }

    /// Whether its entry changes what decisions depend on. The same list as in migration 0007, whose triggers remember the newest
    /// such entry.
    #[must_use]
    pub fn is_decisive(&self) -> bool {
        const DECISIVE: [&str; 4] =
            ["entity.update", "role.update", "role_assignment.create", "role_assignment.delete"];
        self.event.source.as_str() == OWN_SOURCE && DECISIVE.contains(&self.event.action.as_str())
    }

    /// Whether this is the event that was recorded at that place and time, under that hash.
    #[must_use]
    pub fn is_recorded_as(&self, sequence: i64, occurred_at: Timestamp, previous_hash: &str, entry_hash: &str) -> bool {
        let occurred_at = if self.dated { self.event.occurred_at } else { occurred_at };
        let as_recorded = |draft: &Self| draft.hash_at_time(sequence, occurred_at, previous_hash) == entry_hash;
        // The same event must not become a conflict because an earlier version recorded it.
        as_recorded(self) || self.with_former_numbers().is_some_and(|former| as_recorded(&former))
    }

    /// The same event with its numbers in the form of an earlier version, if that differs.
    #[must_use]
    pub fn with_former_numbers(&self) -> Option<Self> {
        number::former(&self.details).map(|details| Self { details, ..self.clone() })
    }

    /// The event, without its details.
    #[must_use]
    pub fn event(&self) -> &AuditEvent {
        &self.event
    }

    /// The canonical text of the details.
    #[must_use]
    pub fn details(&self) -> &str {
        &self.details
    }

    /// The hash that this event would have at that place.
    #[must_use]
    pub fn hash_at(&self, sequence: i64, previous_hash: &str) -> String {
        self.hash_at_time(sequence, self.event.occurred_at, previous_hash)
    }

    fn hash_at_time(&self, sequence: i64, occurred_at: Timestamp, previous_hash: &str) -> String {
        let mut canonical = String::with_capacity(512 + self.details.len());
        self.write_at_time(sequence, occurred_at, previous_hash, &mut canonical);
        canonical::entry_hash(previous_hash, &canonical)
    }

    /// Appends the text that is hashed when this event stands at that place.
    pub fn write_canonical(&self, sequence: i64, previous_hash: &str, out: &mut String) {
        self.write_at_time(sequence, self.event.occurred_at, previous_hash, out);
    }

    fn write_at_time(&self, sequence: i64, occurred_at: Timestamp, previous_hash: &str, out: &mut String) {
        let event = &self.event;
        let (actor, entity, key) = (
            event.actor_id.map(canonical::id_text),
            event.entity_id.map(canonical::id_text),
            event.event_id.map(canonical::id_text),
        );
        let fields = Fields {
            action: event.action.as_str(),
            actor_id: id_str(actor.as_ref()),
            actor_type: event.actor_type.as_str(),
            correlation_id: event.correlation_id.as_ref().map(crate::domain::Text::as_str),
            details: &self.details,
            entity_id: id_str(entity.as_ref()),
            entity_type: event.entity_type.as_ref().map(crate::domain::Text::as_str),
            event_id: id_str(key.as_ref()),
            hash_version: HASH_VERSION,
            occurred_at,
            previous_hash,
            sequence,
            source: event.source.as_str(),
        };
        fields.write(out);
    }

    /// The idempotency key.
    #[must_use]
    pub fn event_id(&self) -> Option<Uuid> {
        self.event.event_id
    }
}

fn id_str(id: Option<&[u8; uuid::fmt::Hyphenated::LENGTH]>) -> Option<&str> {
    id.and_then(|bytes| std::str::from_utf8(bytes).ok())
}

/// Chains `drafts` behind `head` and moves it.
pub fn seal<'a>(head: &mut Head, drafts: impl IntoIterator<Item = &'a Draft>) -> Vec<Sealed<'a>> {
    drafts
        .into_iter()
        .map(|event| {
            // At the last place there is, the database refuses a second entry.
            let sequence = head.sequence.saturating_add(1);
            let entry_hash = event.hash_at(sequence, &head.entry_hash);
            let previous_hash = std::mem::replace(&mut head.entry_hash, entry_hash.clone());
            head.sequence = sequence;
            Sealed { event, sequence, previous_hash, entry_hash }
        })
        .collect()
}
