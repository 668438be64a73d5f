//! Extractors: the headers, the id in the path, the query and the body of a request.
//!
//! An extractor hands its error to the handler instead of refusing the request, so that one 400 lists the errors of all
//! of them.

pub(crate) mod at_least;
pub(crate) mod body;
pub(crate) mod idempotency;
pub(crate) mod unknown_members;

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::{HeaderMap, HeaderName, request::Parts};
use epr_core::domain::audit::CorrelationId;
use epr_core::domain::fields::{self, Fields, Problem};
use epr_core::domain::{Invalid, JsonObject, StatedReason, TraceParent, query};
use epr_core::store::{Cursor, InvalidCursor, Page};
use epr_core::{AnsweredAt, Call};
use uuid::Uuid;

use crate::App;

use super::guard::AuthenticatedActor;
use super::request_id::GivenRequestId;
use at_least::at_least_in;
pub(crate) use body::{JsonBody, JsonText, parse};
pub(crate) use idempotency::{KeyHeader, Repeat, created_once};

pub(crate) static X_ACTOR_ID: HeaderName = HeaderName::from_static("x-actor-id");
static EPR_REASON: HeaderName = HeaderName::from_static("epr-reason");

/// The circumstances of a call, from its headers. For calls that change the registry: a malformed `X-Actor-Id` or
/// `EPR-Reason` is an error.
pub(crate) struct CallHeaders(pub(crate) Result<Call, Invalid>);

impl<S: Sync> FromRequestParts<S> for CallHeaders {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let read = Invalid::both(actor_in(&parts.headers), reason_in(&parts.headers));
        Ok(Self(read.map(|(actor, stated_reason)| Call { stated_reason, ..call(parts, actor) })))
    }
}

/// The circumstances of a question (a check, an explanation, a list of access), from its headers. A malformed
/// `X-Actor-Id` is ignored as [`LenientCallHeaders`] does; a malformed `EPR-At-Least` is an error.
pub(crate) struct QuestionHeaders(pub(crate) Result<Call, Invalid>);

impl FromRequestParts<Arc<App>> for QuestionHeaders {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let at_least = at_least_in(&parts.headers, app);
        let actor = actor_in(&parts.headers).unwrap_or_default();
        Ok(Self(at_least.map(|at_least| Call { at_least, ..call(parts, actor) })))
    }
}

/// The circumstances of a call, from its headers. For events: an `X-Actor-Id` that is malformed, empty or
/// duplicated is ignored, because callers of the older service rely on that.
pub(crate) struct LenientCallHeaders(pub(crate) Call);

impl<S: Sync> FromRequestParts<S> for LenientCallHeaders {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self(call(parts, actor_in(&parts.headers).unwrap_or_default())))
    }
}

/// Whether conditions may read what the caller states about the parts of its question: if its credential has the scope
/// `epr:assert`, or if callers are not authenticated.
pub(crate) struct StatedProperties(pub(crate) bool);

impl FromRequestParts<Arc<App>> for StatedProperties {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let authenticated = parts.extensions.get::<AuthenticatedActor>();
        Ok(Self(authenticated.map_or(!app.authenticates, |authenticated| authenticated.may_assert)))
    }
}

/// The actor in `X-Actor-Id`, if the header is present.
pub(crate) fn actor_in(headers: &HeaderMap) -> Result<Option<Uuid>, Invalid> {
    let mut given = headers.get_all(&X_ACTOR_ID).iter();
    let invalid = |problem| Invalid::one("header", Some("X-Actor-Id"), problem);
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => {
            let actor = value.to_str().ok().and_then(fields::parse_uuid);
            actor.map(Some).ok_or_else(|| invalid(not_a_uuid()))
        }
        // The sender's intention cannot be known.
        (Some(_), Some(_)) => Err(invalid(given_twice())),
    }
}

/// The reason in `EPR-Reason`, if the header is present.
fn reason_in(headers: &HeaderMap) -> Result<Option<StatedReason>, Invalid> {
    let mut given = headers.get_all(&EPR_REASON).iter();
    let invalid = |problem| Invalid::one("header", Some("EPR-Reason"), problem);
    match (given.next(), given.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => StatedReason::from_header(value.as_bytes())
            .map(Some)
            .map_err(|error| invalid(Problem::new(error.kind(), error.to_string()))),
        (Some(_), Some(_)) => Err(invalid(given_twice())),
    }
}

fn call(parts: &Parts, actor: Option<Uuid>) -> Call {
    // A request id is cut to the bounds of a correlation id.
    let given = parts.extensions.get::<GivenRequestId>();
    let correlation_id = given.and_then(|given| CorrelationId::new(given.0.as_str()).ok());
    let traceparent = epr_telemetry::outgoing(traceparent(&parts.headers));
    // With authentication, the guard has compared the header with the credential.
    let authenticated = parts.extensions.get::<AuthenticatedActor>();
    Call {
        actor_id: actor.or_else(|| authenticated.and_then(|authenticated| authenticated.id)),
        caller: authenticated.map(|authenticated| authenticated.caller.clone()),
        correlation_id,
        stated_reason: None,
        traceparent,
        at_least: None,
        answered_at: Some(AnsweredAt::default()),
    }
}

/// The trace of the caller. A duplicated header is treated as absent, as W3C Trace Context requires.
pub(crate) fn traceparent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut given = headers.get_all("traceparent").iter();
    let first = given.next()?;
    TraceParent::parse(first.to_str().ok()?).filter(|_| given.next().is_none())
}

/// Whether a header is present more than once.
pub(crate) fn is_doubled(headers: &HeaderMap, name: &HeaderName) -> bool {
    headers.get_all(name).iter().nth(1).is_some()
}

pub(crate) fn given_twice() -> Problem {
    Problem::new("duplicate", "This header should be given once")
}

fn not_a_uuid() -> Problem {
    Problem::new("uuid_parsing", "Input should be a valid UUID")
}

/// The id in the path.
pub(crate) struct PathId(pub(crate) Result<Uuid, Invalid>);

impl<S: Send + Sync> FromRequestParts<S> for PathId {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let id = match RawPathParams::from_request_parts(parts, state).await {
            Ok(params) => params.iter().next().and_then(|(_, text)| fields::parse_uuid(text)),
            Err(_) => None,
        };
        Ok(Self(id.ok_or_else(|| Invalid::one("path", Some("id"), not_a_uuid()))))
    }
}

/// The query string: as the pairs that were sent, and as an object for the readers of fields.
pub(crate) struct Query {
    pairs: Vec<(String, String)>,
    pub(crate) members: JsonObject,
}

impl<S: Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let raw = parts.uri.query().unwrap_or_default();
        let pairs: Vec<_> = form_urlencoded::parse(raw.as_bytes()).into_owned().collect();
        let members = query::members(pairs.iter().cloned());
        Ok(Self { pairs, members })
    }
}

/// `limit` and `cursor` of a list: a page has `DEFAULT` rows if the caller gives no limit, and at most `MAX`.
pub(crate) struct Paging<const DEFAULT: u32, const MAX: u32>;

/// The paging of most lists.
pub(crate) type Listing = Paging<500, 1000>;

impl<const DEFAULT: u32, const MAX: u32> Paging<DEFAULT, MAX> {
    /// The names of the query parameters.
    pub(crate) const PARAMETERS: &[&str] = &["limit", "cursor"];

    /// Reads both parameters of a list that is ordered by time.
    pub(crate) fn page(fields: &mut Fields<'_>) -> Page {
        Page { limit: Self::limit(fields), after: Self::cursor(fields, Cursor::decode) }
    }

    /// Reads both parameters; `None` if neither is given, which requests the whole list.
    pub(crate) fn read_page_if_given(fields: &mut Fields<'_>) -> Option<Page> {
        let given = fields.has("limit") || fields.has("cursor");
        given.then(|| Self::page(fields))
    }

    /// Reads `limit`.
    pub(crate) fn limit(fields: &mut Fields<'_>) -> u32 {
        let limit = fields.given("limit", fields::whole_number(1, MAX.into()));
        limit.and_then(|limit| u32::try_from(limit).ok()).unwrap_or(DEFAULT)
    }

    /// Reads `cursor` by `decode`.
    pub(crate) fn cursor<T>(fields: &mut Fields<'_>, decode: impl Fn(&str) -> Result<T, InvalidCursor>) -> Option<T> {
        fields.given("cursor", |value| {
            let text = value.as_text().ok_or(InvalidCursor);
            text.and_then(decode).map_err(|error| vec![Problem::new("cursor", error.to_string())])
        })
    }
}

impl Query {
    /// The `Link` header's value for the page whose parameter `name` has this `value`. The reference has only a query
    /// and resolves against the URL that the caller used: the service does not know that URL behind a proxy that strips
    /// a prefix.
    pub(crate) fn next_link(&self, name: &str, value: &str) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.pairs.iter().filter(|(given, _)| given != name));
        query.append_pair(name, value);
        format!("<?{}>; rel=\"next\"", query.finish())
    }
}
