//! The client: what every endpoint shares.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use epr_core::domain::{IdempotencyKey, Invalid, Json, JsonObject, Moment, Revision, StatedReason, TraceParent};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};
use uuid::Uuid;

use crate::base_url::BaseUrl;
use crate::builder::Builder;
use crate::error::Error;
use crate::retry::Repeat;
use crate::revision::NewestRevision;
use crate::transport::{Answer, Request, Transport};
use crate::wire;

const X_ACTOR_ID: HeaderName = HeaderName::from_static("x-actor-id");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const EPR_REASON: HeaderName = HeaderName::from_static("epr-reason");
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const EPR_AT_LEAST: HeaderName = HeaderName::from_static("epr-at-least");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A client of one service. A clone shares the connections; the `with_…` methods return a clone that sends one more
/// header.
#[derive(Clone)]
pub struct Client {
    transport: Arc<Transport>,
    headers: HeaderMap,
    revisions: Option<NewestRevision>,
}

impl fmt::Debug for Client {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let token = self.transport.token.as_ref().map(|_| "…");
        out.debug_struct("Client")
            .field("base_url", &self.transport.base.to_string())
            .field("token", &token)
            .field("headers", &self.headers)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Settings for a client of the service at `base_url`, for example `https://epr.example.com`.
    pub fn builder(base_url: impl AsRef<str>) -> Builder {
        Builder::new(base_url.as_ref())
    }

    pub(crate) fn new(transport: Transport, headers: HeaderMap) -> Self {
        Self { transport: Arc::new(transport), headers, revisions: None }
    }

    /// The address of the service.
    #[must_use]
    pub fn base_url(&self) -> &BaseUrl {
        &self.transport.base
    }

    /// Names the actor of every change (`X-Actor-Id`), which the ledger records. With authentication, the credential
    /// needs the scope `epr:act-as` to name another actor than its own.
    #[must_use]
    pub fn with_actor(&self, actor_id: Uuid) -> Self {
        self.with_header(X_ACTOR_ID, &actor_id.to_string())
    }

    /// Names the request (`X-Request-ID`): the id in the log of the service, and the `correlation_id` of ledger
    /// entries. An id that a header cannot carry is not sent.
    #[must_use]
    pub fn with_request_id(&self, request_id: &str) -> Self {
        self.with_header(X_REQUEST_ID, request_id)
    }

    /// States why changes are made (`EPR-Reason`), for the ledger.
    #[must_use]
    pub fn with_reason(&self, reason: &StatedReason) -> Self {
        let mut client = self.clone();
        // Text without control characters is a valid value.
        if let Ok(value) = HeaderValue::from_bytes(reason.as_str().as_bytes()) {
            client.headers.insert(EPR_REASON, value);
        }
        client
    }

    /// Gives a key to a creation (`Idempotency-Key`): within a day the service carries it out once for this key,
    /// however often it is sent, and returns the first answer. The client repeats a creation under a key also when its
    /// answer was lost.
    ///
    /// One key is for one creation: use the returned client for that call only.
    #[must_use]
    pub fn with_idempotency_key(&self, key: &IdempotencyKey) -> Self {
        self.with_header(IDEMPOTENCY_KEY, key.as_str())
    }

    /// Makes the calls part of a trace (`traceparent`).
    #[must_use]
    pub fn with_traceparent(&self, traceparent: TraceParent) -> Self {
        self.with_header(TRACEPARENT, &traceparent.to_string())
    }

    /// Asks for answers that rest on `revision` or a later state (`EPR-At-Least`): checks, explanations, lists of
    /// access, and reads of the registry.
    #[must_use]
    pub fn with_at_least(&self, revision: Revision) -> Self {
        self.with_header(EPR_AT_LEAST, &revision.to_string())
    }

    /// Notes the revisions of answers in `newest`.
    #[must_use]
    pub fn noting_revisions(&self, newest: &NewestRevision) -> Self {
        Self { revisions: Some(newest.clone()), ..self.clone() }
    }

    fn with_header(&self, name: HeaderName, value: &str) -> Self {
        let mut client = self.clone();
        if let Ok(value) = HeaderValue::from_str(value) {
            client.headers.insert(name, value);
        }
        client
    }

    /// The URL of `path`, which begins without a slash.
    pub(crate) fn at(&self, path: &str) -> Url {
        self.transport.base.at(path)
    }

    /// The longest that the service may wait before it answers.
    pub(crate) fn longest_wait(&self) -> Duration {
        self.transport.timeout / 2
    }

    /// Sends a request until it succeeds or its error is final.
    pub(crate) async fn send(&self, request: Request) -> Result<Answer, Error> {
        let answer = self.transport.send(&request, &self.headers).await?;
        if let Some(revisions) = &self.revisions {
            revisions.note(&answer.headers);
        }
        Ok(answer)
    }

    /// Sends a request once; an answer of any status is returned.
    pub(crate) async fn attempt(&self, request: Request) -> Result<Answer, Error> {
        self.transport.attempt(&request, &self.headers).await
    }

    /// GET of one object.
    pub(crate) async fn get<T>(&self, path: &str, read: fn(&Json) -> Result<T, Invalid>) -> Result<T, Error> {
        let request = Request { method: Method::GET, url: self.at(path), body: None, repeat: Repeat::Safe };
        self.send(request).await?.read(read)
    }

    /// Reads an object as it was at a moment.
    pub(crate) async fn get_at<T>(
        &self,
        path: &str,
        moment: Moment,
        read: fn(&Json) -> Result<T, Invalid>,
    ) -> Result<T, Error> {
        let mut url = self.at(path);
        let mut pairs = wire::moment_pairs(moment).peekable();
        if pairs.peek().is_some() {
            url.query_pairs_mut().extend_pairs(pairs);
        }
        self.send(Request { method: Method::GET, url, body: None, repeat: Repeat::Safe }).await?.read(read)
    }

    /// Whether a creation can be repeated; `repeat` is for one without a key.
    pub(crate) fn creation_repeat(&self, repeat: Repeat) -> Repeat {
        if self.headers.contains_key(IDEMPOTENCY_KEY) { Repeat::Keyed } else { repeat }
    }

    /// A creation, and its answer. `repeat` says whether it can be repeated without a key.
    pub(crate) async fn create<T>(
        &self,
        path: &str,
        body: JsonObject,
        repeat: Repeat,
        read: impl FnOnce(&Json) -> Result<T, Invalid>,
    ) -> Result<T, Error> {
        self.submit(Method::POST, path, Some(Json::Object(body)), self.creation_repeat(repeat), read).await
    }

    /// A change or a check with a JSON body, and its answer.
    pub(crate) async fn submit<T>(
        &self,
        method: Method,
        path: &str,
        body: Option<Json>,
        repeat: Repeat,
        read: impl FnOnce(&Json) -> Result<T, Invalid>,
    ) -> Result<T, Error> {
        self.send(Request { method, url: self.at(path), body, repeat }).await?.read(read)
    }
}
