//! Liveness, readiness, metrics.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use epr_core::authn::Scope;
use epr_core::error::chain;
use epr_core::settings::OpenPath;
use epr_core::store::PrimaryReason;
use epr_core::{CheckpointStatus, Epr};
use serde::Serialize;
use tracing::warn;
use utoipa::ToSchema;

use crate::App;
use crate::access::Rule;
use crate::http::respond::json;
use crate::openapi::{Route, route};

/// The time in which the state of the replica must be known: half of what a probe waits for an answer by default.
const REPLICA_LIMIT: Duration = Duration::from_millis(500);

pub(crate) fn routes() -> [Route; 3] {
    [
        route!(live, Rule::Open),
        route!(ready, Rule::OpenIf(OpenPath::Readyz, Scope::Operate)),
        route!(metrics, Rule::OpenIf(OpenPath::Metrics, Scope::Operate)),
    ]
}

/// The process responds.
#[derive(Serialize, ToSchema)]
pub(crate) struct Live {
    /// Always `ok`.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
}

/// Check liveness
///
/// The process responds. No dependency is used.
#[utoipa::path(
    get, path = "/healthz", operation_id = "getLiveness", tag = "operation",
    responses((status = 200, description = "The process responds.", body = Live))
)]
async fn live() -> Response {
    json(StatusCode::OK, &Live { status: "ok" })
}

/// Whether the service can serve calls.
#[derive(Serialize, ToSchema)]
pub(crate) struct Ready {
    /// `ready` or `not_ready`.
    #[schema(value_type = String, example = "ready")]
    status: &'static str,
    /// `off` in production if callers are not authenticated and `EPR_AUTH_MODE=none` does not confirm that as intended;
    /// else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "off")]
    authentication: Option<&'static str>,
    /// The state of each dependency.
    dependencies: Dependencies,
    /// The offset of this process's clock from the database server's, in seconds, positive if this clock is ahead.
    /// Measured once a minute. Absent before the first measurement and on SQLite. It does not affect readiness.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = 0.002)]
    clock_offset_seconds: Option<f64>,
}

/// The dependencies of the service.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dependencies {
    /// The database.
    database: Dependency,
    /// The cache of decisions. Not required: while it is bypassed, every check is evaluated.
    cache: Dependency,
    /// The registry in the memory of this process. Not required: without it, facts are read from the database.
    graph: Dependency,
    /// The replica that lists may come from, if one is configured. Not required: the primary answers in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    database_replica: Option<ReadReplica>,
    /// The ledger's checkpoints, if this process signs them. Not required.
    #[serde(skip_serializing_if = "Option::is_none")]
    ledger: Option<Checkpoints>,
    /// The cache that processes share, if one is configured. Not required.
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_cache: Option<SharedCache>,
}

/// The state of one dependency.
#[derive(Serialize, ToSchema)]
pub(crate) struct Dependency {
    /// A database is `ok`, `unavailable` or `missing_privileges`; a cache is `ok`, `bypassed` or `off`;
    /// the registry in memory is `ok`, `bypassed`, `too_large` (for `EPR_GRAPH_MB`) or `off`.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
}

/// The state of the replica.
#[derive(Serialize, ToSchema)]
struct ReadReplica {
    /// `ok`, or why it does not answer: `lag`, `ahead`, `diverged`, `other_database`, `not_a_standby`, `schema`,
    /// `busy`, `unavailable`, `cancelled`, `slow`, `failed` or `unconfirmed`.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
}

/// The state of the ledger's checkpoints.
#[derive(Serialize, ToSchema)]
struct Checkpoints {
    /// `ok`; `failing` if the last attempt to sign, cosign or publish failed and is repeated; `inconsistent` if the
    /// ledger does not begin with what was signed last, so that nothing is signed.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
}

/// The state of the cache that processes share.
#[derive(Serialize, ToSchema)]
struct SharedCache {
    /// `redis` or `upstash`.
    #[schema(value_type = String, example = "redis")]
    kind: &'static str,
    /// `ok` or `bypassed`.
    #[schema(value_type = String, example = "ok")]
    status: &'static str,
}

/// Check readiness
///
/// The service is ready if it can serve checks and changes: it can read facts and append to the ledger on the server
/// that has the ledger, and the schema is not older than this program. A newer schema is ready.
#[utoipa::path(
    get, path = "/readyz", operation_id = "getReadiness", tag = "operation",
    responses(
        (status = 200, description = "The service is ready.", body = Ready),
        (status = 503, description = "The service is not ready.", body = Ready)
    )
)]
async fn ready(State(app): State<Arc<App>>) -> Response {
    let database = database(&app.epr).await;
    let (status, word) =
        if database == "ok" { (StatusCode::OK, "ready") } else { (StatusCode::SERVICE_UNAVAILABLE, "not_ready") };
    let (cache, shared) = app.epr.cache_state();
    let replica = app.epr.replica_state(REPLICA_LIMIT).await;
    let dependencies = Dependencies {
        database: Dependency { status: database },
        database_replica: replica.map(|state| ReadReplica { status: state.map_or_else(PrimaryReason::word, |_| "ok") }),
        cache: Dependency { status: cache.word() },
        graph: Dependency { status: app.epr.graph_state().word() },
        ledger: app.epr.checkpoint_status().map(|checkpoints| Checkpoints { status: word_of(&checkpoints) }),
        shared_cache: shared.map(|(kind, state)| SharedCache { kind, status: state.word() }),
    };
    let authentication = app.unguarded.then_some("off");
    let clock_offset_seconds = app.epr.clock_offset();
    json(status, &Ready { status: word, authentication, dependencies, clock_offset_seconds })
}

fn word_of(checkpoints: &CheckpointStatus) -> &'static str {
    match checkpoints {
        CheckpointStatus { inconsistent: Some(_), .. } => "inconsistent",
        CheckpointStatus { failing: Some(_), .. } => "failing",
        CheckpointStatus { .. } => "ok",
    }
}

/// Whether facts can be read, an entry can be written, and the database user has every privilege that calls need. The
/// missing privileges are logged and not part of the response, which may be open to everyone.
async fn database(epr: &Epr) -> &'static str {
    let missing = match epr.missing_privileges().await {
        Ok(missing) if missing.is_empty() => epr.check_ready().await.map(|()| missing),
        missing => missing,
    };
    match missing {
        Ok(missing) if missing.is_empty() => "ok",
        Ok(missing) => {
            warn!(dependency = "database", missing_privileges = missing.join(", "), "not_ready");
            "missing_privileges"
        }
        Err(error) => {
            warn!(dependency = "database", error = chain(&error), "not_ready");
            "unavailable"
        }
    }
}

/// Read the metrics
///
/// In the text format of Prometheus (`OpenMetrics`).
#[utoipa::path(
    get, path = "/metrics", operation_id = "getMetrics", tag = "operation",
    responses((
        status = 200, description = "The metrics, as OpenMetrics text.", body = String,
        content_type = "application/openmetrics-text"
    ))
)]
async fn metrics(State(app): State<Arc<App>>) -> Response {
    let mut text = String::new();
    app.metrics.write(&mut text);
    app.epr.write_metrics(&mut text).await;
    text.push_str("# EOF\n");
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response()
}
