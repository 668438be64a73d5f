//! Error responses: the only place where an error becomes a status code and a body.

use std::any::Any;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use epr_core::Error;
use epr_core::domain::Invalid;
use epr_core::error::chain;
use serde::Serialize;
use tracing::error;

use super::respond::json;

/// Why a request fails.
#[derive(Debug)]
pub(crate) enum ApiError {
    /// A use case failed.
    Core(Error),
    /// The body is larger than this many bytes.
    BodyTooLarge(usize),
    /// No concurrency permit or no memory is free.
    Overloaded,
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::Core(error)
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::Core(invalid.into())
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        match self {
            Self::Core(error) => core_error(&error),
            Self::BodyTooLarge(limit) => body_too_large(limit),
            Self::Overloaded => overloaded(),
        }
    }
}

/// The status of an error.
pub(crate) fn status_of(error: &Error) -> StatusCode {
    match error {
        Error::Invalid(_) | Error::Refused(_) => StatusCode::BAD_REQUEST,
        Error::NotFound(_) => StatusCode::NOT_FOUND,
        Error::Conflict(_) => StatusCode::CONFLICT,
        Error::Unavailable(_) | Error::Busy(_) | Error::HistoryIncomplete(_) | Error::Archived(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

fn core_error(error: &Error) -> Response {
    let status = status_of(error);
    if status.is_server_error() {
        // Logged once, here, with its causes; the caller gets only the outermost sentence.
        error!(status = status.as_u16(), error = chain(error), "request_failed");
    }
    match error {
        Error::Invalid(invalid) => json(status, &Detail { detail: &invalid.0 }),
        other => detail(status, &other.to_string()),
    }
}

#[derive(Serialize)]
struct Detail<T> {
    detail: T,
}

/// `{"detail": sentence}`.
pub(crate) fn detail(status: StatusCode, sentence: &str) -> Response {
    json(status, &Detail { detail: sentence })
}

/// The text of [`detail`].
pub(crate) fn detail_text(sentence: &str) -> Vec<u8> {
    // A sentence can be written.
    serde_json::to_vec(&Detail { detail: sentence }).unwrap_or_default()
}

fn body_too_large(limit: usize) -> Response {
    let mut response = detail(StatusCode::PAYLOAD_TOO_LARGE, &format!("The body is larger than {limit} bytes"));
    // The rest of the body is discarded and the connection closed: no other request may follow on it.
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The body of a 500: a generic sentence, and the request id under which the log has the details.
pub(crate) fn internal(request_id: &str) -> Response {
    json(StatusCode::INTERNAL_SERVER_ERROR, &Internal::of(request_id))
}

/// The text of [`internal`].
pub(crate) fn internal_text(request_id: &str) -> Vec<u8> {
    // A sentence and an id can be written.
    serde_json::to_vec(&Internal::of(request_id)).unwrap_or_default()
}

#[derive(Serialize)]
struct Internal<'a> {
    detail: &'static str,
    request_id: &'a str,
}

impl<'a> Internal<'a> {
    fn of(request_id: &'a str) -> Self {
        Self { detail: "Internal server error", request_id }
    }
}

/// No concurrency permit or no memory is free.
pub(crate) fn overloaded() -> Response {
    let sentence = "The service is overloaded; retry after the time in `Retry-After`";
    detail(StatusCode::SERVICE_UNAVAILABLE, sentence)
}

/// The change was committed, but no memory is free for its response.
pub(crate) fn response_dropped() -> Response {
    let sentence = "The change was made, but there is no memory for its response; read the result later";
    detail(StatusCode::SERVICE_UNAVAILABLE, sentence)
}

/// The request exceeded its timeout. `reads` when it cannot have changed anything.
pub(crate) fn timed_out(reads: bool) -> Response {
    detail(StatusCode::SERVICE_UNAVAILABLE, timed_out_sentence(reads))
}

/// The sentence of [`timed_out`].
pub(crate) fn timed_out_sentence(reads: bool) -> &'static str {
    if reads {
        "The request timed out"
    } else {
        "The request timed out; the change may still be made, read the result before you retry"
    }
}

/// No route has this path.
pub(crate) async fn unknown_path() -> Response {
    detail(StatusCode::NOT_FOUND, "Not Found")
}

/// The path has no such method.
pub(crate) async fn wrong_method() -> Response {
    detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

/// A handler panicked.
pub(crate) fn after_panic(_: Box<dyn Any + Send>) -> Response {
    // The panic hook has logged it; the middleware, which knows the request id, writes the body.
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
