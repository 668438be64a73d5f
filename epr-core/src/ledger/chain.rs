//! Chains events to entries: each gets the next sequence and the hash of the previous entry.
//!
//! Owns drafts, heads and hashes. Must never store an entry or take the ledger's lock.

use uuid::Uuid;

use super::canonical::{self, Fields, MAX_DETAILS_BYTES};
use super::{GENESIS_HASH, HASH_VERSION, number};
use crate::domain::audit::OWN_SOURCE;
use crate::domain::json::{JsonError, MAX_DEPTH};
use crate::domain::{AuditEvent, Json, Timestamp};
use crate::history::row::{RowVersion, is_row_action};

/// The head of the chain, after which the next entry is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The sequence of the last entry; 0 when the ledger is empty.
    pub sequence: i64,
    /// The hash of the last entry; 64 zeros when the ledger is empty.
    pub entry_hash: String,
}

impl Head {
    /// The head of an empty ledger.
    #[must_use]
    pub fn genesis() -> Self {
        Self { sequence: 0, entry_hash: GENESIS_HASH.to_owned() }
    }
}

/// The hash of an entry as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct HexHash([u8; 64]);

impl HexHash {
    /// The hash with these digits, which are those of an entry.
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

/// An event with its sequence and hashes, ready to be stored.
#[derive(Debug, Clone)]
pub struct Sealed<'a> {
    /// The event.
    pub event: &'a Draft,
    /// The sequence of the entry.
    pub sequence: i64,
    /// The hash of the previous entry.
    pub previous_hash: String,
    /// The hash of the entry.
    pub entry_hash: String,
}

/// An event whose `details` are in the canonical form and within the bounds. It is made before the ledger is locked, so
/// that nothing can be rejected under the lock.
#[derive(Debug, Clone)]
pub struct Draft {
    /// The event; its `details` are in [`Draft::details`] only.
    event: AuditEvent,
    details: String,
    /// Whether the source gave the time of the event.
    dated: bool,
    /// For a decision: the sequence of the entry that last changed facts.
    basis: Option<i64>,
    /// What the entry makes of a row of the registry.
    row: Option<Box<RowVersion>>,
    /// Whether the entry leaves every row as it was, although its action is about one.
    keeps_rows: bool,
}

/// The reason for which an event's details cannot be stored exactly.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DetailsError {
    /// The canonical text is larger than the bound.
    #[error("the details take {0} bytes in their canonical form; at most {MAX_DETAILS_BYTES} are kept")]
    TooLarge(usize),
    /// The details are nested too deeply, or contain a number that is not finite.
    #[error(transparent)]
    Bounds(#[from] JsonError),
}

/// Deeper than a caller's object may be, because EPR puts such objects into the details of its own entries.
const MAX_DETAILS_DEPTH: usize = MAX_DEPTH + 4;

impl Draft {
    /// Writes the details in the canonical form.
    ///
    /// # Errors
    /// The details cannot be stored exactly.
    pub fn new(mut event: AuditEvent) -> Result<Self, DetailsError> {
        let details = Json::Object(std::mem::take(&mut event.details));
        details.check(MAX_DETAILS_DEPTH)?;
        let details = canonical::text_of(&details);
        if details.len() > MAX_DETAILS_BYTES {
            return Err(DetailsError::TooLarge(details.len()));
        }
        Ok(Self { event, details, dated: true, basis: None, row: None, keeps_rows: false })
    }

    /// An event of an older ledger with the canonical text of its details, as it was hashed. Its size is not bounded.
    #[must_use]
    pub fn recorded(event: AuditEvent, details: String) -> Self {
        Self { event, details, dated: true, basis: None, row: None, keeps_rows: false }
    }

    /// Marks the event as one whose source gave no time: its time is from a clock, and is ignored when a later event
    /// with the same key is compared with it.
    #[must_use]
    pub fn undated(self) -> Self {
        Self { dated: false, ..self }
    }

    /// Binds the event to facts: it is appended only while entry `revision` is the newest one that changed them.
    #[must_use]
    pub fn based_on(self, revision: i64) -> Self {
        Self { basis: Some(revision), ..self }
    }

    /// The revision of [`Draft::based_on`].
    #[must_use]
    pub fn basis(&self) -> Option<i64> {
        self.basis
    }

    /// Adds the version of a row that the entry makes: history keeps it from the sequence of the entry on.
    #[must_use]
    pub fn with_row(self, version: RowVersion) -> Self {
        Self { row: Some(Box::new(version)), ..self }
    }

    /// Says that the entry leaves every row as it was, although its action is about one.
    #[must_use]
    pub fn keeping_rows(self) -> Self {
        Self { keeps_rows: true, ..self }
    }

    /// Whether the action is about a row, and the draft says neither which version it makes nor that it makes none.
    /// History then leaves the entry to a replay.
    #[must_use]
    pub fn lacks_row(&self) -> bool {
        let is_about_row = self.is_own() && is_row_action(self.event.action.as_str());
        is_about_row && self.row.is_none() && !self.keeps_rows
    }

    /// The version of [`Draft::with_row`].
    #[must_use]
    pub fn row(&self) -> Option<&RowVersion> {
        self.row.as_deref()
    }

    /// Whether the entry changes facts. The list is that of migration 0024, whose triggers store the newest such entry.
    #[must_use]
    pub fn is_decisive(&self) -> bool {
        const DECISIVE: [&str; 7] = [
            "entity.update",
            "role.update",
            "role_assignment.create",
            "role_assignment.delete",
            "principal.create",
            "principal.update",
            "principal.erase",
        ];
        self.is_own() && DECISIVE.contains(&self.event.action.as_str())
    }

    /// Whether the entry changes the registry, and so makes a revision. The rule is that of migration 0024, whose
    /// triggers store the newest such entry.
    #[must_use]
    pub fn changes_registry(&self) -> bool {
        const SUBJECTS: [&str; 5] = ["entity", "role", "role_assignment", "principal", "registry"];
        let action = self.event.action.as_str();
        let subject = action.split_once('.').map(|(subject, _)| subject);
        self.is_own() && (subject.is_some_and(|subject| SUBJECTS.contains(&subject)) || action == "ledger.reincarnate")
    }

    /// Whether EPR makes the entry itself. A message has an event id, whatever source it claims.
    fn is_own(&self) -> bool {
        self.event.event_id.is_none() && self.event.source.as_str() == OWN_SOURCE
    }

    /// Whether this event is the one that the entry with this sequence, time and hash records.
    #[must_use]
    pub fn is_recorded_as(&self, sequence: i64, occurred_at: Timestamp, previous_hash: &str, entry_hash: &str) -> bool {
        let occurred_at = if self.dated { self.event.occurred_at } else { occurred_at };
        let as_recorded = |draft: &Self| draft.hash_at_time(sequence, occurred_at, previous_hash) == entry_hash;
        // An event must not become a conflict with itself because an earlier version recorded it.
        as_recorded(self) || self.with_former_numbers().is_some_and(|former| as_recorded(&former))
    }

    /// The event with its numbers in the form of an earlier version, if that differs.
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

    /// The hash that this event would have after the entry with that hash, at that sequence.
    #[must_use]
    pub fn hash_at(&self, sequence: i64, previous_hash: &str) -> String {
        self.hash_at_time(sequence, self.event.occurred_at, previous_hash)
    }

    fn hash_at_time(&self, sequence: i64, occurred_at: Timestamp, previous_hash: &str) -> String {
        let mut canonical = String::with_capacity(512 + self.details.len());
        self.write_at_time(sequence, occurred_at, previous_hash, &mut canonical);
        canonical::entry_hash(previous_hash, &canonical)
    }

    /// Appends the text that is hashed for this event at that sequence.
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

/// Chains `drafts` after `head` and moves the head to the last of them.
pub fn seal<'a>(head: &mut Head, drafts: impl IntoIterator<Item = &'a Draft>) -> Vec<Sealed<'a>> {
    drafts
        .into_iter()
        .map(|event| {
            // At the last possible sequence, the database refuses a second entry.
            let sequence = head.sequence.saturating_add(1);
            let entry_hash = event.hash_at(sequence, &head.entry_hash);
            let previous_hash = std::mem::replace(&mut head.entry_hash, entry_hash.clone());
            head.sequence = sequence;
            Sealed { event, sequence, previous_hash, entry_hash }
        })
        .collect()
}
