//! Why a page is not shown. The shell renders it in the language of the visitor.
//!
//! Must never show the cause of an error of this program: the log has it.

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use epr_core::Error;
use epr_core::authn::Scope;
use epr_core::domain::fields::Choice as _;
use epr_core::domain::{FieldError, Invalid};
use epr_core::error::chain;
use tracing::error;

/// Why a page is not shown.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) status: StatusCode,
    pub(crate) why: Why,
}

/// The reason, for its sentence.
#[derive(Debug, Clone)]
pub(crate) enum Why {
    /// The credential lacks this scope.
    Scope(Scope),
    /// The form is not one of the visitor's session, or its session has ended.
    Form,
    /// Callers are not authenticated, and the visitor is not on this machine.
    NotLoopback,
    /// The credential cannot be verified now.
    Unverifiable,
    /// The use case says why.
    Said(Vec<String>),
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, why: Why) -> Self {
        Self { status, why }
    }

    pub(crate) fn scope(scope: Scope) -> Self {
        Self::new(StatusCode::FORBIDDEN, Why::Scope(scope))
    }

    pub(crate) fn form() -> Self {
        Self::new(StatusCode::FORBIDDEN, Why::Form)
    }

    pub(crate) fn invalid(sentences: Vec<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, Why::Said(sentences))
    }

    pub(crate) fn not_found(sentence: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, Why::Said(vec![sentence.into()]))
    }

    /// What the use case says; nothing when it has not been called.
    pub(crate) fn into_sentences(self) -> Vec<String> {
        if let Why::Said(sentences) = self.why { sentences } else { Vec::new() }
    }

    /// The word of the reason, for the log.
    pub(crate) fn word(&self) -> &'static str {
        match &self.why {
            Why::Scope(scope) => scope.word(),
            Why::Form => "form",
            Why::NotLoopback => "not_loopback",
            Why::Unverifiable => "unverifiable",
            Why::Said(_) => "said",
        }
    }
}

impl From<Invalid> for Refusal {
    fn from(invalid: Invalid) -> Self {
        Self::invalid(sentences(&invalid))
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let status = match &error {
            Error::Invalid(_) | Error::Refused(_) => StatusCode::BAD_REQUEST,
            Error::NotFound(_) => StatusCode::NOT_FOUND,
            Error::Conflict(_) => StatusCode::CONFLICT,
            Error::Unavailable(_) | Error::Busy(_) | Error::HistoryIncomplete(_) | Error::Archived(_) => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Error::Internal(_) => StatusCode::INTERNAL_SERVER_ERROR,
        };
        if status.is_server_error() {
            error!(status = status.as_u16(), error = chain(&error), "request_failed");
        }
        match error {
            Error::Invalid(invalid) => invalid.into(),
            other => Self::new(status, Why::Said(vec![other.to_string()])),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// The field errors as sentences.
fn sentences(invalid: &Invalid) -> Vec<String> {
    invalid.0.iter().map(sentence).collect()
}

fn sentence(error: &FieldError) -> String {
    match error.path() {
        path if path.is_empty() => error.msg.clone(),
        path => format!("{path}: {}", error.msg),
    }
}

/// The errors of one field, and of what is in it, as sentences.
pub(crate) fn sentences_about(invalid: &Invalid, field: &str) -> Vec<String> {
    let is_in = |path: &str| path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    invalid.0.iter().filter(|error| is_in(&error.path())).map(sentence).collect()
}
