//! EPR over HTTP: requests in, use cases called, answers out.
//!
//! Owns routes, status codes and the shape of errors. Must hold no rule of the registry: those are in `epr-core`.

mod admission;
mod connection;
mod describe;
mod document;
mod edge;
mod failure;
mod figures;
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
use epr_core::settings::{HttpSettings, Limits};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowOrigin, Any, CorsLayer};
use utoipa::openapi::OpenApi;

use admission::Places;
use edge::Edge;
use figures::Figures;

pub use serve::{ServeError, serve};

/// What every route can reach.
#[derive(Clone)]
struct App {
    epr: Epr,
    limits: Limits,
    figures: Arc<Figures>,
    /// The OpenAPI document as JSON.
    document: Bytes,
}

/// The whole HTTP interface, ready to be served.
#[derive(Clone)]
pub struct Api {
    router: Router,
    limits: Limits,
    figures: Arc<Figures>,
}

impl Api {
    /// Over `epr`.
    #[must_use]
    pub fn new(epr: Epr, settings: &HttpSettings) -> Self {
        let (router, document) = routes::all().finish();
        let limits = settings.limits.clone();
        let figures = Arc::new(Figures::new(document.paths.paths.keys()));
        let document = text_of(&document).into();
        let app = App { epr, limits: limits.clone(), figures: Arc::clone(&figures), document };
        let router = router
            .fallback(failure::unknown_path)
            .method_not_allowed_fallback(failure::wrong_method)
            .with_state(Arc::new(app))
            .layer(CatchPanicLayer::custom(failure::after_panic));
        let router = if settings.cors_origins.is_empty() { router } else { router.layer(cors(&settings.cors_origins)) };
        let edge =
            Edge { places: Places::new(limits.concurrency), limit: limits.request, figures: Arc::clone(&figures) };
        let router = router.layer(middleware::from_fn_with_state(Arc::new(edge), edge::carry));
        Self { router, limits, figures }
    }
}

/// The whole HTTP interface over `epr`, without the limits of its connections.
pub fn router(epr: Epr, settings: &HttpSettings) -> Router {
    Api::new(epr, settings).router
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
