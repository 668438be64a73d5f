//! The HTTP interface for a runtime that has a whole request and wants a whole response: no connection, and no time
//! between two requests.
//!
//! Must never let an answer that could not be read to its end pass for a whole one.

use std::net::IpAddr;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{self, HeaderValue, StatusCode, header};
use axum::response::Response;
use epr_core::error::chain;
use epr_core::settings::HttpSettings;
use epr_core::{Epr, Error};
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;
use tracing::warn;

use super::error;
use super::middleware::{is_limited_path, is_read};
use super::path;
use super::permit::Permits;
use super::request_id::{AssignedRequestId, X_REQUEST_ID};
use super::transport::Transport;
use crate::{Api, Callers, Service};

/// The complete HTTP interface over `Epr`, one whole request at a time.
#[derive(Clone)]
pub struct Invocations {
    service: Service,
    permits: Permits,
}

/// The circumstances of a request that are not in it.
#[derive(Debug, Clone)]
pub struct Origin {
    /// The address of the caller.
    pub peer: Option<IpAddr>,
    /// The id of the request if it has no `X-Request-ID`.
    pub request_id: String,
}

impl Invocations {
    /// The interface over `epr`. Lists without a page end after about 3 MiB, and calls that would wait for changes are
    /// answered at once.
    #[must_use]
    pub fn new(epr: Epr, settings: &HttpSettings, callers: Callers) -> Self {
        let Api { service, permits, .. } = Api::over(Transport::Invocations, epr, settings, callers);
        Self { service, permits }
    }

    /// Answers a request.
    pub async fn call(&self, request: http::Request<Bytes>, origin: Origin) -> http::Response<Bytes> {
        let fallback = Fallback::of(&request, &origin);
        let service = match origin.peer {
            Some(peer) => self.service.clone().of_peer(peer),
            None => self.service.clone(),
        };
        let mut request: Request = request.map(Body::from);
        request.extensions_mut().insert(AssignedRequestId(origin.request_id));
        // The service never fails.
        let Ok(response) = service.oneshot(request).await;
        let (head, body) = Response::into_parts(response);
        match body.collect().await {
            Ok(body) => http::Response::from_parts(head, body.to_bytes()),
            Err(error) => {
                warn!(error = chain(&error), "answer_not_read");
                let sentence = "The answer could not be read to its end; repeat the request";
                fallback.sentence(StatusCode::SERVICE_UNAVAILABLE, sentence)
            }
        }
    }

    /// Whether the answer to a request for this target may need the database: not that of liveness and readiness, of
    /// the documentation, and of metrics.
    #[must_use]
    pub fn needs_database(target: &http::Uri) -> bool {
        path::normalized(target).map_or_else(|| is_limited_path(target.path()), |uri| is_limited_path(uri.path()))
    }

    /// Waits until no call is in progress.
    pub async fn settle(&self) {
        self.permits.all_free().await;
    }
}

/// The answers to a request that has none of the service.
pub struct Fallback {
    request_id: Option<HeaderValue>,
    /// Whether the request cannot change anything.
    reads: bool,
}

impl Fallback {
    /// For this request.
    #[must_use]
    pub fn of(request: &http::Request<Bytes>, origin: &Origin) -> Self {
        let given = request.headers().get(&X_REQUEST_ID).filter(|id| !id.is_empty()).cloned();
        Self {
            request_id: given.or_else(|| HeaderValue::from_str(&origin.request_id).ok()),
            reads: is_read(request.method()),
        }
    }

    /// The answer to what cannot be read as a request, in the invocation with this id.
    #[must_use]
    pub fn unreadable(invocation: &str, problem: &str) -> http::Response<Bytes> {
        let fallback = Self { request_id: HeaderValue::from_str(invocation).ok(), reads: true };
        fallback.sentence(StatusCode::BAD_REQUEST, problem)
    }

    /// The id of the request, as the log has it.
    #[must_use]
    pub fn request_id(&self) -> &str {
        self.request_id.as_ref().and_then(|id| id.to_str().ok()).unwrap_or_default()
    }

    /// The service cannot work because of `error`.
    #[must_use]
    pub fn refused(&self, error: &Error) -> http::Response<Bytes> {
        match error::status_of(error) {
            StatusCode::INTERNAL_SERVER_ERROR => {
                self.response(StatusCode::INTERNAL_SERVER_ERROR, error::internal_text(self.request_id()))
            }
            status => self.sentence(status, &error.to_string()),
        }
    }

    /// The invocation has no time left.
    #[must_use]
    pub fn timed_out(&self) -> http::Response<Bytes> {
        self.sentence(StatusCode::SERVICE_UNAVAILABLE, error::timed_out_sentence(self.reads))
    }

    /// The answer has more bytes than an invocation can return.
    #[must_use]
    pub fn too_large(&self, bytes: usize, limit: usize) -> http::Response<Bytes> {
        if self.reads {
            let sentence =
                format!("The answer has {bytes} bytes, of which a function can return {limit}; ask for less");
            return self.sentence(StatusCode::BAD_REQUEST, &sentence);
        }
        let sentence = format!("The call was made, but a function cannot return its answer of {bytes} bytes");
        self.sentence(StatusCode::INTERNAL_SERVER_ERROR, &sentence)
    }

    fn sentence(&self, status: StatusCode, sentence: &str) -> http::Response<Bytes> {
        self.response(status, error::detail_text(sentence))
    }

    fn response(&self, status: StatusCode, body: Vec<u8>) -> http::Response<Bytes> {
        let mut response = http::Response::new(body.into());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        if let Some(id) = &self.request_id {
            headers.insert(&X_REQUEST_ID, id.clone());
        }
        response
    }
}
