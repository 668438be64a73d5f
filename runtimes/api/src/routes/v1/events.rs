//! `/api/v1/events`

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, HeaderValue};
use epr_core::domain::event::{Duplicate, IngestedEvent};
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{Event, EventFilter, NewEvent};
use epr_core::store::{Cursor, Page};

use crate::App;
use crate::http::extract::{JsonBody, LenientCallHeaders, Paging, PathId, Query, word};
use crate::http::listing::{self, PageWriter};
use crate::http::respond::{created, ok};
use crate::openapi::responses::{InvalidRequest, NotFound};
use crate::routes::Answer;

type Events = Paging<50, 200>;

/// Says that the answer is an event that was ingested before.
const EPR_DUPLICATE: HeaderName = HeaderName::from_static("epr-duplicate");

/// Ingest an event
///
/// The event is stored and published to the topic. A repeat of a `source` and `correlation_id` returns the first event, with
/// the header `EPR-Duplicate: true` (`true; differs` when its content is another). A failed delivery is not an error: the
/// answer has the delivery's state. An event whose `context` has `actor_id`, `actor_type`, `entity_id` and `entity_type`
/// is also appended to the audit ledger, repeats included (`EPR_AUDIT_EVENTS`). EPR's own source is refused.
#[utoipa::path(
    post, path = "/api/v1/events", operation_id = "ingestEvent", tag = "events",
    params(LenientCallHeaders),
    request_body(content = NewEvent, example = json!({
        "event_type": "document.uploaded", "source": "document_vault",
        "payload": {"document_id": "d-17", "entity_id": "01a20864-7750-7688-ae30-e4554a6f9d96"}
    })),
    responses((status = 201, description = "Stored", body = Event, headers(("EPR-Duplicate" = String, description = "`true` for a repeat, `true; differs` for a repeat with other content"))), JsonBody)
)]
pub(crate) async fn ingest(
    State(app): State<Arc<App>>,
    LenientCallHeaders(call): LenientCallHeaders,
    JsonBody(body): JsonBody,
) -> Answer {
    let new = body.and_then(|body| NewEvent::from_body(&body))?;
    let IngestedEvent { event, duplicate } = app.epr.ingest_event(&call, new).await?;
    let mut response = created(&event);
    if let Some(duplicate) = duplicate {
        let value = if duplicate == Duplicate::Same { "true" } else { "true; differs" };
        response.headers_mut().insert(EPR_DUPLICATE, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// Read an event
///
/// By its `event_id`.
#[utoipa::path(
    get, path = "/api/v1/events/{event_id}", operation_id = "getEvent", tag = "events",
    params(("event_id" = uuid::Uuid, Path, description = "Its event id")),
    responses((status = 200, description = "The event", body = Event), InvalidRequest, NotFound)
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
    responses((status = 200, description = "Events", body = [Event], headers(("Link" = String, description = "`<…>; rel=\"next\"`, when more rows exist"))), InvalidRequest)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    let filter = EventFilter {
        event_type: fields.given("event_type", word),
        source: fields.given("source", word),
        delivery_state: fields.given("delivery_state", fields::choice),
    };
    fields.only(&["event_type", "source", "delivery_state", "limit", "cursor"]);
    let page = Events::page(&mut fields);
    let (filter, page) = fields.finish(Some((filter, page)))?;
    let reservation = listing::reserve_page(&app).await?;
    let mut text = PageWriter::page(page.limit);
    let position = |row: &Event| Cursor { created_at: row.occurred_at, id: row.id };
    let rows = Page { limit: page.limit + 1, ..page };
    app.epr.show_events(&filter, rows, &mut |row| text.add(&row, position)).await?;
    Ok(text.answer(reservation, &query, Cursor::encode))
}
