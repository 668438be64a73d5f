//! `X-Request-ID`: taken from the caller or made here, echoed, in every log line of the request.

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use epr_core::clock::{IdSource as _, TimeOrderedIds};

use crate::http::extract::is_doubled;

pub(crate) static X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that the ledger keeps, in characters; of a longer one it keeps the beginning.
const LONGEST: usize = 120;

/// What the caller gave, as the ledger keeps it; absent when the id was made here.
#[derive(Debug, Clone)]
pub(crate) struct GivenRequestId(pub(crate) String);

/// What to echo, and the id. Whatever was given is echoed as it is: an id is there to find a request again, and no
/// reason to refuse one. Of two, which are refused, neither is taken.
pub(crate) fn take(request: &mut Request) -> (Option<HeaderValue>, String) {
    let headers = request.headers();
    let given = headers.get(&X_REQUEST_ID).filter(|value| !value.is_empty() && !is_doubled(headers, &X_REQUEST_ID));
    match given.cloned() {
        Some(value) => {
            let id: String = String::from_utf8_lossy(value.as_bytes()).chars().take(LONGEST).collect();
            request.extensions_mut().insert(GivenRequestId(id.clone()));
            (Some(value), id)
        }
        None => {
            let id = TimeOrderedIds.next().to_string();
            (HeaderValue::from_str(&id).ok(), id)
        }
    }
}
