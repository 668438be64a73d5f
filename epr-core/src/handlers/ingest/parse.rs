//! Reads an audit event from the body of a message. Pure.

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::message::Message;
use crate::domain::audit::AuditEvent;
use crate::domain::fields::{FieldError, parse_uuid};
use crate::domain::json::JsonError;
use crate::domain::{Invalid, Json, JsonObject, Timestamp};
use crate::ledger::chain::{DetailsError, Draft};

/// The reason why a message is not an audit event. Its `Display` is for the operator and may quote the body; only
/// [`InvalidMessage::location`] may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidMessage {
    /// The body, or the text in the envelope, is not JSON that can be kept.
    #[error("{0} is not JSON that can be kept: {1}")]
    Json(Part, JsonError),
    /// The SNS envelope is not a notification.
    #[error("the SNS envelope has the type `{0}`; only notifications carry events")]
    NotNotification(String),
    /// The `Message` of the envelope is neither text nor an object.
    #[error("the `Message` of the SNS envelope is neither text nor an object")]
    NoMessage,
    /// It has no idempotency key: no `event_id`, and no message id of the queue.
    #[error("there is no event_id, and no message id to stand for it")]
    NoKey,
    /// Fields are missing or invalid.
    #[error("{}", sentence(.0))]
    Event(#[from] Invalid),
    /// The details cannot be stored exactly.
    #[error("details: {0}")]
    Details(#[from] DetailsError),
}

/// A text of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The body.
    Body,
    /// The `Message` of the SNS envelope.
    Message,
}

impl std::fmt::Display for Part {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(match self {
            Self::Body => "the body",
            Self::Message => "the `Message` of the SNS envelope",
        })
    }
}

impl InvalidMessage {
    /// The location of the error, in words of this program only: `json`, `envelope`, `details`, or the names of the
    /// fields.
    #[must_use]
    pub fn location(&self) -> String {
        match self {
            Self::Json(..) => "json".to_owned(),
            Self::NotNotification(_) | Self::NoMessage => "envelope".to_owned(),
            Self::NoKey => "event_id".to_owned(),
            Self::Details(_) => "details".to_owned(),
            Self::Event(Invalid(errors)) => {
                let names: Vec<_> = errors.iter().map(field_path).collect();
                names.join(",")
            }
        }
    }
}

/// The path of a field; `body` when the whole body is wrong.
fn field_path(error: &FieldError) -> String {
    let path = error.path();
    if path.is_empty() { "body".to_owned() } else { path }
}

fn sentence(Invalid(errors): &Invalid) -> String {
    let sentences: Vec<_> = errors.iter().map(|error| format!("{}: {}", field_path(error), error.msg)).collect();
    sentences.join("; ")
}

/// Reads the audit event of a message. An event without an id gets the message's id, one without a time gets `now`.
///
/// # Errors
/// It is not an audit event.
pub fn read(message: &Message, now: Timestamp) -> Result<Draft, InvalidMessage> {
    let body = Json::parse_bounded(message.body.as_bytes()).map_err(|error| InvalidMessage::Json(Part::Body, error))?;
    let body = match body {
        Json::Object(members) if is_envelope(&members) => open(members)?,
        Json::Object(members) => inner_event(&members).unwrap_or(Json::Object(members)),
        other => other,
    };
    let (mut event, dated) = AuditEvent::from_body(body, now)?;
    if event.event_id.is_none() {
        if message.message_id.is_empty() {
            return Err(InvalidMessage::NoKey);
        }
        event.event_id = Some(key_of(&message.message_id));
    }
    let draft = Draft::new(event)?;
    Ok(if dated { draft } else { draft.undated() })
}

/// Whether these are the members of an SNS envelope. An event that has a member `Message` is still an event.
fn is_envelope(members: &JsonObject) -> bool {
    ["Type", "TopicArn", "Message"].iter().all(|name| members.contains_key(name))
}

/// The event in the `Message` of an envelope that lost its `Type` or `TopicArn` on the way.
fn inner_event(members: &JsonObject) -> Option<Json> {
    let is_event = |members: &JsonObject| ["source", "action"].iter().all(|name| members.contains_key(name));
    let other_type = members.get("Type").is_some_and(|kind| kind.as_text() != Some("Notification"));
    if is_event(members) || other_type {
        return None;
    }
    let inner = match members.get("Message")? {
        Json::Text(text) => Json::parse_bounded(text.as_bytes()).ok()?,
        object => object.clone(),
    };
    inner.as_object().is_some_and(is_event).then_some(inner)
}

fn open(mut envelope: JsonObject) -> Result<Json, InvalidMessage> {
    match envelope.get("Type").and_then(Json::as_text) {
        Some("Notification") => {}
        other => return Err(InvalidMessage::NotNotification(other.unwrap_or("none").chars().take(64).collect())),
    }
    match envelope.remove("Message") {
        Some(Json::Text(text)) => {
            Json::parse_bounded(text.as_bytes()).map_err(|error| InvalidMessage::Json(Part::Message, error))
        }
        Some(object @ Json::Object(_)) => Ok(object),
        _ => Err(InvalidMessage::NoMessage),
    }
}

/// The idempotency key of a message. SQS ids are UUIDs; any other id is hashed to a UUID.
fn key_of(message_id: &str) -> Uuid {
    parse_uuid(message_id).unwrap_or_else(|| {
        let hash: [u8; 32] = Sha256::digest(message_id.as_bytes()).into();
        let mut bytes = [0; 16];
        bytes.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "aaaaaaaa-0000-4000-8000-000000000001";

    fn now() -> Timestamp {
        Timestamp::parse("2026-01-02T03:04:05Z").unwrap()
    }

    fn taken(body: &str) -> Draft {
        read(&Message::new(ID, body), now()).unwrap()
    }

    fn refused(body: &str) -> InvalidMessage {
        read(&Message::new(ID, body), now()).unwrap_err()
    }

    #[test]
    fn the_least_event_is_filled_up() {
        let draft = taken(r#"{"source": "vault", "action": "a"}"#);
        let event = draft.event();
        assert_eq!((event.source.as_str(), event.action.as_str(), event.actor_type.as_str()), ("vault", "a", "user"));
        assert_eq!(event.event_id, Some(ID.parse().unwrap()));
        assert_eq!(event.occurred_at, now());
        assert_eq!(draft.details(), "{}");
        assert!(event.actor_id.or(event.entity_id).is_none() && event.entity_type.is_none());
    }

    #[test]
    fn three_members_identify_an_envelope() {
        let event = r#"{"source":"s","action":"a","details":{"n":1.0}}"#;
        let quoted = Json::from(event).to_string();
        let enveloped = |kind: &str, message: &str| {
            format!(r#"{{"Type":"{kind}","MessageId":"x","TopicArn":"arn:aws:sns:r:1:t","Message":{message}}}"#)
        };
        for body in [event.to_owned(), enveloped("Notification", &quoted), enveloped("Notification", event)] {
            assert_eq!(taken(&body).details(), r#"{"n":1.0}"#, "{body}");
        }
        assert_eq!(refused(&enveloped("SubscriptionConfirmation", &quoted)).location(), "envelope");
        assert_eq!(refused(&enveloped("Notification", "7")), InvalidMessage::NoMessage);
        assert_eq!(refused(&enveloped("Notification", r#""no json""#)).location(), "json");
        // An event may have a member of that name.
        assert_eq!(taken(r#"{"source":"s","action":"a","Message":"{}"}"#).event().source.as_str(), "s");
    }

    #[test]
    fn an_event_in_a_message_counts_without_type() {
        let event = r#"{"source":"s","action":"a","details":{"n":1.0}}"#;
        let quoted = Json::from(event).to_string();
        for body in [
            format!(r#"{{"Message":{quoted}}}"#),
            format!(r#"{{"Message":{event}}}"#),
            format!(r#"{{"Message":{quoted},"MessageAttributes":{{}},"Subject":null}}"#),
            format!(r#"{{"Type":"Notification","Message":{quoted}}}"#),
            format!(r#"{{"TopicArn":"arn:aws:sns:r:1:t","Message":{quoted}}}"#),
        ] {
            assert_eq!(taken(&body).details(), r#"{"n":1.0}"#, "{body}");
        }
        for body in [
            format!(r#"{{"Type":"SubscriptionConfirmation","Message":{quoted}}}"#),
            r#"{"Message":"hello"}"#.to_owned(),
            r#"{"Message":"{\"source\":\"s\"}"}"#.to_owned(),
            format!(r#"{{"Message":[{event}]}}"#),
        ] {
            assert_eq!(refused(&body).location(), "source,action", "{body}");
        }
    }

    #[test]
    fn ids_and_times_are_read_as_leniently_as_by_the_api() {
        let event = |id: &str, at: &str| format!(r#"{{"source":"s","action":"a","event_id":{id},"occurred_at":{at}}}"#);
        for id in [
            format!("\"{{{ID}}}\""),
            format!("\"urn:uuid:{ID}\""),
            format!("\"{}\"", ID.replace('-', "").to_uppercase()),
        ] {
            for (at, expected) in [
                ("1767323045", "2026-01-02T03:04:05.000000Z"),
                ("1767323045000", "2026-01-02T03:04:05.000000Z"),
                ("1767323045.5", "2026-01-02T03:04:05.500000Z"),
                ("\"2026-01-02\"", "2026-01-02T00:00:00.000000Z"),
                ("\"2026-01-02T03:04+0000\"", "2026-01-02T03:04:00.000000Z"),
            ] {
                let draft = taken(&event(&id, at));
                assert_eq!(
                    (draft.event_id(), draft.event().occurred_at.to_string()),
                    (ID.parse().ok(), expected.to_owned())
                );
            }
        }
    }

    #[test]
    fn every_wrong_field_is_named_and_its_location_has_no_content_of_the_body() {
        let invalid = refused(r#"{"action": 7, "event_id": "secret", "details": [], "occurred_at": "then"}"#);
        assert_eq!(invalid.location(), "source,action,event_id,details,occurred_at");
        assert!(invalid.to_string().contains("source: Field required"), "{invalid}");
        for body in ["", "[]", "null", "\u{feff}{}", r#"{"source":"s","source":"t","action":"a"}"#, r#"{"x":1e999}"#] {
            let location = refused(body).location();
            assert!(matches!(location.as_str(), "json" | "body"), "{body}: {location}");
        }
    }

    #[test]
    fn a_message_id_of_another_form_is_a_stable_key() {
        let draft = |id: &str| read(&Message::new(id, r#"{"source":"s","action":"a"}"#), now()).unwrap();
        let key = |id: &str| draft(id).event_id().unwrap();
        assert_eq!(key("not a uuid"), key("not a uuid"));
        assert_ne!(key("not a uuid"), key("another"));
        assert_eq!(key("not a uuid").get_version_num(), 8);
    }
}
