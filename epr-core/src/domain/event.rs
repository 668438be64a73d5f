//! Platform events: things that happened, published to other services.
//!
//! Owns the fields of an event, its ordering key and its largest size. Must never know how an event is delivered.

use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::fields::{self, Fields, Invalid, Problem};
use super::input::declare::{filter, words};
use super::json::{Json, JsonObject};
use super::schema::AnyTime;
use super::text::Text;
use super::time::Timestamp;
use super::topic_text::TopicText;
use super::trace::TraceParent;

/// The type of an event, such as `document.uploaded`: 3 to 128 characters that a topic can carry.
pub type EventType = TopicText;
/// The source of an event: 3 to 128 characters that a topic can carry.
pub type EventSource = TopicText;
/// The id that correlates events: 1 to 128 characters.
pub type EventCorrelationId = Text<1, 128>;
/// The version of the payload's schema: 1 to 16 characters.
pub type SchemaVersion = Text<1, 16>;

/// Most characters of an error that are kept with an event.
pub const MAX_ERROR_CHARS: usize = 1024;

words! {
    /// The state of an event's delivery.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
    pub enum DeliveryState: "state of delivery" {
        /// Not delivered yet; the relay retries.
        Pending = "pending",
        /// Delivered at least once, or stored while no topic is configured.
        Succeeded = "succeeded",
        /// Given up; `epr events requeue` starts again.
        Failed = "failed",
    }
}

/// A platform event with the state of its delivery.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct Event {
    /// The id of the stored row.
    #[schema(example = "01a20864-77c2-7a15-b1f0-6d3e8c2a9b43")]
    pub id: Uuid,
    /// The id of the event, the same in every delivery.
    #[schema(example = "01a20864-77c2-7a15-b1f0-6d3e8c2a9b44")]
    pub event_id: Uuid,
    /// The type of the event.
    #[schema(example = "document.uploaded")]
    pub event_type: String,
    /// The service that reported the event.
    #[schema(example = "document_vault")]
    pub source: String,
    /// The content of the event.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub payload: JsonObject,
    /// The circumstances of the event.
    #[schema(value_type = BTreeMap<String, serde_json::Value>)]
    pub context: JsonObject,
    /// An id that links the event to others, unique within the source.
    #[schema(required)]
    pub correlation_id: Option<String>,
    /// The time at which the event occurred.
    pub occurred_at: Timestamp,
    /// The version of the payload's schema.
    #[schema(example = "v1")]
    pub schema_version: String,
    /// The state of the delivery.
    pub delivery_state: DeliveryState,
    /// The number of delivery attempts that the topic accepted or rejected. Attempts during an outage of the topic do
    /// not count.
    #[schema(minimum = 0)]
    pub delivery_attempts: i32,
    /// The error of the last failed attempt.
    #[schema(required, max_length = 1024)]
    pub last_error: Option<String>,
    /// The time at which the event was stored.
    pub created_at: Timestamp,
    /// The time of the last change of the delivery.
    pub updated_at: Timestamp,
    /// The trace in which the event was created. It is sent with the message and is not part of the JSON.
    #[serde(skip)]
    pub traceparent: Option<TraceParent>,
    /// Whether another service sent the event through `/events`; `false` for EPR's own events. Not part of the JSON.
    #[serde(skip)]
    pub ingested: bool,
}

/// A request to ingest an event.
#[derive(Debug, Clone, PartialEq, ToSchema)]
pub struct NewEvent {
    /// The type of the event, for example `document.uploaded`.
    pub event_type: EventType,
    /// The service that reports the event, for example `document_vault`. EPR's own source is refused.
    pub source: EventSource,
    /// The content of the event; empty if absent.
    #[schema(value_type = BTreeMap<String, serde_json::Value>, required = false)]
    pub payload: JsonObject,
    /// The circumstances of the event; empty if absent.
    #[schema(value_type = BTreeMap<String, serde_json::Value>, required = false)]
    pub context: JsonObject,
    /// The idempotency key within the source: a second event with the same key returns the first one. An empty text
    /// is treated as absent.
    #[schema(value_type = Option<Text<0, 128>>)]
    pub correlation_id: Option<EventCorrelationId>,
    /// The time at which the event occurred; now if absent.
    #[schema(value_type = Option<AnyTime>)]
    pub occurred_at: Option<Timestamp>,
    /// The version of the payload's schema; `v1` if absent, `null` or empty.
    #[schema(value_type = Option<Text<0, 16>>, required = false)]
    pub schema_version: SchemaVersion,
}

impl NewEvent {
    /// Reads the body of an ingestion.
    ///
    /// # Errors
    /// Every failing field.
    pub fn from_body(body: &Json) -> Result<Self, Invalid> {
        let mut fields = Fields::of_body(body)?;
        let event_type = fields.required("event_type", TopicText::read);
        let source = fields.required("source", TopicText::read);
        let payload = fields.given("payload", fields::object).unwrap_or_default();
        let context = fields.given("context", fields::object).unwrap_or_default();
        let correlation_id = fields.filled("correlation_id", fields::text);
        let occurred_at = fields.optional("occurred_at", fields::timestamp);
        let schema_version = fields.filled("schema_version", fields::text);
        let build = event_type.zip(source).zip(SchemaVersion::new("v1").ok()).map(|((event_type, source), v1)| Self {
            event_type,
            source,
            payload,
            context,
            correlation_id,
            occurred_at,
            schema_version: schema_version.unwrap_or(v1),
        });
        fields.finish(build)
    }
}

/// An accepted event.
#[derive(Debug, Clone, PartialEq)]
pub struct IngestedEvent {
    /// The event; for a duplicate, the first one.
    pub event: Event,
    /// The kind of duplicate; `None` when the event is new.
    pub duplicate: Option<Duplicate>,
}

/// The comparison of a duplicate with the first event of its source and correlation id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Duplicate {
    /// Both have the same content.
    Same,
    /// The content differs; the duplicate's content is not delivered.
    Different,
}

filter! {
    /// The conditions of a list of events.
    #[derive(Debug, Clone, Default, PartialEq, Eq, IntoParams)]
    #[into_params(parameter_in = Query)]
    pub struct EventFilter;

    /// Events of this type, for example `document.uploaded`.
    #[param(nullable = false, max_length = 512)]
    event_type as "event_type": Option<String> = by fields::filter_text;

    /// Events from this source.
    #[param(nullable = false, max_length = 512)]
    source as "source": Option<String> = by fields::filter_text;

    /// Events in this state of delivery.
    #[param(nullable = false)]
    delivery_state as "delivery_state": Option<DeliveryState>;
}

/// The longest ordering key, in characters. An event that names its entity by a longer text has no key.
const MAX_KEY: usize = 128;

/// The ordering key of an event from another service: the entity that its payload names, in one spelling if it is a
/// UUID.
#[must_use]
pub fn ordering_key(payload: &JsonObject) -> Option<String> {
    let named = payload.get("entity_id")?.as_text()?;
    match fields::parse_uuid(named) {
        Some(id) => Some(id.to_string()),
        None => (1..=MAX_KEY).contains(&named.chars().count()).then(|| named.to_owned()),
    }
}

/// The largest message, body and attributes together, in bytes: the limit of SNS.
pub const MAX_MESSAGE_BYTES: usize = 256 * 1024;

/// The problem of an event whose message is larger than [`MAX_MESSAGE_BYTES`].
#[must_use]
pub fn too_large(bytes: usize) -> Problem {
    Problem::new(
        "too_large",
        format!("The event takes {bytes} bytes as a message; at most {MAX_MESSAGE_BYTES} are delivered"),
    )
}
