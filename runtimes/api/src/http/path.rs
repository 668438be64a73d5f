//! The path of a request, normalized before routing: a run of slashes is one slash, a trailing slash is none.
//!
//! Owns the only rewriting of paths. It is in front of the router, so that routing, authentication and metrics see the
//! same path. Must never decode or resolve anything: `%2f`, `%2e`, `.` and `..` stay as sent and match no route.

use std::convert::Infallible;
use std::net::IpAddr;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use axum::response::Response;
use axum::routing::future::RouteFuture;

/// The complete HTTP interface: the router behind the normalization of paths.
#[derive(Clone)]
pub struct Service {
    router: Router,
    /// The address of the caller's end of the connection.
    peer: Option<IpAddr>,
}

/// The number of slashes that were removed from the end of the path, in the extensions of a request whose path was
/// normalized. A page needs it for relative addresses, which the browser resolves against the path as sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TrailingSlashes(pub(crate) usize);

impl Service {
    pub(crate) fn new(router: Router) -> Self {
        Self { router, peer: None }
    }

    /// The service for one connection.
    pub(crate) fn of_peer(self, peer: IpAddr) -> Self {
        Self { peer: Some(peer), ..self }
    }
}

impl tower::Service<Request> for Service {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        tower::Service::<Request>::poll_ready(&mut self.router, context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        if let Some(uri) = normalized(request.uri()) {
            let path = request.uri().path();
            let trailing = path.len() - path.trim_end_matches('/').len();
            request.extensions_mut().insert(TrailingSlashes(trailing));
            *request.uri_mut() = uri;
        }
        // Only the console asks for it, and an extension costs an allocation.
        if let Some(peer) = self.peer.filter(|_| epr_console::is_console_path(request.uri().path())) {
            request.extensions_mut().insert(epr_console::Peer(peer));
        }
        self.router.call(request)
    }
}

/// `uri` with a normalized path; `None` if the path is normalized already.
pub(super) fn normalized(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    let trailing = path.len() > 1 && path.ends_with('/');
    if !trailing && !path.contains("//") {
        return None;
    }
    let mut kept = String::with_capacity(uri.path_and_query().map_or(0, |target| target.as_str().len()));
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        kept.push('/');
        kept.push_str(segment);
    }
    if kept.is_empty() {
        kept.push('/');
    }
    if let Some(query) = uri.query() {
        kept.push('?');
        kept.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(kept).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_slashes_are_one_and_a_trailing_slash_is_none() {
        for (sent, routed) in [
            ("//api/v1/authorize", "/api/v1/authorize"),
            ("/api/v1/authorize/", "/api/v1/authorize"),
            ("///api////v1//authorize///", "/api/v1/authorize"),
            ("/api/v1/roles/?limit=1&x=//", "/api/v1/roles?limit=1&x=//"),
            ("http://epr.test//api/v1/roles/?a", "http://epr.test/api/v1/roles?a"),
            ("//", "/"),
            ("///?a=/", "/?a=/"),
            ("//%2f//", "/%2f"),
            ("/api/v1//..//./roles/", "/api/v1/.././roles"),
        ] {
            let uri = normalized(&sent.parse().unwrap()).unwrap_or_else(|| panic!("{sent} is left alone"));
            assert_eq!(uri.to_string(), routed, "{sent}");
            assert_eq!(normalized(&uri), None, "{sent}: once is enough");
        }
    }

    #[test]
    fn a_normalized_path_is_left_alone() {
        for sent in ["/", "/healthz", "/api/v1/roles?x=//", "*", "/%2F%2f", "/api/v1/%2e%2e/roles", "epr.test:443"] {
            assert_eq!(normalized(&sent.parse().unwrap()), None, "{sent}");
        }
    }
}
