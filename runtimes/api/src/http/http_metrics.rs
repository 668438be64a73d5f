//! Metrics of the HTTP side: requests by route, method and status, their durations, connections, memory budgets.
//!
//! Labels come from closed sets: route templates, known methods, statuses. Must never use caller input as a label.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::http::{Method, StatusCode};
use prometheus_client::encoding::{EncodeLabelSet, text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use super::budget::Budget;

/// The label of requests that match no route.
const UNKNOWN_ROUTE: &str = "unknown";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    route: Arc<str>,
    method: &'static str,
    /// 0 when the caller disconnected before the response.
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    route: Arc<str>,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct BufferLabels {
    /// `bodies`, `documents` or `answers`.
    buffer: &'static str,
}

/// The metrics of one HTTP interface.
pub(crate) struct HttpMetrics {
    registry: Registry,
    routes: HashMap<String, Arc<str>>,
    unknown: Arc<str>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<OperationLabels, Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    timeouts: Counter,
    evicted: Counter,
    refused: Family<RefusedLabels, Counter>,
    buffered: Family<BufferLabels, Gauge>,
    buffer_refusals: Family<BufferLabels, Counter>,
    budgets: [(&'static str, Budget); 3],
}

/// Buckets from 0.5 ms to 16 s.
fn seconds() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0,
    ])
}

/// Registers a metric without labels and returns it.
fn register<M: Clone + Default + prometheus_client::registry::Metric>(
    registry: &mut Registry,
    name: &str,
    help: &str,
) -> M {
    let metric = M::default();
    registry.register(name, help, metric.clone());
    metric
}

impl HttpMetrics {
    /// The metrics of a router with these route templates.
    pub(crate) fn new(routes: impl Iterator<Item = String>, budgets: [(&'static str, Budget); 3]) -> Self {
        let mut registry = Registry::with_prefix("epr");
        let requests = register(&mut registry, "http_requests", "Requests by route, method and status");
        let durations = Family::<OperationLabels, Histogram>::new_with_constructor(seconds);
        let help = "Time from the head of a request to its response";
        registry.register_with_unit("http_request_duration", help, Unit::Seconds, durations.clone());
        let in_flight = register(&mut registry, "http_requests_in_flight", "Requests in progress");
        let connections = register(&mut registry, "http_connections", "Open connections of callers");
        let timeouts = register(
            &mut registry,
            "http_connections_timed_out",
            "Connections closed because the head of a request did not arrive in time",
        );
        let evicted = register(
            &mut registry,
            "http_connections_evicted",
            "Connections closed in favour of new ones; the one idle for longest is closed",
        );
        let buffered = Family::<BufferLabels, Gauge>::default();
        let help = "Memory of arriving bodies, of documents being parsed and of responses not yet sent";
        registry.register_with_unit("http_buffered", help, Unit::Bytes, buffered.clone());
        let buffer_refusals = register(
            &mut registry,
            "http_buffer_refusals",
            "Calls rejected because the memory for bodies, documents or responses was in use",
        );
        let refused =
            register(&mut registry, "requests_refused", "Requests without a valid credential or scope, by reason");
        let routes = routes.map(|route| (route.clone(), Arc::from(route))).collect();
        Self {
            registry,
            routes,
            unknown: UNKNOWN_ROUTE.into(),
            requests,
            durations,
            in_flight,
            connections,
            timeouts,
            evicted,
            refused,
            buffered,
            buffer_refusals,
            budgets,
        }
    }

    /// Begins to measure a request.
    pub(crate) fn begin(self: &Arc<Self>, method: &Method, route: Option<&str>) -> MeasuredRequest {
        let route = route.and_then(|route| self.routes.get(route)).unwrap_or(&self.unknown);
        self.in_flight.inc();
        MeasuredRequest {
            metrics: Arc::clone(self),
            route: Arc::clone(route),
            method: method_label(method),
            begun: Instant::now(),
            status: 0,
        }
    }

    /// Counts a connection as open until the returned value is dropped.
    pub(crate) fn connected(self: &Arc<Self>) -> OpenConnection {
        self.connections.inc();
        OpenConnection(Arc::clone(self))
    }

    /// Counts a connection that was closed because its request arrived too slowly.
    pub(crate) fn timed_out(&self) {
        self.timeouts.inc();
    }

    /// Counts a connection that was closed to make room for a new one.
    pub(crate) fn evicted(&self) {
        self.evicted.inc();
    }

    /// Counts a request without a valid credential or scope. `reason` must come from a closed set.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&RefusedLabels { reason }).inc();
    }

    /// Appends the metrics to `out` as `OpenMetrics` text without the closing `# EOF`.
    pub(crate) fn write(&self, out: &mut String) {
        for (buffer, budget) in &self.budgets {
            let buffer = BufferLabels { buffer };
            self.buffered.get_or_create(&buffer).set(i64::try_from(budget.used()).unwrap_or(i64::MAX));
            self.buffer_refusals.get_or_create(&buffer).inner().store(budget.refused(), Ordering::Relaxed);
        }
        // Writing into a string does not fail.
        let _ = text::encode_registry(out, &self.registry);
    }
}

/// A request in flight; its metrics are updated when it is dropped.
pub(crate) struct MeasuredRequest {
    metrics: Arc<HttpMetrics>,
    route: Arc<str>,
    method: &'static str,
    begun: Instant,
    status: u16,
}

impl MeasuredRequest {
    /// Notes the status of the response.
    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

impl Drop for MeasuredRequest {
    fn drop(&mut self) {
        let Self { metrics, route, method, begun, status } = self;
        metrics.in_flight.dec();
        let operation = OperationLabels { route: Arc::clone(route), method };
        metrics.durations.get_or_create(&operation).observe(begun.elapsed().as_secs_f64());
        metrics.requests.get_or_create(&RequestLabels { route: operation.route, method, status: *status }).inc();
    }
}

/// An open connection.
pub(crate) struct OpenConnection(Arc<HttpMetrics>);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// The label of a method: its name if HTTP defines it, else `other`.
pub(crate) fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::PUT => "PUT",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
