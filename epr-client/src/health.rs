//! `/healthz` and `/readyz`

use epr_core::domain::Json;
use reqwest::{Method, StatusCode};

use crate::client::Client;
use crate::error::{Error, ProtocolError};
use crate::retry::Repeat;
use crate::transport::Request;

/// Whether the service can serve calls, and the state of each dependency. The states are words of the service; new
/// ones can be added.
#[derive(Debug, Clone, PartialEq)]
pub struct Readiness {
    /// Whether checks and changes can be served.
    pub ready: bool,
    /// `ok`, `unavailable` or `missing_privileges`.
    pub database: String,
    /// The cache of the process: `ok`, `bypassed` or `off`. Not needed to serve.
    pub cache: String,
    /// The registry in the memory of the process: `ok`, `bypassed`, `too_large` or `off`; `None` for a service that
    /// does not report it. Not needed to serve.
    pub graph: Option<String>,
    /// The cache that processes share, if there is one. Not needed to serve.
    pub shared_cache: Option<SharedCache>,
    /// `off` in production when callers are not authenticated and no setting says that this is intended.
    pub authentication: Option<String>,
    /// How far the clock of the process is ahead of the database server's, in seconds.
    pub clock_offset_seconds: Option<f64>,
}

/// A cache that processes share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedCache {
    /// `redis` or `upstash`.
    pub kind: String,
    /// `ok` or `bypassed`.
    pub status: String,
}

impl Client {
    /// Asks whether the process answers. Touches no dependency. Sent once, as is [`readiness`](Self::readiness): a
    /// probe reports the present state.
    ///
    /// # Errors
    /// It does not answer, or another service does.
    pub async fn health(&self) -> Result<(), Error> {
        let answer = self.attempt(probe(self, "healthz")).await?;
        if answer.status.is_success() { answer.json().map(|_| ()) } else { Err(answer.error()) }
    }

    /// Asks for the state of the service and its dependencies. That the service is not ready is an answer, not an
    /// error.
    ///
    /// # Errors
    /// The process does not answer, or is no EPR service.
    pub async fn readiness(&self) -> Result<Readiness, Error> {
        let answer = self.attempt(probe(self, "readyz")).await?;
        match answer.status {
            StatusCode::OK => read(&answer.json()?).ok_or_else(|| {
                ProtocolError::Body { reason: "it does not have the members of readiness".into() }.into()
            }),
            // A proxy, or the limit of concurrent requests, answers 503 without the members of readiness.
            StatusCode::SERVICE_UNAVAILABLE => answer.json().ok().as_ref().and_then(read).ok_or_else(|| answer.error()),
            _ => Err(answer.error()),
        }
    }
}

fn probe(client: &Client, path: &str) -> Request {
    Request { method: Method::GET, url: client.at(path), body: None, repeat: Repeat::Safe }
}

fn read(json: &Json) -> Option<Readiness> {
    let dependencies = json.as_object()?.get("dependencies")?.as_object()?;
    let status_of = |name: &str| text(dependencies.get(name)?, "status");
    Some(Readiness {
        ready: text(json, "status")? == "ready",
        database: status_of("database")?,
        cache: status_of("cache")?,
        graph: status_of("graph"),
        shared_cache: dependencies
            .get("shared_cache")
            .and_then(|shared| Some(SharedCache { kind: text(shared, "kind")?, status: text(shared, "status")? })),
        authentication: text(json, "authentication"),
        clock_offset_seconds: match json.as_object()?.get("clock_offset_seconds") {
            Some(Json::Float(seconds)) => Some(*seconds),
            _ => None,
        },
    })
}

fn text(json: &Json, name: &str) -> Option<String> {
    json.as_object()?.get(name)?.as_text().map(str::to_owned)
}
