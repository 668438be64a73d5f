//! Liveness, readiness, figures.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_core::error::chain;
use serde::Serialize;
use tracing::warn;

use crate::App;
use crate::failure::answer;

#[derive(Serialize)]
struct Live {
    status: &'static str,
}

/// `GET /healthz`: the process answers. Touches no dependency.
pub(crate) async fn live() -> Response {
    answer(StatusCode::OK, &Live { status: "ok" })
}

#[derive(Serialize)]
struct Ready {
    status: &'static str,
    dependencies: Dependencies,
}

#[derive(Serialize)]
struct Dependencies {
    database: Dependency,
    /// Not needed to serve: while it is bypassed every check is evaluated.
    cache: Dependency,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_cache: Option<SharedCache>,
}

#[derive(Serialize)]
struct Dependency {
    status: &'static str,
}

#[derive(Serialize)]
struct SharedCache {
    kind: &'static str,
    status: &'static str,
}

/// `GET /readyz`: each dependency with its state; 503 unless all that is needed to serve answers.
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (status, word, database) = match app.epr.ping().await {
        Ok(()) => (StatusCode::OK, "ready", "ok"),
        Err(fault) => {
            warn!(dependency = "database", error = chain(&fault), "not_ready");
            (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "unavailable")
        }
    };
    let (cache, shared) = app.epr.cache_state();
    let dependencies = Dependencies {
        database: Dependency { status: database },
        cache: Dependency { status: cache.word() },
        shared_cache: shared.map(|(kind, state)| SharedCache { kind, status: state.word() }),
    };
    answer(status, &Ready { status: word, dependencies })
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.epr.metrics_text().await;
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
