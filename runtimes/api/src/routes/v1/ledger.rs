//! `/api/v1/ledger`: the ledger as a transparency log, with proofs. Read only.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use epr_core::Error;
use epr_core::authn::Scope;
use epr_core::domain::Json;
use epr_core::domain::fields::{self, Fields};
use epr_core::ledger::tile::Tile;
use epr_core::settings::OpenPath;
use serde::Serialize;
use utoipa::ToSchema;

use crate::App;
use crate::access::Rule;
use crate::http::extract::Query;
use crate::http::respond::ok;
use crate::openapi::responses::{InvalidRequest, Problem};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 8] {
    let open = Rule::OpenIf(OpenPath::Ledger, Scope::Audit);
    [
        route!(checkpoint, open),
        route!(tile, open),
        route!(tile_of_two_segments, open),
        route!(tile_of_three_segments, open),
        route!(tile_of_four_segments, open),
        route!(key, open),
        route!(proof, Rule::Requires(Scope::Audit)),
        route!(consistency, Rule::Requires(Scope::Audit)),
    ]
}

const TEXT: &str = "text/plain; charset=utf-8";
/// A new checkpoint is made every few seconds.
const FOR_SECONDS: &str = "max-age=5";
/// A tile of a width never changes.
const FOR_GOOD: &str = "max-age=31536000, immutable";

fn respond(content_type: &'static str, caching: &'static str, body: impl Into<axum::body::Body>) -> Response {
    ([(header::CONTENT_TYPE, content_type), (header::CACHE_CONTROL, caching)], body.into()).into_response()
}

/// Read the newest checkpoint
///
/// A signed note with the size and root of the ledger's tree (C2SP tlog-checkpoint).
#[utoipa::path(
    get, path = "/api/v1/ledger/checkpoint", operation_id = "getLedgerCheckpoint", tag = "audit",
    responses(
        (status = 200, description = "The signed checkpoint.", body = String, content_type = "text/plain"),
        (status = 404, description = "The ledger has no checkpoint yet.", body = Problem)
    )
)]
async fn checkpoint(State(app): State<Arc<App>>) -> HandlerResult {
    Ok(respond(TEXT, FOR_SECONDS, app.epr.newest_checkpoint().await?.note))
}

/// Read a tile of the ledger's tree
///
/// Hashes of the tree, or with `entries` as the level the hashes of entries (C2SP tlog-tiles, height 8). The data of a
/// leaf are the 32 bytes of `entry_hash`. Indexes above 999 and partial tiles have further segments:
/// `tile/0/x001/067.p/12`.
#[utoipa::path(
    get, path = "/api/v1/ledger/tile/{level}/{first}", operation_id = "getLedgerTile", tag = "audit",
    params(
        ("level" = String, Path, description = "`0` to `7`, or `entries`.", example = "0"),
        ("first" = String, Path, description = "A segment of index and width.", example = "000")
    ),
    responses(
        (
            status = 200, description = "The tile.", body = Vec<u8>,
            content_type = "application/octet-stream"
        ),
        (status = 404, description = "The newest checkpoint has no such tile.", body = Problem)
    )
)]
async fn tile(State(app): State<Arc<App>>, Path((level, first)): Path<(String, String)>) -> HandlerResult {
    respond_with_tile(&app, &format!("tile/{level}/{first}")).await
}

/// Read a tile whose index and width have two segments
///
/// See `getLedgerTile`.
#[utoipa::path(
    get, path = "/api/v1/ledger/tile/{level}/{first}/{second}",
    operation_id = "getLedgerTileOfTwoSegments", tag = "audit",
    params(
        ("level" = String, Path, description = "`0` to `7`, or `entries`.", example = "0"),
        ("first" = String, Path, description = "A segment of index and width.", example = "000.p"),
        ("second" = String, Path, description = "A segment of index and width.", example = "12")
    ),
    responses(
        (
            status = 200, description = "The tile.", body = Vec<u8>,
            content_type = "application/octet-stream"
        ),
        (status = 404, description = "The newest checkpoint has no such tile.", body = Problem)
    )
)]
async fn tile_of_two_segments(
    State(app): State<Arc<App>>,
    Path((level, first, second)): Path<(String, String, String)>,
) -> HandlerResult {
    respond_with_tile(&app, &format!("tile/{level}/{first}/{second}")).await
}

/// Read a tile whose index and width have three segments
///
/// See `getLedgerTile`.
#[utoipa::path(
    get, path = "/api/v1/ledger/tile/{level}/{first}/{second}/{third}",
    operation_id = "getLedgerTileOfThreeSegments", tag = "audit",
    params(
        ("level" = String, Path, description = "`0` to `7`, or `entries`.", example = "0"),
        ("first" = String, Path, description = "A segment of index and width.", example = "x001"),
        ("second" = String, Path, description = "A segment of index and width.", example = "067.p"),
        ("third" = String, Path, description = "A segment of index and width.", example = "12")
    ),
    responses(
        (
            status = 200, description = "The tile.", body = Vec<u8>,
            content_type = "application/octet-stream"
        ),
        (status = 404, description = "The newest checkpoint has no such tile.", body = Problem)
    )
)]
async fn tile_of_three_segments(
    State(app): State<Arc<App>>,
    Path((level, first, second, third)): Path<(String, String, String, String)>,
) -> HandlerResult {
    respond_with_tile(&app, &format!("tile/{level}/{first}/{second}/{third}")).await
}

/// Read a tile whose index and width have four segments
///
/// See `getLedgerTile`.
#[utoipa::path(
    get, path = "/api/v1/ledger/tile/{level}/{first}/{second}/{third}/{fourth}",
    operation_id = "getLedgerTileOfFourSegments", tag = "audit",
    params(
        ("level" = String, Path, description = "`0` to `7`, or `entries`.", example = "0"),
        ("first" = String, Path, description = "A segment of index and width.", example = "x001"),
        ("second" = String, Path, description = "A segment of index and width.", example = "x234"),
        ("third" = String, Path, description = "A segment of index and width.", example = "067.p"),
        ("fourth" = String, Path, description = "A segment of index and width.", example = "12")
    ),
    responses(
        (
            status = 200, description = "The tile.", body = Vec<u8>,
            content_type = "application/octet-stream"
        ),
        (status = 404, description = "The newest checkpoint has no such tile.", body = Problem)
    )
)]
async fn tile_of_four_segments(
    State(app): State<Arc<App>>,
    Path((level, first, second, third, fourth)): Path<(String, String, String, String, String)>,
) -> HandlerResult {
    respond_with_tile(&app, &format!("tile/{level}/{first}/{second}/{third}/{fourth}")).await
}

async fn respond_with_tile(app: &App, path: &str) -> HandlerResult {
    let tile: Tile = path.parse().map_err(|_| {
        Error::NotFound("No tile has this path; expected, for example, tile/0/x001/067 or tile/entries/000.p/12".into())
    })?;
    Ok(respond("application/octet-stream", FOR_GOOD, app.epr.ledger_tile(tile).await?))
}

/// Read the keys of the ledger
///
/// The verifier keys (vkeys) that sign checkpoints, one a line.
#[utoipa::path(
    get, path = "/api/v1/ledger/key", operation_id = "getLedgerKey", tag = "audit",
    responses(
        (status = 200, description = "The verifier keys.", body = String, content_type = "text/plain"),
        (status = 404, description = "This process has no key for checkpoints.", body = Problem)
    )
)]
async fn key(State(app): State<Arc<App>>) -> HandlerResult {
    let keys = app.epr.verifier_keys().await?;
    Ok(respond(TEXT, FOR_SECONDS, keys.join("\n") + "\n"))
}

/// Prove that the ledger contains an entry
///
/// A file (C2SP tlog-proof) with the canonical text of the entry, its path in the tree and the newest checkpoint.
#[utoipa::path(
    get, path = "/api/v1/ledger/proof/{sequence}", operation_id = "getLedgerProof", tag = "audit",
    params(("sequence" = String, Path, description = "The sequence of the entry.", example = "4711")),
    responses(
        (status = 200, description = "The proof.", body = String, content_type = "text/plain"),
        (status = 404, description = "The newest checkpoint does not cover such an entry.", body = Problem)
    )
)]
async fn proof(State(app): State<Arc<App>>, Path(sequence): Path<String>) -> HandlerResult {
    let number: Option<i64> = sequence.parse().ok().filter(|number: &i64| number.to_string() == sequence);
    let number = number.ok_or_else(|| Error::NotFound("No entry has this sequence".to_owned()))?;
    Ok(respond(TEXT, FOR_SECONDS, app.epr.prove_entry(number).await?.to_string()))
}

/// The proof that a ledger has only grown.
#[derive(Serialize, ToSchema)]
struct Consistency {
    /// The size of the older tree.
    #[schema(minimum = 0, example = 300)]
    from: u64,
    /// The size of the newer tree.
    #[schema(minimum = 0, example = 600)]
    to: u64,
    /// The hashes of the path (RFC 6962, 2.1.2), in base64.
    hashes: Vec<String>,
}

/// Prove that the ledger has only grown
///
/// The hashes that prove that the tree of `to` entries begins with the tree of `from` entries (RFC 6962, 2.1.2).
#[utoipa::path(
    get, path = "/api/v1/ledger/consistency", operation_id = "getLedgerConsistency", tag = "audit",
    params(
        ("from" = u64, Query, description = "The size of the older tree, at least 1.", minimum = 1, example = 300),
        (
            "to" = Option<u64>, Query, minimum = 1, nullable = false,
            description = "The size of the newer tree; by default that of the newest checkpoint."
        )
    ),
    responses(
        (status = 200, description = "The hashes.", body = Consistency),
        (status = 404, description = "The ledger has no checkpoint yet.", body = Problem),
        InvalidRequest
    )
)]
async fn consistency(State(app): State<Arc<App>>, query: Query) -> HandlerResult {
    let mut fields = Fields::new("query", &query.members);
    let size = |value: &Json| fields::sequence(value).map(|size| u64::try_from(size).unwrap_or(0));
    let (from, to) = (fields.required("from", size), fields.given("to", size));
    fields.only(&["from", "to"]);
    let (from, to) = fields.finish(from.map(|from| (from, to)))?;
    let to = match to {
        Some(to) => to,
        None => u64::try_from(app.epr.newest_checkpoint().await?.size).unwrap_or(0),
    };
    let hashes = app.epr.prove_consistency(from, Some(to)).await?;
    Ok(ok(&Consistency { from, to, hashes: hashes.iter().map(|hash| STANDARD.encode(hash)).collect() }))
}
