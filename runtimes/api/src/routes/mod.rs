//! The routes, a file for each resource. Each file declares its routes in `routes()`, next to their handlers.

mod authzen;
mod docs;
mod health;
mod v1;

use axum::response::Response;

use crate::http::error::ApiError;
use crate::openapi::Routes;

/// Every route of the interface.
pub(crate) fn all() -> Routes {
    Routes::new()
        .with(health::routes())
        .with(docs::routes())
        .with(v1::entities::routes())
        .with(v1::roles::routes())
        .with(v1::assignments::routes())
        .with(v1::principals::routes())
        .with(v1::check::routes())
        .with(v1::check_batch::routes())
        .with(v1::explain::routes())
        .with(v1::access::routes())
        .with(v1::events::routes())
        .with(v1::audit::routes())
        .with(v1::changes::routes())
        .with(authzen::routes())
        .with(v1::ledger::routes())
}

/// The result of a handler.
pub(crate) type HandlerResult = Result<Response, ApiError>;
