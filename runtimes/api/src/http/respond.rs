//! Success responses: a value as a JSON body with its status.

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
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

/// 200 with `value`.
pub(crate) fn ok(value: &impl Serialize) -> Response {
    json(StatusCode::OK, value)
}

/// 201 with `value`.
pub(crate) fn created(value: &impl Serialize) -> Response {
    json(StatusCode::CREATED, value)
}
