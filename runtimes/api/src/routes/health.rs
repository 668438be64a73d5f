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
}

#[derive(Serialize)]
struct Dependency {
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
    answer(status, &Ready { status: word, dependencies: Dependencies { database: Dependency { status: database } } })
}

/// `GET /metrics`: Prometheus text.
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let text = app.epr.metrics_text().await;
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
