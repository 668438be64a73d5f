//! A message as a queue delivers it.

use crate::domain::Timestamp;

/// A message from a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The queue's id of the message: the idempotency key of an event that has no `event_id`.
    pub message_id: String,
    /// The text of the message.
    pub body: String,
    /// The group within which a FIFO queue keeps the order.
    pub group: Option<String>,
    /// When it was sent to the queue, if that is known.
    pub sent_at: Option<Timestamp>,
}

impl Message {
    /// A message of a standard queue.
    #[must_use]
    pub fn new(message_id: impl Into<String>, body: impl Into<String>) -> Self {
        Self { message_id: message_id.into(), body: body.into(), group: None, sent_at: None }
    }
}

/// Reads a queue's `SentTimestamp`: milliseconds since 1970, as text.
#[must_use]
pub fn sent_at(timestamp: &str) -> Option<Timestamp> {
    let millis = timestamp.parse::<i64>().ok()?;
    Timestamp::from_unix_micros(millis.saturating_mul(1000)).ok()
}
