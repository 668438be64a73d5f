//! `EPR-At-Least`: the state of the registry that an answer has to rest on.

use axum::http::{HeaderMap, HeaderName};
use epr_core::AtLeast;
use epr_core::domain::Invalid;
use epr_core::domain::fields::Problem;
use epr_core::domain::revision::Revision;

use super::given_twice;
use crate::App;

static EPR_AT_LEAST: HeaderName = HeaderName::from_static("epr-at-least");

/// The revision in `EPR-At-Least`, if the header is present, and the time within which it has to be reached.
pub(super) fn at_least_in(headers: &HeaderMap, app: &App) -> Result<Option<AtLeast>, Invalid> {
    let mut given = headers.get_all(&EPR_AT_LEAST).iter();
    let invalid = |problem| Invalid::one("header", Some("EPR-At-Least"), problem);
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            // Shorter than the time limit of the request, so that the caller learns what was waited for.
            let within = app.limits.request.mul_f64(0.9);
            let text = value.to_str().unwrap_or_default();
            let revision: Result<Revision, _> = text.parse();
            revision
                .map(|revision| Some(AtLeast { revision, within }))
                .map_err(|error| invalid(Problem::new("revision_parsing", error.to_string())))
        }
        (Some(_), Some(_)) => Err(invalid(given_twice())),
    }
}
