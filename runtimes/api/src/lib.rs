//! EPR over HTTP: requests in, use cases called, answers out.
//!
//! Owns routes, status codes and the shape of errors. Must hold no rule of the registry: those are in `epr-core`.

mod failure;
mod input;
mod request_id;
mod routes;
mod serve;

use std::sync::Arc;

use axum::Router;
use axum::http::HeaderValue;
use axum::middleware;
use epr_core::Epr;
use epr_core::settings::HttpSettings;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};

pub use serve::{ServeError, serve};

/// What every route can reach.
#[derive(Clone)]
struct App {
    epr: Epr,
    max_body_bytes: usize,
}

/// The whole HTTP interface over `epr`.
pub fn router(epr: Epr, settings: &HttpSettings) -> Router {
    let app = Arc::new(App { epr, max_body_bytes: settings.max_body_bytes });
    let router = routes::all()
        .fallback(failure::unknown_path)
        .method_not_allowed_fallback(failure::wrong_method)
        .with_state(app)
        .layer(CatchPanicLayer::custom(failure::after_panic));
    let router = if settings.cors_origins.is_empty() { router } else { router.layer(cors(&settings.cors_origins)) };
    router.layer(middleware::from_fn(request_id::carry))
}

fn cors(origins: &[String]) -> CorsLayer {
    let layer = CorsLayer::new().allow_methods(Any).allow_headers(Any).expose_headers(Any);
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(Any);
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    layer.allow_origin(AllowOrigin::list(origins))
}
