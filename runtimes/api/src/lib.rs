//! EPR over HTTP: reads requests, calls the use cases of `epr-core`, writes responses.
//!
//! Owns routes, status codes and the form of errors. Must hold no rule of the registry: those are in `epr-core`.

#![warn(clippy::print_stdout, clippy::print_stderr)]

pub mod access;
mod http;
mod openapi;
mod routes;

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::HeaderValue;
use axum::middleware::from_fn_with_state;
use epr_core::authn::Authenticator;
use epr_core::domain::{Change, Revision};
use epr_core::settings::{HttpSettings, Limits, OpenPath, PdpId, UnknownMembers};
use epr_core::store::{ReadNeed, RowVisitor};
use epr_core::{Epr, Error};
use tokio::sync::{Semaphore, watch};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::cors::{AllowHeaders, AllowOrigin, Any, CorsLayer};
use utoipa::openapi::OpenApi;

use http::budget::Budget;
use http::console;
use http::error;
use http::guard::{self, Guard};
use http::http_metrics::HttpMetrics;
use http::middleware::{self, Middleware};
use http::permit::Permits;
use http::transport::Transport;
use openapi::Interface;

pub use http::invocations::{Fallback, Invocations, Origin};
pub use http::path::Service;
pub use http::serve::{ServeError, serve};

/// Bytes of request bodies in memory while they arrive.
const BODY_BYTES: usize = 64 << 20;
/// Bytes of parsed documents in memory while their calls run.
const DOCUMENT_BYTES: usize = 64 << 20;
/// Bytes of response bodies in memory until they are sent.
const RESPONSE_BYTES: usize = 96 << 20;

/// Of the open connections, one in this many may be a reader of changes.
const READER_SHARE: usize = 4;

/// The reads of changes that run at a time.
const FEED_READS: usize = 4;

/// The state that every handler can reach.
#[derive(Clone)]
struct App {
    epr: Epr,
    limits: Limits,
    transport: Transport,
    unknown_members: UnknownMembers,
    /// Production without authentication that the settings do not confirm as intended.
    unguarded: bool,
    metrics: Arc<HttpMetrics>,
    /// Memory for bodies that are arriving.
    bodies: Budget,
    /// Memory for documents whose calls are running.
    documents: Budget,
    /// Memory for responses that are not sent yet.
    answers: Budget,
    /// The OpenAPI document as JSON.
    document: Bytes,
    /// The identifier of this service as an AuthZEN policy decision point.
    pdp_id: Option<PdpId>,
    /// Whether callers are authenticated.
    authenticates: bool,
    /// The readers of changes that may be connected.
    readers: Permits,
    /// The reads of changes that run at a time: many readers wake at once.
    feed: Arc<Semaphore>,
    /// Becomes `true` when the service stops.
    stopping: Arc<watch::Sender<bool>>,
}

impl App {
    /// [`Epr::changes_since`], a few at a time.
    async fn read_changes(
        &self,
        need: ReadNeed,
        after: Option<Revision>,
        limit: u32,
        take: RowVisitor<'_, Change>,
    ) -> Result<Revision, Error> {
        let _turn = self.feed.acquire().await;
        self.epr.changes_since(need, after, limit, take).await
    }

    /// Whether the service stops: calls that wait are answered.
    fn is_stopping(&self) -> bool {
        *self.stopping.borrow()
    }

    /// Waits until the service stops.
    async fn stopping(&self) {
        // The sender lives as long as `self`.
        let _ = self.stopping.subscribe().wait_for(|stopping| *stopping).await;
    }
}

/// The authentication of callers, and the paths that are open without a credential.
pub struct Callers {
    /// Verifies credentials.
    pub authenticator: Arc<Authenticator>,
    /// The paths that `EPR_OPEN_PATHS` opens.
    pub open: Vec<OpenPath>,
}

impl Callers {
    /// Accepts every caller, without a credential.
    #[must_use]
    pub fn anyone() -> Self {
        Self { authenticator: Arc::new(Authenticator::none()), open: Vec::new() }
    }
}

/// The complete HTTP interface with the limits of its connections, ready for [`serve`].
#[derive(Clone)]
pub struct Api {
    service: Service,
    permits: Permits,
    limits: Limits,
    metrics: Arc<HttpMetrics>,
    /// Becomes `true` when the service stops.
    stopping: Arc<watch::Sender<bool>>,
}

impl Api {
    /// The interface over `epr`.
    #[must_use]
    pub fn new(epr: Epr, settings: &HttpSettings, callers: Callers) -> Self {
        Self::over(Transport::Connections, epr, settings, callers)
    }

    fn over(transport: Transport, epr: Epr, settings: &HttpSettings, callers: Callers) -> Self {
        let Interface { router, document, access } = routes::all().finish();
        let limits = settings.limits.clone();
        let (bodies, documents) = (Budget::new(BODY_BYTES), Budget::new(DOCUMENT_BYTES));
        let answers = Budget::new(RESPONSE_BYTES);
        let budgets = [("bodies", bodies.clone()), ("documents", documents.clone()), ("answers", answers.clone())];
        let paths = access.paths().cloned().chain(console_paths(settings).map(str::to_owned));
        let metrics = Arc::new(HttpMetrics::new(paths, budgets));
        let document = to_json(&document).into();
        let stopping = Arc::new(watch::Sender::new(false));
        let app = App {
            epr: epr.clone(),
            limits: limits.clone(),
            transport,
            unknown_members: settings.unknown_members,
            unguarded: callers.authenticator.unguarded(),
            metrics: Arc::clone(&metrics),
            bodies,
            documents,
            answers: answers.clone(),
            document,
            feed: Arc::new(Semaphore::new(FEED_READS)),
            readers: Permits::new((limits.connections / READER_SHARE).max(1)),
            stopping: Arc::clone(&stopping),
            pdp_id: settings.pdp_id.clone(),
            authenticates: !callers.authenticator.off(),
        };
        let visitors = settings.console.then(|| Arc::clone(&callers.authenticator));
        let console_epr = epr.clone();
        let router = router
            .fallback(error::unknown_path)
            .method_not_allowed_fallback(error::wrong_method)
            .with_state(Arc::new(app))
            .layer(CatchPanicLayer::custom(error::after_panic));
        // Without authentication the guard would allow everything: leaving it out saves its cost.
        let router = if callers.authenticator.off() {
            router
        } else {
            let guard = Guard::new(epr, callers, access, Arc::clone(&metrics));
            router.layer(from_fn_with_state(Arc::new(guard), guard::authenticate))
        };
        let router = if settings.cors_origins.is_empty() { router } else { router.layer(cors(&settings.cors_origins)) };
        // The console authenticates its visitors itself, and no other origin may call it.
        let router = match visitors {
            Some(authenticator) => console::mount(router, console_epr, authenticator, limits.body),
            None => router,
        };
        let permits = Permits::new(limits.concurrency);
        let around = Middleware {
            permits: permits.clone(),
            timeout: limits.request,
            transport,
            answers,
            metrics: Arc::clone(&metrics),
            access_log: settings.access_log,
        };
        let router = router.layer(from_fn_with_state(Arc::new(around), middleware::handle));
        Self { service: Service::new(router), permits, limits, metrics, stopping }
    }
}

/// The path templates of the console, if it is served.
fn console_paths(settings: &HttpSettings) -> impl Iterator<Item = &'static str> {
    let paths = if settings.console { epr_console::paths() } else { Vec::new() };
    paths.into_iter().map(|(_, path)| path)
}

/// The complete HTTP interface over `epr`, without the limits of connections.
#[must_use]
pub fn service(epr: Epr, settings: &HttpSettings, callers: Callers) -> Service {
    Api::new(epr, settings, callers).service
}

/// The OpenAPI document of [`service`], as indented JSON.
#[must_use]
pub fn document() -> String {
    to_json(&routes::all().finish().document)
}

fn to_json(document: &OpenApi) -> String {
    // A document built in memory has nothing that JSON cannot represent.
    document.to_pretty_json().map(|text| text + "\n").unwrap_or_default()
}

fn cors(origins: &[String]) -> CorsLayer {
    // Not `*`: browsers do not apply that to `Authorization`.
    let layer = CorsLayer::new().allow_methods(Any).allow_headers(AllowHeaders::mirror_request()).expose_headers(Any);
    if origins.iter().any(|origin| origin == "*") {
        return layer.allow_origin(Any);
    }
    let origins = origins.iter().filter_map(|origin| HeaderValue::from_str(origin).ok());
    layer.allow_origin(AllowOrigin::list(origins))
}
