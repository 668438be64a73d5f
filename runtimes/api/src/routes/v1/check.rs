//! `/api/v1/authorize` and `/api/v1/permissions/check`: the same check under two sets of field names.

use std::sync::Arc;

use axum::extract::State;
use epr_core::decision::{AskedAction, Question};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{Invalid, Json};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::http::error::ApiError;
use crate::http::extract::{JsonBody, LenientCallHeaders};
use crate::http::respond::ok;
use crate::openapi::responses::NotFound;
use crate::routes::Answer;

/// The decision.
#[derive(Serialize, ToSchema)]
pub(crate) struct Authorized {
    /// Whether the user may.
    authorized: bool,
}

/// The decision.
#[derive(Serialize, ToSchema)]
pub(crate) struct Allowed {
    /// Whether the principal may.
    allowed: bool,
}

/// May this user do this to that entity?
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `Question::from_body` reads it")]
pub(crate) struct AuthorizeRequest {
    /// The principal asking for access.
    user_id: Uuid,
    /// The action, for example `document:download`. An action that no role holds is denied, not rejected.
    action: AskedAction,
    /// The entity that the action is on.
    resource_id: Uuid,
    /// The principal's type; `user` when absent.
    // No `default`: generators of clients take a member with one for required.
    #[schema(required = false)]
    principal_type: PrincipalType,
}

/// The same under other names.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `Question::from_body` reads it")]
pub(crate) struct PermissionCheckRequest {
    /// The principal asking for access.
    principal_id: Uuid,
    /// The action, for example `document:download`. An action that no role holds is denied, not rejected.
    action: AskedAction,
    /// The entity that the action is on.
    resource_id: Uuid,
    /// The principal's type; `user` when absent.
    // No `default`: generators of clients take a member with one for required.
    #[schema(required = false)]
    principal_type: PrincipalType,
}

/// Check
///
/// True exactly when an assignment of that principal is in force now, reaches the resource, and its role holds the action
/// and is meant for the resource's type. An unknown resource is a 404, a database that is away a 503: never a decision.
#[utoipa::path(
    post, path = "/api/v1/authorize", operation_id = "authorize", tag = "authorization",
    params(LenientCallHeaders),
    request_body(content = AuthorizeRequest, example = json!({
        "user_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "action": "document:download",
        "resource_id": "01a20864-775e-7192-9677-77033a7b75da"
    })),
    responses((status = 200, description = "The decision", body = Authorized), JsonBody, NotFound)
)]
pub(crate) async fn authorize(
    State(app): State<Arc<App>>,
    caller: LenientCallHeaders,
    JsonBody(body): JsonBody,
) -> Answer {
    Ok(ok(&Authorized { authorized: check(&app, caller, body, "user_id").await? }))
}

/// Check, under the names of the vault's newer client
///
/// The same as `/api/v1/authorize`.
#[utoipa::path(
    post, path = "/api/v1/permissions/check", operation_id = "checkPermission", tag = "authorization",
    params(LenientCallHeaders),
    request_body(content = PermissionCheckRequest, example = json!({
        "principal_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "action": "document:download",
        "resource_id": "01a20864-775e-7192-9677-77033a7b75da"
    })),
    responses((status = 200, description = "The decision", body = Allowed), JsonBody, NotFound)
)]
pub(crate) async fn permissions(
    State(app): State<Arc<App>>,
    caller: LenientCallHeaders,
    JsonBody(body): JsonBody,
) -> Answer {
    Ok(ok(&Allowed { allowed: check(&app, caller, body, "principal_id").await? }))
}

async fn check(
    app: &App,
    LenientCallHeaders(call): LenientCallHeaders,
    body: Result<Json, Invalid>,
    principal: &'static str,
) -> Result<bool, ApiError> {
    let question = body.and_then(|body| Question::from_body(&body, principal))?;
    Ok(app.epr.check(&call, &question).await?.allowed)
}
