//! AuthZEN Authorization API 1.0 (`/access/v1`), and its discovery document.
//!
//! Owns the forms of its requests and responses. Errors are the service's own, each with one sentence.

mod evaluation;
mod metadata;
mod search;

use epr_core::authzen::sentence;
use epr_core::error::Error;

use crate::http::error::ApiError;
use crate::openapi::Route;

pub(crate) fn routes() -> impl IntoIterator<Item = Route> {
    evaluation::routes().into_iter().chain(search::routes()).chain(metadata::routes())
}

/// The error with one sentence for everything that is wrong with a request.
fn in_a_sentence(error: impl Into<Error>) -> ApiError {
    match error.into() {
        Error::Invalid(invalid) => Error::Refused(sentence(&invalid)).into(),
        other => other.into(),
    }
}
