//! `/api/v1/events`

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{Event, EventFilter, Invalid, NewEvent};
use epr_core::store::{Cursor, Page};

use super::{Answer, created, ok};
use crate::App;
use crate::describe::{Malformed, Unknown};
use crate::input::{Body, Caller, Paging, PathId, Query, word};
use crate::listing::{self, Filler};

type Events = Paging<50, 200>;

/// Ingest an event
///
/// It is kept and passed on to the topic. The same `source` and `correlation_id` again gives the first one. That a
/// delivery fails is no error: the event says how far it has come.
#[utoipa::path(
    post, path = "/api/v1/events", operation_id = "ingestEvent", tag = "events",
    params(Caller),
    request_body(content = NewEvent, example = json!({
        "event_type": "document.uploaded", "source": "document_vault",
        "payload": {"document_id": "d-17", "entity_id": "01a20864-7750-7688-ae30-e4554a6f9d96"}
    })),
    responses((status = 201, description = "Taken", body = Event), Body)
)]
pub(crate) async fn ingest(State(app): State<Arc<App>>, Caller(call): Caller, Body(body): Body) -> Answer {
    let (call, new) = Invalid::both(call, body.and_then(|body| NewEvent::from_body(&body)))?;
    Ok(created(&app.epr.ingest_event(&call, new).await?))
}

/// Read an event
///
/// By its `event_id`.
#[utoipa::path(
    get, path = "/api/v1/events/{event_id}", operation_id = "getEvent", tag = "events",
    params(("event_id" = uuid::Uuid, Path, description = "Its event id")),
    responses((status = 200, description = "The event", body = Event), Malformed, Unknown)
)]
pub(crate) async fn show(State(app): State<Arc<App>>, PathId(event_id): PathId) -> Answer {
    Ok(ok(&app.epr.event(event_id?).await?))
}

/// List events
///
/// Newest `occurred_at` first.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "listEvents", tag = "events",
    params(EventFilter, Events),
    responses((status = 200, description = "Events", body = [Event], headers(("Link" = String, description = "`<…>; rel=\"next\"`, when more rows exist"))), Malformed)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    let filter = EventFilter {
        event_type: fields.given("event_type", word),
        source: fields.given("source", word),
        delivery_state: fields.given("delivery_state", fields::choice),
    };
    let page = Events::page(&mut fields);
    let (filter, page) = fields.finish(Some((filter, page)))?;
    let share = listing::page_share(&app).await?;
    let mut text = Filler::page(page.limit);
    let position = |row: &Event| Cursor { created_at: row.occurred_at, id: row.id };
    let rows = Page { limit: page.limit + 1, ..page };
    app.epr.show_events(&filter, rows, &mut |row| text.add(&row, position)).await?;
    Ok(text.answer(share, &query, Cursor::encode))
}
