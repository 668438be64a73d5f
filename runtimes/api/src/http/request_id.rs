//! `X-Request-ID`: read from the request or generated, echoed, and in every log line of the request.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use epr_core::clock::{IdSource as _, TimeOrderedIds};
use uuid::Uuid;

use crate::http::extract::is_doubled;

pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most characters of an id that the ledger stores. A longer id is cut.
const MAX_ID_LENGTH: usize = 120;

/// The id that the caller sent, as the ledger stores it; absent if the id was generated.
#[derive(Debug, Clone)]
pub(crate) struct GivenRequestId(pub(crate) String);

/// The id that the runtime gives a request; in the extensions of a request that has passed through one which has ids.
#[derive(Debug, Clone)]
pub(crate) struct AssignedRequestId(pub(crate) String);

/// Returns the header to echo and the id. Any single value is echoed unchanged: an id serves to find a request and is
/// no reason to refuse it. A duplicated header, which is refused later, is not used.
pub(crate) fn take(request: &mut Request) -> (Option<HeaderValue>, String) {
    let headers = request.headers();
    let given = headers.get(&X_REQUEST_ID).filter(|value| !value.is_empty() && !is_doubled(headers, &X_REQUEST_ID));
    match given.cloned() {
        Some(value) => {
            let id: String = String::from_utf8_lossy(value.as_bytes()).chars().take(MAX_ID_LENGTH).collect();
            request.extensions_mut().insert(GivenRequestId(id.clone()));
            (Some(value), id)
        }
        None => {
            let id = match request.extensions_mut().remove::<AssignedRequestId>() {
                Some(AssignedRequestId(id)) => id,
                None => TimeOrderedIds.next().hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_owned(),
            };
            (HeaderValue::from_str(&id).ok(), id)
        }
    }
}
