//! Limits of the API: how much a caller may send, and for how long.

use std::time::Duration;

use super::reader::Reader;
use super::source::Source;
use super::variable::Variable;

pub(super) const BODY_BYTES: Variable = Variable::number(
    "EPR_MAX_BODY_BYTES",
    1 << 20,
    &(1 << 10..=64 << 20),
    "Maximum size of a request body in bytes. A larger one is answered 413.",
);
pub(super) const HEADER_BYTES: Variable = Variable::number(
    "EPR_MAX_HEADER_BYTES",
    32 << 10,
    &(8 << 10..=1 << 20),
    "Maximum size of a request's head in bytes. A larger one, or one with more than 100 headers, is answered 431.",
);
pub(super) const CONCURRENCY: Variable = Variable::number(
    "EPR_MAX_CONCURRENCY",
    512,
    &(1..=1 << 16),
    "Maximum number of calls under `/api/` and `/access/` in progress. One more is answered 503 with `Retry-After` at \
     once.",
);
pub(super) const CONNECTIONS: Variable = Variable::number(
    "EPR_MAX_CONNECTIONS",
    2048,
    &(16..=1 << 16),
    "Maximum number of open connections, and at most what the limit of open files allows. One more closes the \
     connection whose caller has been silent for longest.",
);
pub(super) const REQUEST: Variable = Variable::number(
    "EPR_REQUEST_TIMEOUT",
    30,
    &(1..=300),
    "Time after which a call under `/api/` or `/access/` is answered 503, in seconds. A change that has begun is \
     completed.",
);
pub(super) const HEAD: Variable = Variable::number(
    "EPR_HEADER_TIMEOUT",
    10,
    &(1..=300),
    "Time for the head of a request to arrive, in seconds. After it the connection is closed.",
);
pub(super) const BODY: Variable = Variable::number(
    "EPR_BODY_TIMEOUT",
    20,
    &(1..=300),
    "Time for the body of a request to arrive, in seconds. After it the call is answered 400 and the connection is \
     closed.",
);
pub(super) const KEEP_ALIVE: Variable = Variable::number(
    "EPR_KEEP_ALIVE_TIMEOUT",
    75,
    &(1..=3600),
    "Time that a connection may stay open without a request, in seconds. Longer than the load balancer's (60 s at \
     AWS), so that the server is not the first to close.",
);

/// Limits of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of a body, 1 KiB to 64 MiB.
    pub body_bytes: usize,
    /// Maximum size of a request's line and headers, 8 KiB to 1 MiB.
    pub header_bytes: usize,
    /// Maximum number of calls under `/api/` and `/access/` in progress, 1 to 65536; one more is answered 503 at once.
    pub concurrency: usize,
    /// Maximum number of open connections, 16 to 65536; one more closes the connection that has been silent for
    /// longest.
    pub connections: usize,
    /// Time after which a call is answered 503, 1 to 300 s.
    pub request: Duration,
    /// Time for the head of a request to arrive, 1 to 300 s from its first byte.
    pub head: Duration,
    /// Time for the body of a request to arrive, 1 to 300 s.
    pub body: Duration,
    /// Time that a connection may stay open without a request, 1 to 3600 s.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self::read(&mut Reader::new(&Source::default()))
    }
}

impl Limits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let mut size = |variable: &Variable| usize::try_from(reader.number(variable)).unwrap_or(usize::MAX);
        let (body_bytes, header_bytes) = (size(&BODY_BYTES), size(&HEADER_BYTES));
        let (concurrency, connections) = (size(&CONCURRENCY), size(&CONNECTIONS));
        let mut seconds = |variable: &Variable| Duration::from_secs(reader.number(variable));
        let (request, head) = (seconds(&REQUEST), seconds(&HEAD));
        let (body, keep_alive) = (seconds(&BODY), seconds(&KEEP_ALIVE));
        Self { body_bytes, header_bytes, concurrency, connections, request, head, body, keep_alive }
    }
}
