//! The reader of messages, with the one type that it takes from its surroundings.

#[path = "../../../epr-core/src/ingest/message.rs"]
pub mod message;

pub struct Message {
    pub message_id: String,
    pub body: String,
}
