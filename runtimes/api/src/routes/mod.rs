//! The routes, a file a resource.

mod assignments;
mod audit;
mod check;
mod entities;
mod events;
mod health;
mod roles;

use std::sync::Arc;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{delete, get, post};
use epr_core::store::{Cursor, Page};
use serde::Serialize;

use crate::App;
use crate::failure::{Failure, answer};
use crate::input::Query;

/// Every route of the contract.
pub(crate) fn all() -> Router<Arc<App>> {
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .route("/api/v1/entities", post(entities::create).get(entities::list))
        .route("/api/v1/entities/{id}", get(entities::show).patch(entities::change))
        .route("/api/v1/entities/{id}/archive", post(entities::archive))
        .route("/api/v1/roles", post(roles::create).get(roles::list))
        .route("/api/v1/roles/{id}", get(roles::show).patch(roles::change))
        .route("/api/v1/assignments", post(assignments::create).get(assignments::list))
        .route("/api/v1/assignments/{id}", delete(assignments::revoke))
        .route("/api/v1/events", post(events::ingest).get(events::list))
        .route("/api/v1/events/{event_id}", get(events::show))
        .route("/api/v1/audit/entries", get(audit::entries))
        .route("/api/v1/authorize", post(check::authorize))
        .route("/api/v1/permissions/check", post(check::permissions))
}

type Answer = Result<Response, Failure>;

fn ok(value: &impl Serialize) -> Response {
    answer(StatusCode::OK, value)
}

fn created(value: &impl Serialize) -> Response {
    answer(StatusCode::CREATED, value)
}

/// One row more than the caller asked for, which tells whether there is a next page.
fn one_more(page: Page) -> Page {
    Page { limit: page.limit + 1, ..page }
}

/// A bare array of at most `page.limit` rows; `rows` were read with [`one_more`].
fn listed<T: Serialize>(rows: Vec<T>, page: Page, query: &Query, cursor: impl Fn(&T) -> Cursor) -> Response {
    paged(rows, page.limit, query, |row| cursor(row).encode())
}

/// The same for any order; `cursor` encodes the place of a row.
fn paged<T: Serialize>(mut rows: Vec<T>, limit: u32, query: &Query, cursor: impl Fn(&T) -> String) -> Response {
    let limit = limit as usize;
    let more = rows.len() > limit;
    rows.truncate(limit);
    let mut response = answer(StatusCode::OK, &rows);
    if let Some(last) = rows.last().filter(|_| more)
        && let Ok(link) = HeaderValue::from_str(&query.next_link(&cursor(last)))
    {
        response.headers_mut().insert(header::LINK, link);
    }
    response
}
