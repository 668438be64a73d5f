//! Liveness, readiness, metrics.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_core::Epr;
use epr_core::error::chain;
use serde::Serialize;
use tracing::warn;
use utoipa::ToSchema;

use crate::App;
use crate::http::respond::json;

/// The process answers.
#[derive(Serialize, ToSchema)]
pub(crate) struct Live {
    /// `ok`.
    #[schema(value_type = String)]
    status: &'static str,
}

/// Liveness
///
/// The process answers. Touches no dependency.
#[utoipa::path(
    get, path = "/healthz", operation_id = "getLiveness", tag = "operation",
    responses((status = 200, description = "Alive", body = Live))
)]
pub(crate) async fn live() -> Response {
    json(StatusCode::OK, &Live { status: "ok" })
}

/// Whether calls can be served.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ready` or `not_ready`.
    #[schema(value_type = String)]
    status: &'static str,
    /// `off` in production when callers are not authenticated and `EPR_AUTH_MODE=none` does not say that this is meant.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    authentication: Option<&'static str>,
    /// Each with its state.
    dependencies: Dependencies,
    /// How far the clock of this process is ahead of the database server's, in seconds, measured once a minute. Absent before
    /// the first measurement, and on SQLite. Does not make the service unready.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.002)]
    clock_offset_seconds: Option<f64>,
}

/// What calls depend on.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dependencies {
    /// Where the data is.
    database: Dependency,
    /// Not needed to serve: while it is bypassed every check is evaluated.
    cache: Dependency,
    /// The tier that processes reservation, if there is one; not needed to serve either.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_cache: Option<SharedCache>,
}

/// One dependency.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dependency {
    /// `ok` or `unavailable`, a database also `missing_privileges`; a cache is `ok`, `bypassed` or `off`.
    #[schema(value_type = String)]
    status: &'static str,
}

/// The cache that processes reservation.
#[derive(Serialize, ToSchema)]
struct SharedCache {
    /// `redis` or `upstash`.
    #[schema(value_type = String)]
    kind: &'static str,
    /// `ok` or `bypassed`.
    #[schema(value_type = String)]
    status: &'static str,
}

/// Readiness
///
/// Each dependency with its state; 503 unless checks and changes can be served: facts can be read and a ledger entry can be written
/// on the server that has the ledger, and the schema is not older than this program. A newer schema is ready.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "operation",
    responses(
        (status = 200, description = "Ready", body = Ready),
        (status = 503, description = "Not ready", body = Ready)
    )
)]
pub(crate) async fn ready(State(app): State<Arc<App>>) -> Response {
    let database = database(&app.epr).await;
    let (status, word) =
        if database == "ok" { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    let (cache, shared) = app.epr.cache_state();
    let dependencies = Dependencies {
        database: Dependency { status: database },
        cache: Dependency { status: cache.word() },
        shared_cache: shared.map(|(kind, state)| SharedCache { kind, status: state.word() }),
    };
    let authentication = app.unguarded.then_some("off");
    let clock_offset_seconds = app.epr.clock_offset();
    json(status, &Ready { status: word, authentication, dependencies, clock_offset_seconds })
}

/// Whether facts can be read and an entry can be written, and the database lets this user do everything that calls need. The log
/// says what is missing, and not the answer, which may be open to everyone.
async fn database(epr: &Epr) -> &'static str {
    let missing = match epr.missing_privileges().await {
        // With all of them, what else can be in the way.
        Ok(missing) if missing.is_empty() => epr.check_ready().await.map(|()| missing),
        missing => missing,
    };
    match missing {
        Ok(missing) if missing.is_empty() => "ok",
        Ok(missing) => {
            warn!(dependency = "database", missing_privileges = missing.join(", "), "not_ready");
            "missing_privileges"
        }
        Err(fault) => {
            warn!(dependency = "database", error = chain(&fault), "not_ready");
            "unavailable"
        }
    }
}

/// Metrics in the `OpenMetrics` text format
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "operation",
    responses((
        status = 200, description = "OpenMetrics text", body = String,
        content_type = "application/openmetrics-text"
    ))
)]
pub(crate) async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = String::new();
    app.metrics.write(&mut text);
    app.epr.write_metrics(&mut text).await;
    text.push_str("# EOF\n");
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
