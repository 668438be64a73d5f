//! `/api/v1/events`

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{EventFilter, Invalid, NewEvent};
use epr_core::store::{Cursor, Page};

use super::{Answer, created, listed, ok, one_more};
use crate::App;
use crate::input::{Body, Caller, PathId, Query, word};

/// Events in a page when the caller does not say, and most.
const LIMITS: (u32, u32) = (50, 200);

pub(crate) async fn ingest(State(app): State<Arc<App>>, Caller(call): Caller, Body(body): Body) -> Answer {
    let (_, new) = Invalid::both(call, body.and_then(|body| NewEvent::from_body(&body)))?;
    Ok(created(&app.epr.ingest_event(new).await?))
}

pub(crate) async fn show(State(app): State<Arc<App>>, PathId(event_id): PathId) -> Answer {
    Ok(ok(&app.epr.event(event_id?).await?))
}

pub(crate) async fn list(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    let filter = EventFilter {
        event_type: fields.given("event_type", word),
        source: fields.given("source", word),
        delivery_state: fields.given("delivery_state", fields::choice),
    };
    let (default, most) = LIMITS;
    let page =
        Page { limit: Query::limit(&mut fields, default, most), after: Query::cursor(&mut fields, Cursor::decode) };
    let (filter, page) = fields.finish(Some((filter, page)))?;
    let rows = app.epr.events_list(&filter, &one_more(page)).await?;
    Ok(listed(rows, page, &query, |row| Cursor { created_at: row.occurred_at, id: row.id }))
}
