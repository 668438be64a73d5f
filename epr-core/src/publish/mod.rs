//! Publishing: messages out, a verdict on each back.
//!
//! Owns the contract's message and the adapters that carry it. Must never be called with a transaction open.

pub mod recording;
pub mod sns;

use async_trait::async_trait;
use uuid::Uuid;

use crate::domain::event::{Event, MAX_MESSAGE_BYTES};
use crate::domain::topic_text::carried_json;
use crate::domain::{Json, JsonObject, TraceParent};

/// A message as the topic gets it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same in every delivery of the event.
    pub event_id: Uuid,
    /// What happened.
    pub event_type: String,
    /// Who says so.
    pub source: String,
    /// The JSON body.
    pub body: String,
    /// The trace in which the event came to be.
    pub traceparent: Option<TraceParent>,
}

impl Message {
    /// The contract's body: the event's fields, `metadata` as the older name of `context`, and on EPR's own events the flat
    /// fields of the older format.
    ///
    /// INVARIANT: an ingested event has no flat fields, whatever its `source` says: consumers archive the documents of the
    /// entity in every message that has them.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let message = Self::with_metadata(event, true);
        // An event that was accepted with a large context is delivered: its older name would double it.
        if message.bytes() > MAX_MESSAGE_BYTES { Self::with_metadata(event, false) } else { message }
    }

    fn with_metadata(event: &Event, metadata: bool) -> Self {
        let mut body = JsonObject::new();
        let mut put = |name: &str, value: Json| body.insert(name.to_owned(), value);
        put("event_id", event.event_id.into());
        put("event_type", event.event_type.as_str().into());
        put("source", event.source.as_str().into());
        put("occurred_at", event.occurred_at.to_string().into());
        put("correlation_id", event.correlation_id.clone().into());
        put("schema_version", event.schema_version.as_str().into());
        put("payload", event.payload.clone().into());
        put("context", event.context.clone().into());
        if metadata {
            put("metadata", event.context.clone().into());
        }
        if !event.ingested {
            put("action", event.event_type.as_str().into());
            for name in ["entity_id", "entity_type"] {
                if let Some(value) = event.payload.get(name) {
                    put(name, value.clone());
                }
            }
        }
        Self {
            event_id: event.event_id,
            event_type: event.event_type.clone(),
            source: event.source.clone(),
            // U+FFFE in a payload would be refused by the topic for ever, and an escape means the same.
            body: carried_json(Json::Object(body).to_string()),
            traceparent: event.traceparent,
        }
    }

    /// The attributes, all of type String: the contract's three, and `traceparent` where there is one.
    #[must_use]
    pub fn attributes(&self) -> Vec<(&'static str, String)> {
        let mut attributes = vec![
            ("event_type", self.event_type.clone()),
            ("source", self.source.clone()),
            ("event_id", self.event_id.to_string()),
        ];
        attributes.extend(self.traceparent.map(|trace| ("traceparent", trace.to_string())));
        attributes
    }

    /// What counts against the topic's limit: the body, and each attribute's name, type and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes();
        self.body.len()
            + attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len()).sum::<usize>()
    }
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The topic has it.
    Delivered,
    /// The topic will never take it; the reason.
    Refused(String),
    /// The topic did not take it this time; the reason.
    Failed(String),
}

/// The topic as a whole cannot be reached or used: nothing is said about any message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the topic cannot be used: {why}")]
pub struct Outage {
    /// What is wrong, without secrets.
    pub why: String,
    /// Whether trying once more at once makes sense: a fault of the moment, not a limit of time that was used up.
    pub again: bool,
}

/// A way to the topic.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Hands over up to [`BATCH`] messages of at most [`crate::domain::event::MAX_MESSAGE_BYTES`] together; a verdict
    /// for each, in their order. Bounded in time.
    ///
    /// # Errors
    /// An outage; some of the messages may have arrived all the same.
    async fn publish(&self, messages: &[Message]) -> Result<Vec<Verdict>, Outage>;
}

/// Most messages in one call.
pub const BATCH: u32 = 10;
