//! Success responses: a value as a JSON body with its status.

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_core::domain::Revision;
use epr_core::{AnsweredAt, Call};
use serde::Serialize;
use tracing::error;

/// `value` as the JSON body of a response with this status.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(bytes) => (status, [(header::CONTENT_TYPE, "application/json")], Body::from(bytes)).into_response(),
        Err(cause) => {
            error!(error = %cause, "response_not_serializable");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// The header with the revision of an answer.
static EPR_REVISION: HeaderName = HeaderName::from_static("epr-revision");

/// `response` with the revision that `call` was answered at.
pub(crate) fn at_revision(response: Response, call: &Call) -> Response {
    match call.answered_at.as_ref().and_then(AnsweredAt::get) {
        Some(revision) => with_revision(response, revision),
        None => response,
    }
}

/// `response` with a revision.
pub(crate) fn with_revision(mut response: Response, revision: Revision) -> Response {
    if let Ok(value) = HeaderValue::try_from(revision.to_string()) {
        response.headers_mut().insert(&EPR_REVISION, value);
    }
    response
}

/// 200 with `value`.
pub(crate) fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

/// 201 with `value`.
pub(crate) fn created(value: &impl Serialize) -> Response {
    json(StatusCode::CREATED, value)
}
