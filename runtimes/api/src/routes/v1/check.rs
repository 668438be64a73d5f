//! `/api/v1/authorize` and `/api/v1/permissions/check`: one check under two sets of field names.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::decision::AskedAction;
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{Invalid, JsonObject, Revision};
use epr_core::{Call, CheckRequest};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::access::Rule;
use crate::http::error::ApiError;
use crate::http::extract::{JsonBody, JsonText, QuestionHeaders, parse};
use crate::http::respond::{at_revision, ok};
use crate::openapi::responses::{NotFound, OtherIncarnation};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 2] {
    [route!(authorize, Rule::Requires(Scope::Authorize)), route!(check_permission, Rule::Requires(Scope::Authorize))]
}

/// The decision.
#[derive(Serialize, ToSchema)]
pub(crate) struct Authorized {
    /// Whether the principal may perform the action on the resource.
    authorized: bool,
}

/// The decision.
#[derive(Serialize, ToSchema)]
pub(crate) struct Allowed {
    /// Whether the principal may perform the action on the resource.
    allowed: bool,
}

/// The question whether a principal may perform an action on an entity.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `CheckRequest::from_body` reads it")]
pub(crate) struct AuthorizeRequest {
    /// The principal asking for access.
    #[schema(example = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11")]
    user_id: Uuid,
    /// The action, for example `document:download`. An action that no role holds is denied, not rejected.
    #[schema(example = "document:download")]
    action: AskedAction,
    /// The resource: the id of an entity.
    #[schema(example = "01a20864-775e-7192-9677-77033a7b75da")]
    resource_id: Uuid,
    /// The principal's type; `user` if absent.
    // No `default`: generators of clients treat a member with a default as required.
    #[schema(required = false, example = "user")]
    principal_type: PrincipalType,
    /// The data that conditions read under `context`, at most 64 KiB of JSON; none if absent or `null`. Each condition
    /// declares the members that it reads, with their types; a member of another type is a 400.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required = false)]
    #[schema(example = json!({"amount": 9000}))]
    context: JsonObject,
    /// A time: the registry as it was then, and windows and `now` compared with it. The present time if absent; at a
    /// later time the registry is the present one.
    #[schema(required = false, value_type = Option<String>, format = DateTime, example = "2026-11-01T12:00:00Z")]
    at: (),
    /// A state of the registry, from a header `EPR-Revision`: the registry as it was then. Windows and `now` are
    /// compared with `at`, or else with the time of that state.
    #[schema(required = false, value_type = Option<Revision>)]
    revision: (),
}

/// The question whether a principal may perform an action on an entity.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `CheckRequest::from_body` reads it")]
pub(crate) struct PermissionCheckRequest {
    /// The principal asking for access.
    #[schema(example = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11")]
    principal_id: Uuid,
    /// The action, for example `document:download`. An action that no role holds is denied, not rejected.
    #[schema(example = "document:download")]
    action: AskedAction,
    /// The resource: the id of an entity.
    #[schema(example = "01a20864-775e-7192-9677-77033a7b75da")]
    resource_id: Uuid,
    /// The principal's type; `user` if absent.
    // No `default`: generators of clients treat a member with a default as required.
    #[schema(required = false, example = "user")]
    principal_type: PrincipalType,
    /// The data that conditions read under `context`, at most 64 KiB of JSON; none if absent or `null`. Each condition
    /// declares the members that it reads, with their types; a member of another type is a 400.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required = false)]
    #[schema(example = json!({"amount": 9000}))]
    context: JsonObject,
    /// A time: the registry as it was then, and windows and `now` compared with it. The present time if absent; at a
    /// later time the registry is the present one.
    #[schema(required = false, value_type = Option<String>, format = DateTime, example = "2026-11-01T12:00:00Z")]
    at: (),
    /// A state of the registry, from a header `EPR-Revision`: the registry as it was then. Windows and `now` are
    /// compared with `at`, or else with the time of that state.
    #[schema(required = false, value_type = Option<Revision>)]
    revision: (),
}

/// Check access
///
/// `true` exactly if an assignment of the principal is in force now, applies to the resource or one of its ancestors or
/// everywhere, its role holds the action and is meant for the resource's type, and its conditions are true. A suspended
/// principal is denied everything. An unknown resource is a 404, an
/// unavailable database a 503: neither is a decision. Unknown members are ignored.
///
/// With `at` or `revision` the decision is that of the registry at that moment. It is recorded in the ledger as
/// `authorization.review`.
#[utoipa::path(
    post, path = "/api/v1/authorize", operation_id = "authorize", tag = "authorization",
    params(QuestionHeaders),
    request_body(content = AuthorizeRequest, example = json!({
        "user_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "action": "document:download",
        "resource_id": "01a20864-775e-7192-9677-77033a7b75da"
    })),
    responses(
        (status = 200, description = "The decision.", body = Authorized, headers((
        "EPR-Revision" = Revision, description = "The state of the registry that the answer rests on."
    ))),
        JsonBody, NotFound, OtherIncarnation
    )
)]
async fn authorize(State(app): State<Arc<App>>, caller: QuestionHeaders, JsonText(body): JsonText) -> HandlerResult {
    let (allowed, call) = check(&app, caller, body, "user_id").await?;
    Ok(at_revision(ok(&Authorized { authorized: allowed }), &call))
}

/// Check access, with the field names of newer callers
///
/// The same check as `/api/v1/authorize`: the request names the principal `principal_id`, the response has `allowed`.
#[utoipa::path(
    post, path = "/api/v1/permissions/check", operation_id = "checkPermission", tag = "authorization",
    params(QuestionHeaders),
    request_body(content = PermissionCheckRequest, example = json!({
        "principal_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "action": "document:download",
        "resource_id": "01a20864-775e-7192-9677-77033a7b75da"
    })),
    responses(
        (status = 200, description = "The decision.", body = Allowed, headers((
        "EPR-Revision" = Revision, description = "The state of the registry that the answer rests on."
    ))),
        JsonBody, NotFound, OtherIncarnation
    )
)]
async fn check_permission(
    State(app): State<Arc<App>>,
    caller: QuestionHeaders,
    JsonText(body): JsonText,
) -> HandlerResult {
    let (allowed, call) = check(&app, caller, body, "principal_id").await?;
    Ok(at_revision(ok(&Allowed { allowed }), &call))
}

async fn check(
    app: &App,
    QuestionHeaders(call): QuestionHeaders,
    body: Result<Bytes, Invalid>,
    principal_field: &'static str,
) -> Result<(bool, Call), ApiError> {
    let request = match body {
        Ok(text) => match CheckRequest::from_plain_text(&text, principal_field) {
            Some(request) => Ok(request),
            None => parse(text).await?.and_then(|body| CheckRequest::from_body(&body, principal_field)),
        },
        Err(invalid) => Err(invalid),
    };
    let (call, CheckRequest { question, context, moment }) = Invalid::both(call, request)?;
    Ok((app.epr.check_at(&call, &question, &context, moment).await?.allowed, call))
}
