//! Authenticates the caller of every request and checks its scope against the access table, before the route runs.
//!
//! Works on the head of a request: a refused request's body is not read. Must never log a credential.

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

use super::error::{ApiError, detail, overloaded, unknown_path};
use super::extract::{X_ACTOR_ID, actor_in, given_twice, is_doubled};
use super::http_metrics::{HttpMetrics, method_label};
use super::permit::{Overloaded, Permit};
use crate::Callers;
use crate::access::{AccessTable, Rule};

/// The state of the guard.
pub(crate) struct Guard {
    epr: Epr,
    authenticator: Arc<Authenticator>,
    open: Vec<OpenPath>,
    access: AccessTable,
    metrics: Arc<HttpMetrics>,
    log_limit: LogLimit,
}

/// The authenticated caller and its actor, in the extensions of a request that passed the guard.
#[derive(Debug, Clone)]
pub(crate) struct AuthenticatedActor {
    /// The actor, if the credential has one or names one.
    pub(crate) id: Option<Uuid>,
    /// The name of the credential.
    pub(crate) caller: NamedCaller,
    /// Whether what it states about subjects, actions and resources counts.
    pub(crate) may_assert: bool,
}

/// Why a request is refused.
enum AccessDenied {
    /// The credential is missing or not valid, or cannot be verified now.
    Caller(AuthenticationError),
    /// The credential is valid but lacks this scope.
    Scope(Caller, Scope),
    /// There are two credentials.
    Doubled,
    /// No concurrency permit was free after the credential had been verified.
    Overloaded,
}

/// Lets a request pass if its caller has the scope that the route requires.
pub(crate) async fn authenticate(State(guard): State<Arc<Guard>>, mut request: Request, next: Next) -> Response {
    let path = request.extensions().get::<MatchedPath>().cloned();
    let path = path.as_ref().map(MatchedPath::as_str);
    let rule = path.and_then(|path| guard.access.rule(request.method(), path));
    if rule.is_some_and(|rule| guard.is_open(rule)) {
        return next.run(request).await;
    }
    let permit = request.extensions().get::<Permit>().cloned();
    let caller = match guard.authorize(request.headers(), permit, rule).await {
        Ok((caller, actor)) => {
            request.extensions_mut().insert(actor);
            caller
        }
        Err(denied) => return guard.refuse(&denied, request.method(), path),
    };
    match (rule, path) {
        // Every log line of the request has the name of the credential.
        (Some(_), _) => next.run(request).instrument(info_span!("caller", caller = &*caller.name)).await,
        // The guard answers itself instead of calling `next`, which might have a route without a rule.
        (None, Some(path)) => guard.wrong_method(path),
        (None, None) => unknown_path().await,
    }
}

impl Guard {
    pub(crate) fn new(epr: Epr, callers: Callers, access: AccessTable, metrics: Arc<HttpMetrics>) -> Self {
        let Callers { authenticator, open } = callers;
        Self { epr, authenticator, open, access, metrics, log_limit: LogLimit::default() }
    }

    fn is_open(&self, rule: Rule) -> bool {
        match rule {
            Rule::Open => true,
            Rule::OpenIf(path, _) => self.open.contains(&path),
            Rule::Requires(_) | Rule::RequiresBoth(..) => false,
        }
    }

    /// Returns the caller and its actor. Without a rule any valid credential passes: the caller only learns that there
    /// is no such route.
    async fn authorize(
        &self,
        headers: &HeaderMap,
        permit: Option<Permit>,
        rule: Option<Rule>,
    ) -> Result<(Caller, AuthenticatedActor), AccessDenied> {
        let caller = self.verify_credential(headers, permit).await?;
        let required = match rule {
            Some(Rule::Requires(scope) | Rule::OpenIf(_, scope)) => [Some(scope), None],
            Some(Rule::RequiresBoth(one, other)) => [Some(one), Some(other)],
            Some(Rule::Open) | None => [None, None],
        };
        if let Some(scope) = required.into_iter().flatten().find(|scope| !caller.scopes.hold(*scope)) {
            return Err(AccessDenied::Scope(caller, scope));
        }
        let (own, named, may_assert) = (caller.actor_id, caller.named(), caller.scopes.hold(Scope::Assert));
        if caller.scopes.hold(Scope::ActAs) {
            // The route reports a malformed header, together with its other errors.
            let id = actor_in(headers).ok().flatten().or(own);
            return Ok((caller, AuthenticatedActor { id, caller: named, may_assert }));
        }
        // All values: a route that ignores a duplicated header must not hide another actor's id behind it.
        let mut claimed = headers.get_all(&X_ACTOR_ID).iter().filter_map(|value| parse_uuid(value.to_str().ok()?));
        if claimed.any(|actor| own != Some(actor)) {
            return Err(AccessDenied::Scope(caller, Scope::ActAs));
        }
        Ok((caller, AuthenticatedActor { id: own, caller: named, may_assert }))
    }

    async fn verify_credential(&self, headers: &HeaderMap, permit: Option<Permit>) -> Result<Caller, AccessDenied> {
        if is_doubled(headers, &header::AUTHORIZATION) {
            return Err(AccessDenied::Doubled);
        }
        let values = headers.get_all(header::AUTHORIZATION).iter().map(HeaderValue::as_bytes);
        let mut verifying = pin!(self.authenticator.authenticate(values));
        let verified = match poll_immediate(&mut verifying).await {
            Some(verified) => verified,
            None => {
                // It waits for the issuer's keys. Unauthenticated callers can cause that and must not hold permits
                // meanwhile.
                permit.iter().for_each(Permit::release);
                let verified = verifying.await;
                permit.iter().try_for_each(Permit::reacquire).map_err(|Overloaded| AccessDenied::Overloaded)?;
                verified
            }
        };
        verified.map_err(AccessDenied::Caller)
    }

    fn refuse(&self, denied: &AccessDenied, method: &Method, path: Option<&str>) -> Response {
        let (reason, caller) = match denied {
            AccessDenied::Caller(AuthenticationError::Missing) => ("missing", None),
            AccessDenied::Caller(AuthenticationError::Invalid(reason)) => (reason.word(), None),
            AccessDenied::Caller(AuthenticationError::Unavailable) => ("unavailable", None),
            AccessDenied::Scope(caller, _) => ("scope", Some(&*caller.name)),
            AccessDenied::Doubled => ("malformed", None),
            AccessDenied::Overloaded => return overloaded(),
        };
        self.metrics.refused(reason);
        if let Some(unlogged) = self.log_limit.next(self.epr.now().unix_micros()) {
            let needed = if let AccessDenied::Scope(_, scope) = denied { Some(scope.word()) } else { None };
            // The route template and a known method: input of an unauthenticated caller is not logged.
            warn!(reason, caller, needed, method = method_label(method), path, unlogged, "request_refused");
        }
        refusal(denied)
    }

    fn wrong_method(&self, path: &str) -> Response {
        let mut response = detail(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed");
        if let Ok(allow) = HeaderValue::from_str(&self.access.allowed_methods(path)) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        response
    }
}

/// The response to a refused request.
fn refusal(denied: &AccessDenied) -> Response {
    let (status, challenge, sentence) = match denied {
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

/// The most lines about refused requests in a second: unauthenticated callers must not fill the log.
const MAX_LINES_PER_SECOND: u32 = 10;

/// Limits the lines about refused requests.
#[derive(Default)]
struct LogLimit {
    second: AtomicI64,
    count: AtomicU32,
}

impl LogLimit {
    /// Whether one more line may be logged at this time (in microseconds since 1970); if so, returns the number of
    /// lines that were suppressed before. Two requests at the turn of a second may miscount by one, which has no
    /// consequence.
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
    fn ten_lines_a_second_and_then_the_number_of_suppressed_ones() {
        let limit = LogLimit::default();
        let lines: Vec<_> = (0..25).map(|n| limit.next(1_000_000 + n)).collect();
        assert_eq!(lines.iter().filter(|line| line.is_some()).count(), 10);
        assert_eq!(limit.next(2_000_000), Some(15));
        assert_eq!(limit.next(2_000_001), Some(0));
    }
}
