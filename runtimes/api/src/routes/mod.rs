//! The routes, a file a resource.

mod assignments;
mod audit;
mod check;
mod docs;
mod entities;
mod events;
mod health;
mod roles;

use axum::http::StatusCode;
use axum::response::Response;
use serde::Serialize;
use utoipa_axum::routes;

use crate::document::Documented;
use crate::failure::{Failure, answer};

/// Every route of the contract, a line a path.
pub(crate) fn all() -> Documented {
    Documented::new()
        .with(routes!(health::live))
        .with(routes!(health::ready))
        .with(routes!(health::metrics))
        .with(routes!(docs::openapi))
        .with(routes!(docs::page))
        .with(routes!(docs::redoc))
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
