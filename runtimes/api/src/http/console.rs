//! The console under the same limits as the API: its forms are read here, without a permit while they arrive.
//!
//! Must know nothing of a page.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse as _, Response};
use epr_core::Epr;
use epr_core::authn::Authenticator;
use tower_http::catch_panic::CatchPanicLayer;

use super::error;
use super::permit::Permit;

/// `router` with the console, whose pages are no part of the documented interface.
pub(crate) fn mount(router: Router, epr: Epr, authenticator: Arc<Authenticator>, body_timeout: Duration) -> Router {
    let console = epr_console::router(epr, authenticator)
        .layer(from_fn_with_state(body_timeout, with_whole_body))
        .layer(CatchPanicLayer::custom(error::after_panic));
    router.merge(console)
}

/// Reads the body of a form before its page runs.
async fn with_whole_body(State(timeout): State<Duration>, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return next.run(request).await;
    }
    let (head, body) = request.into_parts();
    let permit = head.extensions.get::<Permit>().cloned();
    permit.iter().for_each(Permit::release);
    let max_bytes = epr_console::max_form_bytes(head.uri.path());
    let received = tokio::time::timeout(timeout, to_bytes(body, max_bytes)).await;
    let Ok(Ok(bytes)) = received else { return StatusCode::PAYLOAD_TOO_LARGE.into_response() };
    if permit.as_ref().is_some_and(|permit| permit.reacquire().is_err()) {
        return error::overloaded();
    }
    next.run(Request::from_parts(head, Body::from(bytes))).await
}
