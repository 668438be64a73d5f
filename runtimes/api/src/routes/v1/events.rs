//! `/api/v1/events`

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::domain::event::IngestedEvent;
use epr_core::domain::fields::Fields;
use epr_core::domain::{Event, EventFilter, KeyedCreation, NewEvent, Once};
use epr_core::store::{Cursor, Page};

use crate::App;
use crate::access::Rule;
use crate::http::extract::idempotency::{mark_duplicate, repeated};
use crate::http::extract::{JsonBody, KeyHeader, LenientCallHeaders, Paging, PathId, Query, Repeat};
use crate::http::listing::{self, PageWriter};
use crate::http::respond::{created, ok};
use crate::openapi::responses::{InvalidRequest, NotFound};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 3] {
    [
        route!(ingest, Rule::Requires(Scope::Events)),
        route!(list, Rule::Requires(Scope::Events)),
        route!(show, Rule::Requires(Scope::Events)),
    ]
}

type EventPaging = Paging<50, 200>;

/// Ingest an event
///
/// The event is stored and published to the topic. If an event with the same `source` and `correlation_id` exists, that
/// event is returned, with the header `EPR-Duplicate`. A failed delivery is not an error: the response has the delivery
/// state, and the service retries. An event whose `context` has `actor_id`, `actor_type`, `entity_id` and `entity_type`
/// is also appended to the audit ledger, repeats included (`EPR_AUDIT_EVENTS`). EPR's own source name is refused.
#[utoipa::path(
    post, path = "/api/v1/events", operation_id = "ingestEvent", tag = "events",
    params(LenientCallHeaders, KeyHeader),
    request_body(content = NewEvent, example = json!({
        "event_type": "document.uploaded", "source": "document_vault",
        "payload": {"document_id": "d-17", "entity_id": "01a20864-7750-7688-ae30-e4554a6f9d96"}
    })),
    responses((status = 201, description = "The stored event.", body = Event, headers((
        "EPR-Duplicate" = String,
        description = "Present if the event had been ingested before: `true`, or `true; \
         differs` if the content is different."
    ))), JsonBody)
)]
async fn ingest(
    State(app): State<Arc<App>>,
    LenientCallHeaders(call): LenientCallHeaders,
    key: KeyHeader,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let request = match key.look_up(&app, KeyedCreation::Event, Ok(&call), body.as_ref()).await? {
        Repeat::Create(request) => request,
        Repeat::Respond(response) => return Ok(response),
    };
    let new = key.and(body.and_then(|body| NewEvent::from_body(&body)))?;
    Ok(match app.epr.ingest_event_once(&call, request.as_ref(), new).await? {
        Once::First(IngestedEvent { event, duplicate }) => mark_duplicate(created(&event), duplicate),
        Once::Repeated(answer) => repeated(answer),
    })
}

/// Read an event
#[utoipa::path(
    get, path = "/api/v1/events/{event_id}", operation_id = "getEvent", tag = "events",
    params((
        "event_id" = Uuid, Path,
        description = "The `event_id` of the event (not its `id`).",
        example = "01a20864-77c2-7a15-b1f0-6d3e8c2a9b44"
    )),
    responses((status = 200, description = "The event.", body = Event), InvalidRequest, NotFound)
)]
async fn show(State(app): State<Arc<App>>, PathId(event_id): PathId) -> HandlerResult {
    Ok(ok(&app.epr.event(event_id?).await?))
}

/// List events
///
/// By `occurred_at`, newest first. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "listEvents", tag = "events",
    params(EventFilter, EventPaging),
    responses((status = 200, description = "Events, newest `occurred_at` first.", body = [Event]), InvalidRequest)
)]
async fn list(State(app): State<Arc<App>>, query: Query) -> HandlerResult {
    let mut fields = Fields::new("query", &query.members);
    let filter = EventFilter::read(&mut fields);
    fields.only(&[EventFilter::PARAMETERS, EventPaging::PARAMETERS].concat());
    let page = EventPaging::page(&mut fields);
    let (filter, page) = fields.finish(Some((filter, page)))?;
    let reservation = listing::reserve_page(&app).await?;
    let mut writer = PageWriter::new(page.limit);
    let position = |row: &Event| Cursor { created_at: row.occurred_at, id: row.id };
    let rows = Page { limit: page.limit + 1, ..page };
    app.epr.show_events(&filter, rows, &mut |row| writer.add(&row, position)).await?;
    Ok(writer.into_response(reservation, &query, Cursor::encode))
}
