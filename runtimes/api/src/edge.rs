//! Around every route: the request's id and span, its place, its time limit, its count.
//!
//! One layer, not five: each would cost a box and a clone for every check. Must know nothing of what a route does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::{Body, HttpBody as _};
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use epr_core::domain::Invalid;
use tracing::{Instrument as _, info, warn};

use crate::admission::{Full, Places};
use crate::budget::{Budget, Exhausted, Share, UNCOUNTED};
use crate::failure::{self, Failure};
use crate::figures::{self, Figures};
use crate::input::{given_twice, is_doubled, traceparent};
use crate::listing::Counted;
use crate::request_id::{self, X_REQUEST_ID};

/// What the edge knows.
pub(crate) struct Edge {
    pub(crate) places: Places,
    pub(crate) limit: Duration,
    pub(crate) answers: Budget,
    pub(crate) figures: Arc<Figures>,
    /// Whether each request has a line in the log.
    pub(crate) access_log: bool,
}

/// Routes whose calls need a place. What operators ask (health, figures) must be answered above all when there is none.
const LIMITED: &str = "/api/";

fn is_limited(route: Option<&MatchedPath>) -> bool {
    route.is_some_and(|route| route.as_str().starts_with(LIMITED))
}

/// Whether a call of this method changes nothing.
fn is_read(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

/// Carries one request through.
pub(crate) async fn carry(State(edge): State<Arc<Edge>>, mut request: Request, next: Next) -> Response {
    let (echo, id) = request_id::take(&mut request);
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut count = edge.figures.begin(request.method(), route.as_ref().map(MatchedPath::as_str));
    let span = span(&request, route.as_ref(), &id);
    let access = edge.access_log.then(|| AccessLine::begin(&request));
    let reads = is_read(request.method());
    let (mut response, document) = if is_doubled(request.headers(), &X_REQUEST_ID) {
        (Failure::from(Invalid::one("header", Some("X-Request-ID"), given_twice())).into_response(), None)
    } else {
        edge.answer(request, next, span.clone(), route.as_ref()).await
    };
    if is_limited(route.as_ref()) {
        response = edge.counted(response, document, reads).await;
    }
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        response = failure::internal(&id);
    }
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().entry(header::RETRY_AFTER).or_insert(HeaderValue::from_static("1"));
    }
    if let Some(value) = echo {
        response.headers_mut().insert(&X_REQUEST_ID, value);
    }
    count.ended(response.status());
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

/// What a line about a request holds. Not the query, which may hold more than its sender knows.
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
        info!(target: "epr_api::access", method = method.as_str(), path, status = status.as_u16(), duration_ms, "http_request");
    }
}

/// The request's span. What only traces show is left out when nobody sees it.
fn span(request: &Request, route: Option<&MatchedPath>, id: &str) -> tracing::Span {
    if !epr_telemetry::on() {
        return tracing::info_span!("request", request_id = id);
    }
    let (method, route) = (figures::word(request.method()), route.map_or("unknown", MatchedPath::as_str));
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

impl Edge {
    /// Counts a large answer in the budget until it is sent: callers that read slowly hold no more than that. The answer of a change is
    /// what its caller sent, and goes under the share of that.
    async fn counted(&self, response: Response, document: Option<Share>, reads: bool) -> Response {
        let large = response.body().size_hint().exact().is_some_and(|bytes| bytes > UNCOUNTED as u64);
        if !large || response.extensions().get::<Counted>().is_some() {
            return response;
        }
        let (head, body) = response.into_parts();
        // It is in memory already, in one piece.
        let Ok(bytes) = axum::body::to_bytes(body, usize::MAX).await else { return failure::full() };
        let share = match document {
            Some(mut share) => {
                share.shrink(bytes.len());
                Ok(share)
            }
            None => self.answers.share_now(bytes.len()),
        };
        match share {
            Ok(share) => Response::from_parts(head, Body::from(share.cover(bytes))),
            Err(Exhausted) if reads => failure::full(),
            Err(Exhausted) => failure::unsent(),
        }
    }

    async fn answer(
        &self,
        mut request: Request,
        next: Next,
        span: tracing::Span,
        route: Option<&MatchedPath>,
    ) -> (Response, Option<Share>) {
        if !is_limited(route) {
            return (next.run(request).instrument(span).await, None);
        }
        let place = match self.places.enter() {
            Ok(place) => place,
            Err(Full) => return (failure::full(), None),
        };
        request.extensions_mut().insert(place.clone());
        let reads = is_read(request.method());
        let mut running = Box::pin(next.run(request).instrument(span.clone()));
        match tokio::time::timeout(self.limit, &mut running).await {
            Ok(response) => (response, place.take_document()),
            Err(_) => {
                let begun = Instant::now();
                span.in_scope(|| warn!(limit_seconds = self.limit.as_secs(), "request_timed_out"));
                if !reads {
                    // A change that was begun is brought to its end, with everything that follows from it.
                    let rest = async move {
                        running.await;
                        warn!(
                            late_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
                            "request_ended_late"
                        );
                        drop(place);
                    };
                    tokio::spawn(rest.instrument(span));
                }
                (failure::late(reads), None)
            }
        }
    }
}
