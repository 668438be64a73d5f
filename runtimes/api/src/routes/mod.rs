//! The routes, a file a resource.

mod assignments;
mod audit;
mod check;
mod docs;
mod entities;
mod events;
mod health;
mod roles;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use epr_core::store::{Cursor, Page};
use serde::Serialize;
use utoipa_axum::routes;

use crate::document::Documented;
use crate::failure::{Failure, answer};
use crate::input::Query;

/// Every route of the contract, a line a path.
pub(crate) fn all() -> Documented {
    Documented::new()
        .with(routes!(health::live))
        .with(routes!(health::ready))
        .with(routes!(health::metrics))
        .with(routes!(docs::openapi))
        .with(routes!(docs::page))
        .with(routes!(docs::file))
        .with(routes!(entities::create, entities::list))
        .with(routes!(entities::show, entities::change))
        .with(routes!(entities::archive))
        .with(routes!(roles::create, roles::list))
        .with(routes!(roles::show, roles::change))
        .with(routes!(assignments::create, assignments::list))
        .with(routes!(assignments::revoke))
        .with(routes!(events::ingest, events::list))
        .with(routes!(events::show))
        .with(routes!(audit::entries))
        .with(routes!(check::authorize))
        .with(routes!(check::permissions))
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
