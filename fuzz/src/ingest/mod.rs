//! The reader of messages, with the one type that it takes from the rest of `epr-core`.

#[path = "../../../epr-core/src/handlers/ingest/parse.rs"]
pub mod parse;

pub mod message {
    //! The message as the reader sees it.

    pub struct Message {
        pub message_id: String,
        pub body: String,
    }
}
