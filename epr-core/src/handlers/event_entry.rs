//! The ledger entry of an event that another service posts to `/events`: the platform's audit trail.
//!
//! Owns the mapping of an event's fields to those of an entry. Must never refuse an event: a value that does not fit
//! its column is stored in `details`.

use uuid::Uuid;

use crate::Call;
use crate::domain::audit::{AuditEvent, CorrelationId, Label};
use crate::domain::event::Event;
use crate::domain::fields;
use crate::domain::json::object;
use crate::domain::{Json, JsonObject, Text};
use crate::ledger::canonical;
use crate::ledger::chain::Draft;
use crate::settings::AuditEvents;

/// The members of a context that make an event an audit event.
const MEMBERS: [&str; 4] = ["actor_id", "actor_type", "entity_id", "entity_type"];

/// The member of `details` with the original values that do not fit their columns.
const AS_SENT: &str = "as_sent";

/// The entry for `event`, if `which` asks for one. Its `event_id` is the one of this call, which is new even if the
/// event is a repeat.
pub(super) fn entry_for(which: AuditEvents, call: &Call, event: &Event) -> Option<Draft> {
    let audited = match which {
        AuditEvents::Context => MEMBERS.iter().all(|name| event.context.contains_key(name)),
        AuditEvents::All => true,
        AuditEvents::Off => false,
    };
    audited.then(|| Entry { event, as_sent: JsonObject::new() }.draft(call))
}

struct Entry<'a> {
    event: &'a Event,
    /// The values that did not fit, by name.
    as_sent: JsonObject,
}

impl Entry<'_> {
    fn draft(mut self, call: &Call) -> Draft {
        let event = self.event;
        let actor_id =
            if event.context.contains_key("actor_id") { self.id(&event.context, "actor_id") } else { call.actor_id };
        // Only the setting `all` records events whose context lacks these members.
        let entity = if event.context.contains_key("entity_id") { &event.context } else { &event.payload };
        let entry = AuditEvent {
            event_id: Some(event.event_id),
            source: cut(&event.source).0,
            action: self.text("event_type", &event.event_type),
            actor_id,
            actor_type: self.label(&event.context, "actor_type").unwrap_or_else(|| cut("user").0),
            entity_id: self.id(entity, "entity_id"),
            entity_type: self.label(entity, "entity_type"),
            correlation_id: event
                .correlation_id
                .as_ref()
                .map(|given| -> CorrelationId { self.text("correlation_id", given) }),
            details: JsonObject::new(),
            occurred_at: event.occurred_at,
        };
        let details = self.details();
        let whole = Draft::new(AuditEvent { details: details.clone(), ..entry.clone() });
        // A message is bounded, but its canonical text may be six times as long. Then its hash replaces it.
        whole.unwrap_or_else(|_| {
            let text = canonical::text_of(&details.into());
            let hash = canonical::entry_hash("", &text);
            let bytes = Json::Int(i64::try_from(text.len()).unwrap_or(i64::MAX));
            let details = object([("details_bytes", bytes), ("details_sha256", hash.into())]);
            Draft::new(AuditEvent { details, ..entry }).unwrap_or_else(|_| unreachable!("two short members fit"))
        })
    }

    /// The payload, and the values that did not fit.
    fn details(self) -> JsonObject {
        let mut details = self.event.payload.clone();
        if !self.as_sent.is_empty() {
            let mut name = AS_SENT.to_owned();
            while details.contains_key(&name) {
                name.push('_');
            }
            details.insert(name, self.as_sent.into());
        }
        details
    }

    /// A UUID. Any other value than `null` is stored in its original form.
    fn id(&mut self, members: &JsonObject, name: &str) -> Option<Uuid> {
        let given = members.get(name).filter(|value| **value != Json::Null)?;
        let read = fields::uuid(given).ok();
        if read.is_none() {
            self.as_sent.insert(name.to_owned(), given.clone());
        }
        read
    }

    /// A text of at most 64 characters. Any other value than `null` is stored in its original form.
    fn label(&mut self, members: &JsonObject, name: &str) -> Option<Label> {
        let given = members.get(name).filter(|value| **value != Json::Null)?;
        let read = given.as_text().and_then(|text| Label::new(text).ok());
        if read.is_none() {
            self.as_sent.insert(name.to_owned(), given.clone());
        }
        read
    }

    /// A text, cut to the size of its column. A text that was cut is stored in its original form.
    fn text<const MAX: usize>(&mut self, name: &str, given: &str) -> Text<0, MAX> {
        let (text, whole) = cut(given);
        if !whole {
            self.as_sent.insert(name.to_owned(), given.into());
        }
        text
    }
}

/// `given` cut to the bound, and whether that is the whole text.
fn cut<const MAX: usize>(given: &str) -> (Text<0, MAX>, bool) {
    let kept: String = given.chars().filter(|c| *c != '\0').take(MAX).collect();
    let whole = kept.len() == given.len();
    (Text::new(kept).unwrap_or_else(|_| unreachable!("it was cut to its bound")), whole)
}
