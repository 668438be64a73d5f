//! Publishing: hands messages to a topic, and returns an outcome for each.
//!
//! Owns the contract's message and the adapters for topics. Must never be called with a transaction open.

#[cfg(feature = "sns")]
pub(crate) mod aws_error;
#[cfg(feature = "proofs")]
pub mod ledger_place;
#[cfg(feature = "publish")]
pub mod ledger_s3;
#[cfg(feature = "proofs")]
pub mod ledger_target;
pub mod recording;
#[cfg(feature = "sns")]
pub mod sns;
#[cfg(feature = "publish")]
pub mod witness;

use async_trait::async_trait;
use uuid::Uuid;

use crate::domain::event::{Event, MAX_MESSAGE_BYTES};
use crate::domain::topic_text::carried_json;
use crate::domain::{Json, JsonObject, TraceParent};

/// A message to the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The id of the event, the same in every delivery.
    pub event_id: Uuid,
    /// The type of the event.
    pub event_type: String,
    /// The service that reported the event.
    pub source: String,
    /// The JSON body.
    pub body: String,
    /// The trace of the call that caused the event.
    pub traceparent: Option<TraceParent>,
}

impl Message {
    /// The contract's body: the event's fields, `metadata` as the older name of `context`, and on EPR's own events the
    /// flat fields of the older format.
    ///
    /// INVARIANT: an ingested event has no flat fields, whatever its `source` says: consumers archive the documents of
    /// the entity in every message that has them.
    #[must_use]
    pub fn of(event: &Event) -> Self {
        let message = Self::with_metadata(event, true);
        // The older name doubles the context. An event with a large context is delivered without it.
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
            // The topic refuses U+FFFE in a payload; its escape has the same meaning.
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

    /// The size that the topic limits: the body, and each attribute's name, type and value.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let attributes = self.attributes();
        self.body.len()
            + attributes.iter().map(|(name, value)| name.len() + "String".len() + value.len()).sum::<usize>()
    }
}

/// The outcome of publishing one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublishOutcome {
    /// The topic accepted it.
    Delivered,
    /// The topic will never accept it; the reason.
    Refused(String),
    /// The topic did not accept it this time; the reason.
    Failed(String),
}

/// The topic cannot be used. This says nothing about any message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the topic cannot be used: {why}")]
pub struct Outage {
    /// The reason, without secrets.
    pub why: String,
    /// Whether an immediate retry may succeed: not after a timeout.
    pub retryable: bool,
}

/// A topic.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// Publishes up to [`BATCH`] messages of at most [`crate::domain::event::MAX_MESSAGE_BYTES`] in all. Returns an
    /// outcome for each, in order. Has a deadline of its own.
    ///
    /// # Errors
    /// An outage. Some of the messages may have been delivered.
    async fn publish(&self, messages: &[Message]) -> Result<Vec<PublishOutcome>, Outage>;
}

/// The largest number of messages in one call.
pub const BATCH: u32 = 10;
