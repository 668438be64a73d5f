//! How much one caller may ask of the API, and for how long.

use std::time::Duration;

use super::source::Reader;

/// `EPR_MAX_BODY_BYTES`, `EPR_MAX_HEADER_BYTES`, `EPR_MAX_CONCURRENCY`, `EPR_MAX_CONNECTIONS`, `EPR_REQUEST_TIMEOUT`,
/// `EPR_HEADER_TIMEOUT`, `EPR_BODY_TIMEOUT`, `EPR_KEEP_ALIVE_TIMEOUT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// The largest body taken, 1 KiB to 64 MiB.
    pub body_bytes: usize,
    /// The largest head of a request (its line and headers) taken, 8 KiB to 1 MiB.
    pub header_bytes: usize,
    /// Calls under `/api/` that are worked on at a time, 1 to 65536; one more is answered 503 at once.
    pub concurrency: usize,
    /// Connections that may be open, 16 to 65536; one more closes the one whose caller has been silent for longest.
    pub connections: usize,
    /// How long a call may take before it is answered 503, 1 to 300 s.
    pub request: Duration,
    /// How long the head of a request may take to arrive, 1 to 300 s from its first byte.
    pub head: Duration,
    /// How long the body of a request may take to arrive, 1 to 300 s.
    pub body: Duration,
    /// How long a connection may stay open without a request, 1 to 3600 s.
    pub keep_alive: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            header_bytes: 32 << 10,
            concurrency: 512,
            connections: 2048,
            request: Duration::from_secs(30),
            head: Duration::from_secs(10),
            body: Duration::from_secs(20),
            // Longer than load balancers keep theirs (60 s at AWS): who closes first must not be the server.
            keep_alive: Duration::from_secs(75),
        }
    }
}

impl Limits {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = Self::default();
        let size = |reader: &mut Reader<'_>, name: &str, default: usize, min: u64, max: u64| {
            usize::try_from(reader.number(name, default as u64, min, max)).unwrap_or(default)
        };
        let seconds = |reader: &mut Reader<'_>, name: &str, default: Duration, max: u64| {
            Duration::from_secs(reader.number(name, default.as_secs(), 1, max))
        };
        Self {
            body_bytes: size(reader, "EPR_MAX_BODY_BYTES", default.body_bytes, 1 << 10, 64 << 20),
            header_bytes: size(reader, "EPR_MAX_HEADER_BYTES", default.header_bytes, 8 << 10, 1 << 20),
            concurrency: size(reader, "EPR_MAX_CONCURRENCY", default.concurrency, 1, 1 << 16),
            connections: size(reader, "EPR_MAX_CONNECTIONS", default.connections, 16, 1 << 16),
            request: seconds(reader, "EPR_REQUEST_TIMEOUT", default.request, 300),
            head: seconds(reader, "EPR_HEADER_TIMEOUT", default.head, 300),
            body: seconds(reader, "EPR_BODY_TIMEOUT", default.body, 300),
            keep_alive: seconds(reader, "EPR_KEEP_ALIVE_TIMEOUT", default.keep_alive, 3600),
        }
    }
}
