//! EPR over HTTP: requests in, use cases called, answers out.
//!
//! Owns routes, status codes and the shape of errors. Must hold no rule of the registry: those are in `epr-core`.

mod describe;
mod document;
mod failure;
mod input;
mod request_id;
mod routes;
mod serve;

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::middleware;
use epr_core::Epr;
use epr_core::settings::HttpSettings;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use utoipa::openapi::OpenApi;

pub use serve::{ServeError, serve};

/// What every route can reach.
#[derive(Clone)]
struct App {
    epr: Epr,
    max_body_bytes: usize,
    /// The OpenAPI document as JSON.
    document: Bytes,
}

/// The whole HTTP interface over `epr`.
pub fn router(epr: Epr, settings: &HttpSettings) -> Router {
    let (router, document) = routes::all().finish();
    let app = App { epr, max_body_bytes: settings.max_body_bytes, document: text_of(&document).into() };
    let router = router
        .fallback(failure::unknown_path)
        .method_not_allowed_fallback(failure::wrong_method)
        .with_state(Arc::new(app))
        .layer(CatchPanicLayer::custom(failure::after_panic));
    let router = if settings.cors_origins.is_empty() { router } else { router.layer(cors(&settings.cors_origins)) };
    router.layer(middleware::from_fn(request_id::carry))
}

/// The OpenAPI document of [`router`], as JSON for people.
#[must_use]
pub fn document() -> String {
    text_of(&routes::all().finish().1)
}

fn text_of(document: &OpenApi) -> String {
    // A document made in memory has nothing that JSON could not hold.
    document.to_pretty_json().map(|text| text + "\n").unwrap_or_default()
}

fn cors(origins: &[String]) -> CorsLayer {
    let layer = CorsLayer::new().allow_methods(Any).allow_headers(Any).expose_headers(Any);
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(Any);
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    layer.allow_origin(AllowOrigin::list(origins))
}
