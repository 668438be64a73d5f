//! From an error to a status code and a body: the only place where one becomes the other.

use std::any::Any;

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use epr_core::Error;
use epr_core::domain::Invalid;
use epr_core::error::chain;
use serde::Serialize;
use tracing::error;

/// Why a request gets no answer of its own.
#[derive(Debug)]
pub(crate) enum Failure {
    /// A use case did not succeed.
    Use(Error),
    /// The body is over the limit, in bytes.
    TooLarge(usize),
    /// There is more to do than can be done in time.
    Full,
}

impl From<Error> for Failure {
    fn from(fault: Error) -> Self {
        Self::Use(fault)
    }
}

impl From<Invalid> for Failure {
    fn from(fault: Invalid) -> Self {
        Self::Use(fault.into())
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let fault = match self {
            Self::Use(fault) => fault,
            Self::TooLarge(limit) => {
                let limit = format!("The body is larger than {limit} bytes");
                let mut refused = detail(StatusCode::PAYLOAD_TOO_LARGE, &limit);
                // The rest of the body is discarded and the connection closed: no other request may follow on it.
                refused.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                return refused;
            }
            Self::Full => return full(),
        };
        let status = match &fault {
            Error::Invalid(_) | Error::Refused(_) => StatusCode::BAD_REQUEST,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Unavailable(_) | Error::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            // Logged once, here at the edge, with its causes; the caller reads only the outermost sentence.
            error!(status = status.as_u16(), error = chain(&fault), "request_failed");
        }
        match &fault {
            Error::Invalid(invalid) => answer(status, &Detail { detail: &invalid.0 }),
            other => detail(status, &other.to_string()),
        }
    }
}

#[derive(Serialize)]
struct Detail<T> {
    detail: T,
}

/// `{"detail": sentence}`.
pub(crate) fn detail(status: StatusCode, sentence: &str) -> Response {
    answer(status, &Detail { detail: sentence })
}

/// Any value as a JSON body.
pub(crate) fn answer(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response(),
        Err(fault) => {
            error!(error = %fault, "response_not_serializable");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The body of a 500: nothing but a sentence and the id under which the log tells more.
pub(crate) fn internal(request_id: &str) -> Response {
    #[derive(Serialize)]
    struct Internal<'a> {
        detail: &'static str,
        request_id: &'a str,
    }
    answer(StatusCode::INTERNAL_SERVER_ERROR, &Internal { detail: "Internal server error", request_id })
}

/// Every place is taken.
pub(crate) fn full() -> Response {
    detail(StatusCode::SERVICE_UNAVAILABLE, "The service has more to do than it can do in time")
}

/// The change was made, and its answer is too large for what is free.
pub(crate) fn unsent() -> Response {
    let sentence = "The change was made; there is no memory for its answer now, read it later";
    detail(StatusCode::SERVICE_UNAVAILABLE, sentence)
}

/// The time for an answer is over. `reads` when nothing can have been changed.
pub(crate) fn late(reads: bool) -> Response {
    let sentence = if reads {
        "The answer took too long"
    } else {
        "The answer took too long; whether it was done will show when it is read"
    };
    detail(StatusCode::SERVICE_UNAVAILABLE, sentence)
}

pub(crate) async fn unknown_path() -> Response {
    detail(StatusCode::NOT_FOUND, "Not Found")
}

pub(crate) async fn wrong_method() -> Response {
    detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
}

pub(crate) fn after_panic(_: Box<dyn Any + Send>) -> Response {
    // The panic hook has logged it; the body is set where the request id is known.
    StatusCode::INTERNAL_SERVER_ERROR.into_response()
}
