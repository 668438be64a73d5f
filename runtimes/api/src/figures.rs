//! Figures of the HTTP side: requests by route, method and status, how long they took, connections.
//!
//! Labels come from a closed set: a route's template, known methods, statuses. What a stranger writes gets into none.

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

use crate::budget::Budget;

/// In place of a route: no route has that path.
const UNKNOWN: &str = "unknown";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Request {
    route: Arc<str>,
    method: &'static str,
    /// 0 when the caller went away before there was one.
    status: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    route: Arc<str>,
    method: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refused {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Buffer {
    /// `bodies`, `documents` or `answers`.
    buffer: &'static str,
}

/// The figures.
pub(crate) struct Figures {
    registry: Registry,
    routes: HashMap<String, Arc<str>>,
    unknown: Arc<str>,
    requests: Family<Request, Counter>,
    durations: Family<Operation, Histogram>,
    in_flight: Gauge,
    connections: Gauge,
    timeouts: Counter,
    evicted: Counter,
    refused: Family<Refused, Counter>,
    buffered: Family<Buffer, Gauge>,
    buffer_refusals: Family<Buffer, Counter>,
    budgets: [(&'static str, Budget); 3],
}

/// 0.5 ms to 16 s.
fn seconds() -> Histogram {
    Histogram::new([
        0.0005, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064, 0.128, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0,
    ])
}

impl Figures {
    /// For a router with these routes.
    pub(crate) fn new<'a>(routes: impl Iterator<Item = &'a String>, budgets: [(&'static str, Budget); 3]) -> Self {
        let mut registry = Registry::with_prefix("epr");
        let requests = Family::<Request, Counter>::default();
        let durations = Family::<Operation, Histogram>::new_with_constructor(seconds);
        let (in_flight, connections, timeouts) = (Gauge::default(), Gauge::default(), Counter::default());
        registry.register("http_requests", "Requests by route, method and status", requests.clone());
        registry.register_with_unit(
            "http_request_duration",
            "From the head of a request to its answer",
            Unit::Seconds,
            durations.clone(),
        );
        registry.register("http_requests_in_flight", "Requests being worked on", in_flight.clone());
        registry.register("http_connections", "Open connections", connections.clone());
        registry.register(
            "http_connections_timed_out",
            "Connections closed because a request did not arrive in time",
            timeouts.clone(),
        );
        let evicted = Counter::default();
        registry.register(
            "http_connections_evicted",
            "Connections closed to make room for new ones: their callers were silent for longest",
            evicted.clone(),
        );
        let (buffered, buffer_refusals) = (Family::<Buffer, Gauge>::default(), Family::<Buffer, Counter>::default());
        registry.register_with_unit(
            "http_buffered",
            "Memory of bodies that arrive, of documents in work and of answers that are not sent yet",
            Unit::Bytes,
            buffered.clone(),
        );
        registry.register(
            "http_buffer_refusals",
            "Calls refused because the memory for bodies, documents or answers was in use",
            buffer_refusals.clone(),
        );
        let refused = Family::<Refused, Counter>::default();
        registry.register(
            "requests_refused",
            "Requests without a valid credential or scope, by reason",
            refused.clone(),
        );
        let routes = routes.map(|route| (route.clone(), Arc::from(route.as_str()))).collect();
        Self {
            registry,
            routes,
            unknown: UNKNOWN.into(),
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

    /// Counts a request from now on.
    pub(crate) fn begin(self: &Arc<Self>, method: &Method, route: Option<&str>) -> Count {
        let route = route.and_then(|route| self.routes.get(route)).unwrap_or(&self.unknown);
        self.in_flight.inc();
        Count {
            figures: Arc::clone(self),
            route: Arc::clone(route),
            method: word(method),
            begun: Instant::now(),
            status: 0,
        }
    }

    /// A connection, for as long as what this gives is kept.
    pub(crate) fn connected(self: &Arc<Self>) -> Connected {
        self.connections.inc();
        Connected(Arc::clone(self))
    }

    /// A connection was closed because its caller was too slow.
    pub(crate) fn timed_out(&self) {
        self.timeouts.inc();
    }

    /// A connection was closed to make room for a new one.
    pub(crate) fn evicted(&self) {
        self.evicted.inc();
    }

    /// A request was refused for want of a valid credential or scope. `reason` is one of a few words.
    pub(crate) fn refused(&self, reason: &'static str) {
        self.refused.get_or_create(&Refused { reason }).inc();
    }

    /// Adds them to `out`, in Prometheus' (`OpenMetrics`) text without its end.
    pub(crate) fn write(&self, out: &mut String) {
        for (buffer, budget) in &self.budgets {
            let buffer = Buffer { buffer };
            self.buffered.get_or_create(&buffer).set(i64::try_from(budget.used()).unwrap_or(i64::MAX));
            self.buffer_refusals.get_or_create(&buffer).inner().store(budget.refused(), Ordering::Relaxed);
        }
        // Writing into a string does not fail.
        let _ = text::encode_registry(out, &self.registry);
    }
}

/// One request while it is being worked on; counted when dropped.
pub(crate) struct Count {
    figures: Arc<Figures>,
    route: Arc<str>,
    method: &'static str,
    begun: Instant,
    status: u16,
}

impl Count {
    /// It has been answered.
    pub(crate) fn ended(&mut self, status: StatusCode) {
        self.status = status.as_u16();
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        let Self { figures, route, method, begun, status } = self;
        figures.in_flight.dec();
        let operation = Operation { route: Arc::clone(route), method };
        figures.durations.get_or_create(&operation).observe(begun.elapsed().as_secs_f64());
        figures.requests.get_or_create(&Request { route: operation.route, method, status: *status }).inc();
    }
}

/// One connection.
pub(crate) struct Connected(Arc<Figures>);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.connections.dec();
    }
}

/// The method, if it is one of those that HTTP has.
pub(crate) fn word(method: &Method) -> &'static str {
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
