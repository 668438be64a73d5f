//! `/api/v1/events`

use epr_core::domain::event::{Duplicate, IngestedEvent};
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::json::object;
use epr_core::domain::{Event, EventFilter, Invalid, Json, NewEvent};
use reqwest::Method;
use reqwest::header::HeaderMap;
use uuid::Uuid;

use crate::client::Client;
use crate::error::Error;
use crate::list::List;
use crate::retry::Repeat;
use crate::transport::Request;
use crate::wire;

const PATH: &str = "api/v1/events";

impl Client {
    /// Hands in a platform event. A second event with the same source and correlation id returns the first one. A
    /// failed delivery is no error: the event has its state.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the event is not valid or names EPR's own source.
    pub async fn ingest_event(&self, new: &NewEvent) -> Result<IngestedEvent, Error> {
        // Without a key, each accepted request can become a ledger entry, so that the client does not repeat it.
        let (body, repeat) = (Some(write(new)), self.creation_repeat(Repeat::Unsafe));
        let answer = self.send(Request { method: Method::POST, url: self.at(PATH), body, repeat }).await?;
        Ok(IngestedEvent { event: answer.read(read)?, duplicate: duplicate(&answer.headers) })
    }

    /// Reads an event by its `event_id`.
    ///
    /// # Errors
    /// [`Error::NotFound`] when there is none.
    pub async fn event(&self, event_id: Uuid) -> Result<Event, Error> {
        self.get(&wire::object(PATH, event_id), read).await
    }

    /// Lists events, newest `occurred_at` first.
    pub fn events(&self, filter: &EventFilter) -> List<Event> {
        List::new(self, PATH, filter.to_pairs(), 200, read)
    }
}

fn duplicate(headers: &HeaderMap) -> Option<Duplicate> {
    let value = headers.get("epr-duplicate")?.to_str().ok()?;
    Some(if value.contains("differs") { Duplicate::Different } else { Duplicate::Same })
}

fn write(new: &NewEvent) -> Json {
    let mut body = object([
        ("event_type", new.event_type.as_str().into()),
        ("source", new.source.as_str().into()),
        ("payload", new.payload.clone().into()),
        ("context", new.context.clone().into()),
        ("correlation_id", new.correlation_id.as_ref().map(|id| id.as_str().to_owned()).into()),
        ("schema_version", new.schema_version.as_str().into()),
    ]);
    if let Some(occurred_at) = new.occurred_at {
        body.insert("occurred_at".into(), occurred_at.to_string().into());
    }
    Json::Object(body)
}

/// `traceparent` and `ingested` are not in an answer: they are `None` and `true`.
fn read(json: &Json) -> Result<Event, Invalid> {
    let mut fields = Fields::of_body(json)?;
    let id = fields.required("id", fields::uuid);
    let event_id = fields.required("event_id", fields::uuid);
    let event_type = fields.required("event_type", wire::text);
    let source = fields.required("source", wire::text);
    let payload = fields.required("payload", fields::object);
    let context = fields.required("context", fields::object);
    let correlation_id = fields.required("correlation_id", wire::nullable_text);
    let occurred_at = fields.required("occurred_at", fields::timestamp);
    let schema_version = fields.required("schema_version", wire::text);
    let delivery_state = fields.required("delivery_state", fields::choice);
    let delivery_attempts = fields.required("delivery_attempts", fields::whole_number(0, i32::MAX.into()));
    let last_error = fields.required("last_error", wire::nullable_text);
    let created_at = fields.required("created_at", fields::timestamp);
    let updated_at = fields.required("updated_at", fields::timestamp);
    let build = || {
        Some(Event {
            id: id?,
            event_id: event_id?,
            event_type: event_type?,
            source: source?,
            payload: payload?,
            context: context?,
            correlation_id: correlation_id?,
            occurred_at: occurred_at?,
            schema_version: schema_version?,
            delivery_state: delivery_state?,
            delivery_attempts: i32::try_from(delivery_attempts?).ok()?,
            last_error: last_error?,
            created_at: created_at?,
            updated_at: updated_at?,
            traceparent: None,
            ingested: true,
        })
    };
    let build = build();
    fields.finish(build)
}
