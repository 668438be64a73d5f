//! `Idempotency-Key`: the header that makes a creation safe to repeat, and the answer to a repeat.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header, request::Parts};
use axum::response::{IntoResponse as _, Response};
use epr_core::domain::event::Duplicate;
use epr_core::domain::fields::Problem;
use epr_core::domain::{IdempotencyKey, Invalid, Json, KeptAnswer, KeyedCreation, KeyedRequest, Once};
use epr_core::{Call, Epr};
use serde::Serialize;

use super::given_twice;
use crate::App;
use crate::http::error::ApiError;
use crate::http::respond::{at_revision, created};

/// The name of the header as it is written.
pub(crate) const NAME: &str = "Idempotency-Key";
static IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
/// Marks the answer to a repeat.
const IDEMPOTENCY_REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Marks a response that returns an event which was ingested before.
const EPR_DUPLICATE: HeaderName = HeaderName::from_static("epr-duplicate");

/// The key in the header; `None` without one.
pub(crate) struct KeyHeader(pub(crate) Result<Option<IdempotencyKey>, Invalid>);

impl<S: Sync> FromRequestParts<S> for KeyHeader {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(key_in(&parts.headers)))
    }
}

fn key_in(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, Invalid> {
    let mut given = headers.get_all(&IDEMPOTENCY_KEY).iter();
    let invalid = |problem| Invalid::one("header", Some(NAME), problem);
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            // Bytes beyond ASCII become characters that no key has.
            let text = String::from_utf8_lossy(value.as_bytes());
            let key = IdempotencyKey::new(text);
            key.map(Some).map_err(|error| invalid(Problem::new(error.kind(), error.to_string())))
        }
        (Some(_), Some(_)) => Err(invalid(given_twice())),
    }
}

/// What is to be done with a creation.
pub(crate) enum Repeat {
    /// It is to be carried out, under its key if it has one.
    Create(Option<KeyedRequest>),
    /// It was carried out before: this is the response.
    Respond(Response),
}

impl KeyHeader {
    /// The request under the key, or the response to its first call. Everything has to be readable for a repeat: an
    /// error is reported with the others, by the route.
    pub(crate) async fn look_up(
        &self,
        app: &App,
        creation: KeyedCreation,
        call: Result<&Call, &Invalid>,
        body: Result<&Json, &Invalid>,
    ) -> Result<Repeat, ApiError> {
        let (Ok(Some(key)), Ok(call), Ok(body)) = (&self.0, call, body) else { return Ok(Repeat::Create(None)) };
        let request = Epr::keyed_request(call, creation, key.clone(), body)?;
        Ok(match app.epr.first_answer(call, &request).await? {
            Some(answer) => Repeat::Respond(at_revision(repeated(answer), call)),
            None => Repeat::Create(Some(request)),
        })
    }

    /// The other input, unless the header is not valid.
    pub(crate) fn and<T>(self, other: Result<T, Invalid>) -> Result<T, Invalid> {
        Invalid::both(other, self.0).map(|(value, _)| value)
    }
}

/// The response to a creation that may be a repeat.
pub(crate) fn created_once<T: Serialize>(once: Once<T>) -> Response {
    match once {
        Once::First(value) => created(&value),
        Once::Repeated(answer) => repeated(answer),
    }
}

/// The first answer once more.
pub(crate) fn repeated(answer: KeptAnswer) -> Response {
    let json = HeaderValue::from_static("application/json");
    let mut response = (StatusCode::CREATED, [(header::CONTENT_TYPE, json)], answer.body).into_response();
    response.headers_mut().insert(IDEMPOTENCY_REPLAYED, HeaderValue::from_static("true"));
    mark_duplicate(response, answer.duplicate)
}

/// Adds the header that names a duplicate event.
pub(crate) fn mark_duplicate(mut response: Response, duplicate: Option<Duplicate>) -> Response {
    if let Some(duplicate) = duplicate {
        let value = if duplicate == Duplicate::Same { "true" } else { "true; differs" };
        response.headers_mut().insert(EPR_DUPLICATE, HeaderValue::from_static(value));
    }
    response
}
