//! The JSON body of a request: read within a limit of bytes and time, then parsed.
//!
//! Must never read a body that declares more than the limit, nor keep a concurrency permit while its caller or memory is waited for.

use std::sync::Arc;
use std::task::Poll;

use axum::body::{Body as Incoming, Bytes, HttpBody as _};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use epr_core::domain::fields::Problem;
use epr_core::domain::json::MAX_VALUES;
use epr_core::domain::{Invalid, Json};
use http_body_util::BodyExt as _;

use crate::App;
use crate::http::budget::{Budget, Reservation, UNCOUNTED_BYTES};
use crate::http::error::ApiError;
use crate::http::extract::{given_twice, is_doubled};
use crate::http::permit::Permit;

/// A document up to this size is not counted: the number of calls bounds what such documents take together.
const UNCOUNTED_DOCUMENT: usize = 4 << 10;
/// Copies of a document's text that its call makes.
const TEXT_COPIES: usize = 4;
/// Bytes of a parsed value, with its part of the object or list that holds it.
const VALUE_BYTES: usize = 100;

/// The JSON body.
pub(crate) struct JsonBody(pub(crate) Result<Json, Invalid>);

/// Why a body is not here.
enum ReadError {
    /// It is larger than the limit.
    TooLarge,
    /// Its caller went away, or broke off.
    Incomplete,
    /// There is no memory for it.
    NoMemory,
}

impl FromRequest<Arc<App>> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let declared_json = is_json(request.headers());
        let doubled_type = is_doubled(request.headers(), &header::CONTENT_TYPE);
        let limit = app.limits.body_bytes;
        let permit = request.extensions().get::<Permit>().cloned();
        let mut reading = std::pin::pin!(receive(request.into_body(), app));
        // Most bodies arrive with the head. While one does not, its call takes no permit from others.
        let read = match std::future::poll_fn(|context| Poll::Ready(reading.as_mut().poll(context))).await {
            Poll::Ready(read) => read,
            Poll::Pending => {
                permit.iter().for_each(Permit::release);
                let Ok(read) = tokio::time::timeout(app.limits.body, reading).await else {
                    return Ok(refused("body_timeout", "The body did not arrive in time"));
                };
                if permit.as_ref().is_some_and(|permit| permit.reacquire().is_err()) {
                    return Err(ApiError::Overloaded);
                }
                read
            }
        };
        let bytes = match read {
            Ok((bytes, document)) => {
                if let (Some(permit), Some(document)) = (&permit, document) {
                    permit.keep_document(document);
                }
                bytes
            }
            Err(ReadError::TooLarge) => return Err(ApiError::BodyTooLarge(limit)),
            Err(ReadError::NoMemory) => return Err(ApiError::Overloaded),
            Err(ReadError::Incomplete) => {
                return Ok(refused("body_incomplete", "The body could not be read to its end"));
            }
        };
        if doubled_type {
            return Ok(Self(Err(Invalid::one("header", Some("Content-Type"), given_twice()))));
        }
        if !declared_json {
            return Ok(refused("content_type", "The content type should be application/json"));
        }
        if bytes.is_empty() {
            return Ok(refused("missing", "A JSON body is required"));
        }
        let body = Json::parse_bounded(&bytes)
            .map_err(|why| invalid("json_invalid", &format!("The body is not valid JSON: {why}")));
        Ok(Self(body))
    }
}

/// Receives a body, and the reservation of memory of the document in it. The reservation of its text ends here: the text is about to be parsed.
async fn receive(body: Incoming, app: &App) -> Result<(Bytes, Option<Reservation>), ReadError> {
    let (bytes, _text) = read(body, app.limits.body_bytes, &app.bodies).await?;
    if bytes.len() <= UNCOUNTED_DOCUMENT {
        return Ok((bytes, None));
    }
    let document = app.documents.reserve(document_bytes(&bytes)).await.map_err(|_| ReadError::NoMemory)?;
    Ok((bytes, Some(document)))
}

/// Reads a body to its end, with a reservation of `budget` unless it is small. One that declares more than `limit` is refused before
/// anything of it is read: a caller that waits for `100 Continue` then never sends it. One for which there is no memory waits in its
/// caller's socket meanwhile.
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
            // All of it is in one piece, as small bodies are.
            return Ok((data, reservation));
        }
        if gathered.len() + data.len() > UNCOUNTED_BYTES && reservation.is_none() {
            // Its length is not declared. All that it may become at once: bodies that grow reservation by reservation would wait for each other.
            reservation = Some(budget.reserve(limit).await.map_err(|_| ReadError::NoMemory)?);
        }
        if gathered.capacity() == 0 {
            gathered.reserve_exact(declared);
        }
        gathered.extend_from_slice(&data);
    }
    Ok((gathered.into(), reservation))
}

/// The most that a document takes while its call is worked on: its values, and its text in a few copies (for the database, the ledger
/// and the answer).
fn document_bytes(text: &[u8]) -> usize {
    let values = text.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{')).count() + 1;
    TEXT_COPIES * text.len() + VALUE_BYTES * values.min(MAX_VALUES)
}

fn refused(kind: &'static str, msg: &str) -> JsonBody {
    JsonBody(Err(invalid(kind, msg)))
}

fn invalid(kind: &'static str, msg: &str) -> Invalid {
    Invalid::one("body", None, Problem::new(kind, msg))
}

/// `application/json` or `application/…+json`; a request that names no content type is taken at its word.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        return true;
    };
    let media_type =
        value.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type == "application/json" || (media_type.starts_with("application/") && media_type.ends_with("+json"))
}
