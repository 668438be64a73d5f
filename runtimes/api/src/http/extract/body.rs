//! The JSON body of a request: read within limits of bytes, time and memory, then parsed.
//!
//! Must never read a body that declares more than the limit, never keep a concurrency permit while it waits for the
//! caller or for memory, and never parse a large document on a worker thread of the runtime.

use std::panic::resume_unwind;
use std::pin::pin;
use std::sync::Arc;

use axum::body::{Body as Incoming, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use epr_core::domain::fields::Problem;
use epr_core::domain::json::MAX_VALUES;
use epr_core::domain::{Invalid, Json};
use futures_util::future::poll_immediate;
use http_body_util::BodyExt as _;

use super::{given_twice, is_doubled};
use crate::App;
use crate::http::budget::{Budget, Reservation, UNCOUNTED_BYTES};
use crate::http::error::ApiError;
use crate::http::permit::Permit;

/// Documents up to this size are not counted: the number of permits bounds their sum.
const UNCOUNTED_DOCUMENT_BYTES: usize = 4 << 10;
/// The number of copies of a document's text that its call makes.
const TEXT_COPIES: usize = 4;
/// Bytes of a parsed value, with its share of the object or list that holds it.
const VALUE_BYTES: usize = 100;
/// The number of copies of parsed values that a call holds: the row, and the version of it for the history.
const VALUE_COPIES: usize = 2;
/// Documents up to this size are parsed on the worker thread, which takes a fraction of a millisecond. A larger one
/// would delay the other calls of that thread and is parsed on a blocking thread.
const INLINE_PARSE_BYTES: usize = 64 << 10;

/// The JSON body.
pub(crate) struct JsonBody(pub(crate) Result<Json, Invalid>);

/// The JSON body before it is parsed.
pub(crate) struct JsonText(pub(crate) Result<Bytes, Invalid>);

/// Why a body could not be read.
enum ReadError {
    /// It is larger than the limit.
    TooLarge,
    /// The caller disconnected or broke off.
    Incomplete,
    /// No memory is free for it.
    NoMemory,
}

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        match JsonText::from_request(request, app).await?.0 {
            Ok(text) => Ok(Self(parse(text).await?)),
            Err(invalid) => Ok(Self(Err(invalid))),
        }
    }
}

impl FromRequest<Arc<App>> for JsonText {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let declared_json = is_json(request.headers());
        let doubled_type = is_doubled(request.headers(), &header::CONTENT_TYPE);
        let permit = request.extensions().get::<Permit>().cloned();
        let mut receiving = pin!(receive(request.into_body(), app));
        // Most bodies arrive with the head. Otherwise the permit is released until the body has arrived.
        let received = match poll_immediate(receiving.as_mut()).await {
            Some(received) => received,
            None => {
                permit.iter().for_each(Permit::release);
                let Ok(received) = tokio::time::timeout(app.limits.body, receiving).await else {
                    return Ok(refused("body_timeout", "The body did not arrive in time"));
                };
                if permit.as_ref().is_some_and(|permit| permit.reacquire().is_err()) {
                    return Err(ApiError::Overloaded);
                }
                received
            }
        };
        let (bytes, document) = match received {
            Ok(received) => received,
            Err(ReadError::TooLarge) => return Err(ApiError::BodyTooLarge(app.limits.body_bytes)),
            Err(ReadError::NoMemory) => return Err(ApiError::Overloaded),
            Err(ReadError::Incomplete) => {
                return Ok(refused("body_incomplete", "The body could not be read to its end"));
            }
        };
        if let (Some(permit), Some(document)) = (&permit, document) {
            permit.keep_document(document);
        }
        if doubled_type {
            return Ok(Self(Err(Invalid::one("header", Some("Content-Type"), given_twice()))));
        }
        if !declared_json {
            return Ok(refused("content_type", "The content type should be application/json"));
        }
        if bytes.is_empty() {
            return Ok(refused("missing", "A JSON body is required"));
        }
        Ok(Self(Ok(bytes)))
    }
}

/// Receives a body, and the memory reservation of the document in it. The reservation of its text ends here, because
/// the text is about to be parsed.
async fn receive(body: Incoming, app: &App) -> Result<(Bytes, Option<Reservation>), ReadError> {
    let (bytes, _text) = read(body, app.limits.body_bytes, &app.bodies).await?;
    if bytes.len() <= UNCOUNTED_DOCUMENT_BYTES {
        return Ok((bytes, None));
    }
    let document = app.documents.reserve(document_bytes(&bytes)).await.map_err(|_| ReadError::NoMemory)?;
    Ok((bytes, Some(document)))
}

/// Reads a body to its end, with a reservation in `budget` unless it is small. A body that declares more than `limit`
/// is refused before any of it is read: a caller that waits for `100 Continue` then never sends it. While no memory is
/// free, the body stays in the caller's socket.
async fn read(mut body: Incoming, limit: usize, budget: &Budget) -> Result<(Bytes, Option<Reservation>), ReadError> {
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if declared > limit {
        return Err(ReadError::TooLarge);
    }
    let mut reservation = None;
    if declared > UNCOUNTED_BYTES {
        reservation = Some(budget.reserve(declared).await.map_err(|_| ReadError::NoMemory)?);
    }
    let mut gathered = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| ReadError::Incomplete)?.into_data() else { continue };
        if gathered.len() + data.len() > limit {
            return Err(ReadError::TooLarge);
        }
        if gathered.is_empty() && body.is_end_stream() {
            // A body in one piece, as small ones are, needs no copy.
            return Ok((data, reservation));
        }
        if gathered.len() + data.len() > UNCOUNTED_BYTES && reservation.is_none() {
            // Without a declared length the largest size is reserved at once: bodies whose reservations grow would wait
            // for each other.
            reservation = Some(budget.reserve(limit).await.map_err(|_| ReadError::NoMemory)?);
        }
        if gathered.capacity() == 0 {
            gathered.reserve_exact(declared);
        }
        gathered.extend_from_slice(&data);
    }
    Ok((gathered.into(), reservation))
}

/// An upper estimate of the memory that a document takes during its call: its values, and copies of its text for the
/// database, the ledger and the response.
fn document_bytes(text: &[u8]) -> usize {
    let values = text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() + 1;
    TEXT_COPIES * text.len() + VALUE_COPIES * VALUE_BYTES * values.min(MAX_VALUES)
}

/// Parses a document, a large one on a blocking thread.
pub(crate) async fn parse(text: Bytes) -> Result<Result<Json, Invalid>, ApiError> {
    if text.len() <= INLINE_PARSE_BYTES {
        return Ok(parse_now(&text));
    }
    match tokio::task::spawn_blocking(move || parse_now(&text)).await {
        Ok(parsed) => Ok(parsed),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The runtime is shutting down.
            Err(_) => Err(ApiError::Overloaded),
        },
    }
}

fn parse_now(text: &[u8]) -> Result<Json, Invalid> {
    Json::parse_bounded(text).map_err(|why| invalid("json_invalid", &format!("The body is not valid JSON: {why}")))
}

fn refused(kind: &'static str, msg: &str) -> JsonText {
    JsonText(Err(invalid(kind, msg)))
}

fn invalid(kind: &'static str, msg: &str) -> Invalid {
    Invalid::one("body", None, Problem::new(kind, msg))
}

/// Whether the content type is `application/json` or `application/…+json`; a request without one is taken as JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let media_type =
        value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}
