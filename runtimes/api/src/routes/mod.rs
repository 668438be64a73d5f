//! The routes, a file a resource.

mod docs;
mod health;
mod v1;

use axum::response::Response;
use utoipa_axum::routes;

use crate::http::error::ApiError;
use crate::openapi::Routes;

/// Every route of the contract, a line a path.
pub(crate) fn all() -> Routes {
    Routes::new()
        .with(routes!(health::live))
        .with(routes!(health::ready))
        .with(routes!(health::metrics))
        .with(routes!(docs::openapi))
        .with(routes!(docs::page))
        .with(routes!(docs::redoc))
        .with(routes!(docs::file))
        .with(routes!(v1::entities::create, v1::entities::list))
        .with(routes!(v1::entities::show, v1::entities::change))
        .with(routes!(v1::entities::archive))
        .with(routes!(v1::roles::create, v1::roles::list))
        .with(routes!(v1::roles::show, v1::roles::change))
        .with(routes!(v1::assignments::create, v1::assignments::list))
        .with(routes!(v1::assignments::revoke))
        .with(routes!(v1::events::ingest, v1::events::list))
        .with(routes!(v1::events::show))
        .with(routes!(v1::audit::entries))
        .with(routes!(v1::check::authorize))
        .with(routes!(v1::check::permissions))
}

pub(crate) type Answer = Result<Response, ApiError>;
