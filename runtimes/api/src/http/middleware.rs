//! The one layer around every route: request id, span, concurrency permit, timeout, metrics, access log.
//!
//! One layer instead of five, because each costs a box and a clone for every check. Must know nothing of what a route
//! does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use epr_core::domain::Invalid;
use tracing::{Instrument as _, info, warn};

use super::budget::{Budget, Exhausted, Reservation, UNCOUNTED_BYTES};
use super::error::{self, ApiError};
use super::extract::{given_twice, is_doubled, traceparent};
use super::http_metrics::{self, HttpMetrics};
use super::listing::Accounted;
use super::permit::{Overloaded, Permits};
use super::request_id::{self, X_REQUEST_ID};
use super::transport::Transport;

/// The state of the layer.
pub(crate) struct Middleware {
    pub(crate) permits: Permits,
    /// The longest that a response may take.
    pub(crate) timeout: Duration,
    pub(crate) transport: Transport,
    /// Memory for responses that are not sent yet.
    pub(crate) answers: Budget,
    pub(crate) metrics: Arc<HttpMetrics>,
    /// Whether each request is logged as `http_request`.
    pub(crate) access_log: bool,
}

/// Whether calls of the route with this path template need a permit. Health and metrics are outside: operators need
/// them most when no permit is free.
pub(crate) fn is_limited_path(path: &str) -> bool {
    path.starts_with("/api/") || path.starts_with("/access/") || epr_console::is_console_path(path)
}

fn is_limited(route: Option<&MatchedPath>) -> bool {
    route.is_some_and(|route| is_limited_path(route.as_str()))
}

/// Whether a request with this method changes nothing.
pub(super) fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Handles one request from its head to its response.
pub(crate) async fn handle(State(middleware): State<Arc<Middleware>>, mut request: Request, next: Next) -> Response {
    let (echo, id) = request_id::take(&mut request);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut measured = middleware.metrics.begin(request.method(), route.as_ref().map(MatchedPath::as_str));
    let span = span(&request, route.as_ref(), &id);
    let access = middleware.access_log.then(|| AccessLine::begin(&request));
    let reads = is_read(request.method());
    let (mut response, document) = if is_doubled(request.headers(), &X_REQUEST_ID) {
        (ApiError::from(Invalid::one("header", Some("X-Request-ID"), given_twice())).into_response(), None)
    } else {
        middleware.run(request, next, span.clone(), route.as_ref()).await
    };
    if is_limited(route.as_ref()) {
        response = middleware.account(response, document, reads).await;
    }
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        response = error::internal(&id);
    }
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
    if let Some(value) = echo {
        response.headers_mut().insert(&X_REQUEST_ID, value);
    }
    measured.answered(response.status());
    if let Some(access) = access {
        span.in_scope(|| access.end(response.status()));
    }
    if epr_telemetry::on() {
        span.record("http.response.status_code", response.status().as_u16());
        if response.status().is_server_error() {
            span.record("otel.status_code", "ERROR");
        }
    }
    response
}

/// The fields of an `http_request` line. The query is left out: it may hold personal data.
struct AccessLine {
    begun: Instant,
    method: Method,
    path: String,
}

impl AccessLine {
    fn begin(request: &Request) -> Self {
        Self { begun: Instant::now(), method: request.method().clone(), path: request.uri().path().to_owned() }
    }

    fn end(self, status: StatusCode) {
        let Self { begun, method, path } = self;
        let duration_ms = begun.elapsed().as_secs_f64() * 1e3;
        let (method, status) = (method.as_str(), status.as_u16());
        info!(target: "epr_api::access", method, path, status, duration_ms, "http_request");
    }
}

/// The span of a request. Without tracing it has only the request id, which log lines need.
fn span(request: &Request, route: Option<&MatchedPath>, id: &str) -> tracing::Span {
    if !epr_telemetry::on() {
        return tracing::info_span!("request", request_id = id);
    }
    let method = http_metrics::method_label(request.method());
    let route = route.map_or("unknown", MatchedPath::as_str);
    let span = tracing::info_span!(
        "request",
        request_id = id,
        otel.name = format_args!("{method} {route}"),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = method,
        http.route = route,
        http.response.status_code = tracing::field::Empty,
    );
    epr_telemetry::adopt(&span, traceparent(request.headers()));
    span
}

impl Middleware {
    /// Counts a large response in the budget until it is sent, so that callers that read slowly are bounded in memory.
    /// The response to a change is about as large as its document and takes over the document's reservation.
    async fn account(&self, response: Response, document: Option<Reservation>, reads: bool) -> Response {
        let large = response.body().size_hint().exact().is_some_and(|bytes| bytes > UNCOUNTED_BYTES as u64);
        if !large || response.extensions().get::<Accounted>().is_some() {
            return response;
        }
        let (head, body) = response.into_parts();
        // The body is one piece in memory already: this copies nothing and cannot wait.
        let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else { return error::overloaded() };
        let reservation = match document {
            Some(mut reservation) => {
                reservation.shrink(bytes.len());
                Ok(reservation)
            }
            None => self.answers.reserve_now(bytes.len()),
        };
        match reservation {
            Ok(reservation) => Response::from_parts(head, Body::from(reservation.attach(bytes))),
            Err(Exhausted) if reads => error::overloaded(),
            Err(Exhausted) => error::response_dropped(),
        }
    }

    /// Runs the route under a permit and within the timeout; returns the response, and the reservation of the request's
    /// document.
    async fn run(
        &self,
        mut request: Request,
        next: Next,
        span: tracing::Span,
        route: Option<&MatchedPath>,
    ) -> (Response, Option<Reservation>) {
        if !is_limited(route) {
            return (next.run(request).instrument(span).await, None);
        }
        let permit = match self.permits.acquire() {
            Ok(permit) => permit,
            Err(Overloaded) => return (error::overloaded(), None),
        };
        request.extensions_mut().insert(permit.clone());
        let reads = is_read(request.method());
        let mut running = Box::pin(next.run(request).instrument(span.clone()));
        if !reads && !self.transport.completes_later() {
            // An invocation ends only with what it has begun, so that its answer can be that of the change. What lasts
            // longer than an invocation is cut off with this future.
            return (running.await, permit.take_document());
        }
        let mut outcome = tokio::time::timeout(self.timeout, &mut running).await;
        if outcome.is_err() && !permit.extension().is_zero() {
            outcome = tokio::time::timeout(permit.extension(), &mut running).await;
        }
        if let Ok(response) = outcome {
            return (response, permit.take_document());
        }
        let timed_out_at = Instant::now();
        span.in_scope(|| warn!(limit_seconds = self.timeout.as_secs(), "request_timed_out"));
        if !reads {
            // A change that has begun is completed in the background, with everything that follows from it.
            let rest = async move {
                running.await;
                let late_ms = u64::try_from(timed_out_at.elapsed().as_millis()).unwrap_or(u64::MAX);
                warn!(late_ms, "request_ended_late");
                drop(permit);
            };
            tokio::spawn(rest.instrument(span));
        }
        (error::timed_out(reads), None)
    }
}
