//! Stands before every route when callers are authenticated: no valid credential, no scope, no way in.
//!
//! Works on the head of a request: whoever is refused is refused before the body is read. Must never log a credential.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use epr_core::Epr;
use epr_core::authn::{AuthenticationError, Authenticator, Caller, Scope};
use epr_core::domain::Invalid;
use epr_core::domain::fields::{Choice as _, parse_uuid};
use epr_core::domain::named_caller::NamedCaller;
use epr_core::settings::OpenPath;
use futures_util::future::poll_immediate;
use tracing::{Instrument as _, info_span, warn};
use uuid::Uuid;

use crate::Callers;
use crate::access::{self, Rule};
use crate::http::error::{ApiError, detail, overloaded, unknown_path};
use crate::http::extract::{X_ACTOR_ID, actor_in, given_twice, is_doubled};
use crate::http::http_metrics::HttpMetrics;
use crate::http::permit::{Overloaded, Permit};

/// What decides.
pub(crate) struct Guard {
    epr: Epr,
    authenticator: Arc<Authenticator>,
    open: Vec<OpenPath>,
    metrics: Arc<HttpMetrics>,
    lines: LogLimit,
}

/// Who acts, told by the credential; in the request's extensions behind the guard.
#[derive(Debug, Clone)]
pub(crate) struct Actor {
    /// The actor, if the credential has one or names one.
    pub(crate) id: Option<Uuid>,
    /// The credential.
    pub(crate) caller: NamedCaller,
}

/// Why a request went no further.
enum AccessDenied {
    /// No valid credential.
    Caller(AuthenticationError),
    /// A valid one without this scope.
    Scope(Caller, Scope),
    /// Two credentials.
    Doubled,
    /// Reported too late: others have taken the permit.
    Overloaded,
}

/// Lets through who may.
pub(crate) async fn authenticate(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map(MatchedPath::as_str);
    let rule = path.and_then(|path| access::rule(request.method(), path));
    if rule.is_some_and(|rule| guard.leaves_open(rule)) {
        return next.run(request).await;
    }
    let permit = request.extensions().get::<Permit>().cloned();
    let caller = match guard.pass(request.headers(), permit, rule).await {
        Ok((caller, actor)) => {
            request.extensions_mut().insert(actor);
            caller
        }
        Err(refusal) => return guard.refuse(&refusal, request.method(), path),
    };
    match (rule, path) {
        // Every log line of the request names whose credential it was.
        (Some(_), _) => next.run(request).instrument(info_span!("caller", caller = &*caller.name)).await,
        // Not `next`: behind it could be a route that nobody gave a rule.
        (None, Some(path)) => wrong_method(path),
        (None, None) => unknown_path().await,
    }
}

impl Guard {
    pub(crate) fn new(epr: Epr, callers: Callers, metrics: Arc<HttpMetrics>) -> Self {
        let Callers { authenticator, open } = callers;
        Self { epr, authenticator, open, metrics, lines: LogLimit::default() }
    }

    fn leaves_open(&self, rule: Rule) -> bool {
        match rule {
            Rule::Open => true,
            Rule::OpenIf(path) => self.open.contains(&path),
            Rule::Needs(_) => false,
        }
    }

    /// Who calls, and who acts. Without a rule any valid credential will do: it only learns that nothing is there.
    async fn pass(
        &self,
        headers: &HeaderMap,
        permit: Option<Permit>,
        rule: Option<Rule>,
    ) -> Result<(Caller, Actor), AccessDenied> {
        if is_doubled(headers, &header::AUTHORIZATION) {
            return Err(AccessDenied::Doubled);
        }
        let values = headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let mut asking = pin!(self.authenticator.authenticate(values));
        let told = match poll_immediate(&mut asking).await {
            Some(told) => told,
            None => {
                // It waits for the issuer. Strangers can bring that about, and must take no permits meanwhile.
                permit.iter().for_each(Permit::release);
                let told = asking.await;
                permit.iter().try_for_each(Permit::reacquire).map_err(|Overloaded| AccessDenied::Overloaded)?;
                told
            }
        };
        let caller = told.map_err(AccessDenied::Caller)?;
        let needed = match rule {
            Some(Rule::Needs(scope)) => Some(scope),
            Some(Rule::OpenIf(_)) => Some(Scope::Operate),
            Some(Rule::Open) | None => None,
        };
        if let Some(scope) = needed.filter(|scope| !caller.scopes.hold(*scope)) {
            return Err(AccessDenied::Scope(caller, scope));
        }
        let (held, named) = (caller.actor_id, caller.named());
        if caller.scopes.hold(Scope::ActAs) {
            // One that is malformed is reported by the route, with whatever else is wrong.
            let id = actor_in(headers).ok().flatten().or(held);
            return Ok((caller, Actor { id, caller: named }));
        }
        // Each of several: a route that ignores a doubled header must not hide another's name behind it.
        let mut claimed = headers.get_all(&X_ACTOR_ID).iter().filter_map(|value| parse_uuid(value.to_str().ok()?));
        if claimed.any(|actor| held != Some(actor)) {
            return Err(AccessDenied::Scope(caller, Scope::ActAs));
        }
        Ok((caller, Actor { id: held, caller: named }))
    }

    fn refuse(&self, refusal: &AccessDenied, method: &Method, path: Option<&str>) -> Response {
        let (reason, caller) = match refusal {
            AccessDenied::Caller(AuthenticationError::Missing) => ("missing", None),
            AccessDenied::Caller(AuthenticationError::Invalid(reason)) => (reason.word(), None),
            AccessDenied::Caller(AuthenticationError::Unavailable) => ("unavailable", None),
            AccessDenied::Scope(caller, _) => ("scope", Some(&*caller.name)),
            AccessDenied::Doubled => ("malformed", None),
            AccessDenied::Overloaded => return overloaded(),
        };
        self.metrics.refused(reason);
        if let Some(unlogged) = self.lines.next(self.epr.now().unix_micros()) {
            let needed = if let AccessDenied::Scope(_, scope) = refusal { Some(scope.word()) } else { None };
            // The path as the router has it, the method as the metrics do: what a stranger wrote is not repeated.
            warn!(
                reason,
                caller,
                needed,
                method = crate::http::http_metrics::method_label(method),
                path,
                unlogged,
                "request_refused"
            );
        }
        let (status, challenge, sentence) = match refusal {
            AccessDenied::Caller(AuthenticationError::Missing) => {
                (StatusCode::UNAUTHORIZED, "Bearer realm=\"epr\"".to_owned(), "A bearer token is required".to_owned())
            }
            AccessDenied::Caller(AuthenticationError::Invalid(_)) => (
                StatusCode::UNAUTHORIZED,
                "Bearer realm=\"epr\", error=\"invalid_token\"".to_owned(),
                "The bearer token is not valid".to_owned(),
            ),
            AccessDenied::Doubled => {
                let invalid = Invalid::one("header", Some("Authorization"), given_twice());
                return ApiError::from(invalid).into_response();
            }
            AccessDenied::Overloaded | AccessDenied::Caller(AuthenticationError::Unavailable) => {
                return detail(StatusCode::SERVICE_UNAVAILABLE, "The service is temporarily unavailable");
            }
            AccessDenied::Scope(_, scope) => (
                StatusCode::FORBIDDEN,
                format!("Bearer realm=\"epr\", error=\"insufficient_scope\", scope=\"{}\"", scope.word()),
                format!("The bearer token lacks the scope {}", scope.word()),
            ),
        };
        let mut response = detail(status, &sentence);
        if let Ok(challenge) = HeaderValue::from_str(&challenge) {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

fn wrong_method(path: &str) -> Response {
    let mut response = detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
    if let Ok(allow) = HeaderValue::from_str(&access::methods(path)) {
        response.headers_mut().insert(header::ALLOW, allow);
    }
    response
}

/// Most lines a second about refused requests: strangers must not fill the log.
const MAX_LINES_PER_SECOND: u32 = 10;

/// Counts lines about refused requests.
#[derive(Default)]
struct LogLimit {
    second: AtomicI64,
    count: AtomicU32,
}

impl LogLimit {
    /// Whether one more may be logged at this time (in microseconds); with it, how many were not since the last that was.
    /// Two that come at the turn of a second may miscount by one another: nothing hangs on it.
    fn next(&self, micros: i64) -> Option<u32> {
        let second = micros.div_euclid(1_000_000);
        if self.second.swap(second, Ordering::Relaxed) != second {
            return Some(self.count.swap(1, Ordering::Relaxed).saturating_sub(MAX_LINES_PER_SECOND));
        }
        (self.count.fetch_add(1, Ordering::Relaxed) < MAX_LINES_PER_SECOND).then_some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_and_then_a_number() {
        let lines = LogLimit::default();
        let told: Vec<_> = (0..25).map(|n| lines.next(1_000_000 + n)).collect();
        assert_eq!(told.iter().filter(|line| line.is_some()).count(), 10);
        assert_eq!(lines.next(2_000_000), Some(15));
        assert_eq!(lines.next(2_000_001), Some(0));
    }
}
