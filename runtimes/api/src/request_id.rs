//! `X-Request-ID`: taken from the caller or made here, echoed, in every log line of the request.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use epr_core::clock::{IdSource as _, TimeOrderedIds};
use epr_core::domain::Invalid;
use epr_core::domain::fields::Problem;
use tracing::Instrument as _;

use crate::failure::{self, Failure};

pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id taken: what the ledger keeps as `correlation_id`.
const LONGEST: usize = 120;

/// The id that the caller gave; absent when the id was made here.
#[derive(Debug, Clone)]
pub(crate) struct GivenRequestId(pub(crate) String);

/// Carries the request id through one request.
pub(crate) async fn carry(mut request: Request, next: Next) -> Response {
    let given = request.headers().get(&X_REQUEST_ID).map(|value| read(value).map(str::to_owned));
    let (id, refused) = match given {
        Some(Some(id)) => {
            request.extensions_mut().insert(GivenRequestId(id.clone()));
            (id, false)
        }
        Some(None) => (TimeOrderedIds.next().to_string(), true),
        None => (TimeOrderedIds.next().to_string(), false),
    };
    let span = tracing::info_span!("request", request_id = id);
    let mut response = if refused {
        let problem = Problem::new("header_invalid", format!("Should be 1 to {LONGEST} printable ASCII characters"));
        Failure::from(Invalid::one("header", Some("X-Request-ID"), problem)).into_response()
    } else {
        next.run(request).instrument(span).await
    };
    if response.status() == StatusCode::INTERNAL_SERVER_ERROR {
        response = failure::internal(&id);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(&X_REQUEST_ID, value);
    }
    response
}

fn read(value: &HeaderValue) -> Option<&str> {
    let text = value.to_str().ok()?;
    ((1..=LONGEST).contains(&text.len()) && text.bytes().all(|b| (0x20..0x7f).contains(&b))).then_some(text)
}
