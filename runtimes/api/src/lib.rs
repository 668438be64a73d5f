//! EPR over HTTP: requests in, use cases called, answers out.
//!
//! Owns routes, status codes and the shape of errors. Must hold no rule of the registry: those are in `epr-core`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
mod admission;
mod body;
mod budget;
mod connection;
mod connections;
mod describe;
mod document;
mod edge;
mod failure;
mod figures;
mod guard;
mod input;
mod listing;
mod marks;
mod members;
mod path;
mod request_id;
mod routes;
mod security;
mod serve;

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::middleware;
use epr_core::Epr;
use epr_core::authn::Authenticator;
use epr_core::settings::{HttpSettings, Limits, OpenPath, UnknownMembers};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};
use utoipa::openapi::OpenApi;

use admission::Places;
use budget::Budget;
use edge::Edge;
use figures::Figures;
use guard::Guard;

pub use connections::raise_descriptor_limit;
pub use path::Service;
pub use serve::{ServeError, serve};

/// Bytes of bodies in memory while they arrive.
const BODY_BYTES: usize = 64 << 20;
/// Bytes of documents in memory while their calls are worked on.
const DOCUMENT_BYTES: usize = 64 << 20;
/// Bytes of answers in memory at a time, until they are sent.
const ANSWER_BYTES: usize = 96 << 20;

/// What every route can reach.
#[derive(Clone)]
struct App {
    epr: Epr,
    limits: Limits,
    unknown_members: UnknownMembers,
    /// Production without authentication, which the settings do not say is meant.
    unguarded: bool,
    figures: Arc<Figures>,
    /// What bodies may take while they arrive.
    bodies: Budget,
    /// What documents may take while their calls are worked on.
    documents: Budget,
    /// What answers may take until they are sent.
    answers: Budget,
    /// The OpenAPI document as JSON.
    document: Bytes,
}

/// Who may call: what tells who they are, and what is answered without.
pub struct Callers {
    /// Tells who is calling.
    pub authenticator: Arc<Authenticator>,
    /// What is open even so.
    pub open: Vec<OpenPath>,
}

impl Callers {
    /// Anyone, without a credential.
    #[must_use]
    pub fn anyone() -> Self {
        Self { authenticator: Arc::new(Authenticator::none()), open: Vec::new() }
    }
}

/// The whole HTTP interface, ready to be served.
#[derive(Clone)]
pub struct Api {
    service: Service,
    limits: Limits,
    figures: Arc<Figures>,
}

impl Api {
    /// Over `epr`.
    #[must_use]
    pub fn new(epr: Epr, settings: &HttpSettings, callers: Callers) -> Self {
        let (router, document) = routes::all().finish();
        let limits = settings.limits.clone();
        let (bodies, documents) = (Budget::new(BODY_BYTES), Budget::new(DOCUMENT_BYTES));
        let answers = Budget::new(ANSWER_BYTES);
        let budgets = [("bodies", bodies.clone()), ("documents", documents.clone()), ("answers", answers.clone())];
        let figures = Arc::new(Figures::new(document.paths.paths.keys(), budgets));
        let document = text_of(&document).into();
        let app = App {
            epr: epr.clone(),
            limits: limits.clone(),
            unknown_members: settings.unknown_members,
            unguarded: callers.authenticator.unguarded(),
            figures: Arc::clone(&figures),
            bodies,
            documents,
            answers: answers.clone(),
            document,
        };
        let router = router
            .fallback(failure::unknown_path)
            .method_not_allowed_fallback(failure::wrong_method)
            .with_state(Arc::new(app))
            .layer(CatchPanicLayer::custom(failure::after_panic));
        // Without authentication there is nothing to ask, and nothing is paid for it.
        let router = if callers.authenticator.off() {
            router
        } else {
            let guard = Guard::new(epr, callers, Arc::clone(&figures));
            router.layer(middleware::from_fn_with_state(Arc::new(guard), guard::stand))
        };
        let router = if settings.cors_origins.is_empty() { router } else { router.layer(cors(&settings.cors_origins)) };
        let edge = Edge {
            places: Places::new(limits.concurrency),
            limit: limits.request,
            answers,
            figures: Arc::clone(&figures),
            access_log: settings.access_log,
        };
        let router = router.layer(middleware::from_fn_with_state(Arc::new(edge), edge::carry));
        Self { service: Service::new(router), limits, figures }
    }
}

/// The whole HTTP interface over `epr`, without the limits of its connections.
#[must_use]
pub fn service(epr: Epr, settings: &HttpSettings, callers: Callers) -> Service {
    Api::new(epr, settings, callers).service
}

/// The OpenAPI document of [`service`], as JSON for people.
#[must_use]
pub fn document() -> String {
    text_of(&routes::all().finish().1)
}

fn text_of(document: &OpenApi) -> String {
    // A document made in memory has nothing that JSON could not hold.
    document.to_pretty_json().map(|text| text + "\n").unwrap_or_default()
}

fn cors(origins: &[String]) -> CorsLayer {
    // Not `*`: browsers do not take that for `Authorization`.
    let layer = CorsLayer::new().allow_methods(Any).allow_headers(AllowHeaders::mirror_request()).expose_headers(Any);
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(Any);
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    layer.allow_origin(AllowOrigin::list(origins))
}
