//! `/api/v1/authorize/batch`: many checks in one call.

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::decision::{AskedAction, Decision};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{FieldError, Invalid, JsonObject, Revision};
use epr_core::{CheckBatch, Error};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::access::Rule;
use crate::http::error::status_of;
use crate::http::extract::{JsonBody, QuestionHeaders};
use crate::http::respond::{at_revision, ok};
use crate::openapi::responses::OtherIncarnation;
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 1] {
    [route!(authorize_batch, Rule::Requires(Scope::Authorize))]
}

/// One check of a batch: the question whether a principal may perform an action on an entity.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `CheckBatch::from_body` reads it")]
pub(crate) struct BatchCheck {
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
    /// The data that conditions read under `context`, at most 64 KiB of JSON; none if absent or `null`.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required = false)]
    #[schema(example = json!({"amount": 9000}))]
    context: JsonObject,
}

/// Several checks.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `CheckBatch::from_body` reads it")]
pub(crate) struct CheckBatchRequest {
    /// The checks, each with the members of `/api/v1/authorize` except for `at` and `revision`: a batch is about the
    /// present, and these members are a 400. Principals, actions and resources may differ. One that is not valid makes
    /// the whole call a 400 that names its index.
    #[schema(min_items = 1, max_items = 1000)]
    checks: Vec<BatchCheck>,
}

/// The decision of one check.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchDecision {
    /// Whether the principal may perform the action on the resource. `false` if there is no decision.
    authorized: bool,
    /// The reason why there is no decision; absent if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<CheckError>,
}

/// The reason why there is no decision of one check.
#[derive(Serialize, ToSchema)]
pub(crate) struct CheckError {
    /// The status that the check alone would have: 404 if its resource is unknown, 400 if a condition declares a member
    /// of its context with another type.
    #[schema(example = 404)]
    status: u16,
    /// The `detail` that the check alone would have.
    detail: CheckErrorDetail,
}

/// A sentence, or the fields that are wrong.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum CheckErrorDetail {
    /// What is wrong.
    #[schema(example = "Entity 01a20864-7750-7688-ae30-e4554a6f9d96 not found")]
    Sentence(String),
    /// Every field that is wrong, with its location in the request.
    Fields(Vec<FieldError>),
}

/// The decisions of a batch.
#[derive(Serialize, ToSchema)]
pub(crate) struct BatchDecisions {
    /// One decision for each check, in the order of the checks.
    decisions: Vec<BatchDecision>,
}

impl From<Result<Decision, Error>> for BatchDecision {
    fn from(answer: Result<Decision, Error>) -> Self {
        let error = match answer {
            Ok(decision) => return Self { authorized: decision.allowed, error: None },
            Err(error) => error,
        };
        let status = status_of(&error).as_u16();
        let detail = match error {
            Error::Invalid(Invalid(fields)) => CheckErrorDetail::Fields(fields),
            other => CheckErrorDetail::Sentence(other.to_string()),
        };
        Self { authorized: false, error: Some(CheckError { status, detail }) }
    }
}

/// Check access many times
///
/// Up to 1000 checks, of any principals, in one call. The answers are in the order of the checks, and each is that of
/// `/api/v1/authorize`. All facts are read at once, and the decisions that the settings ask to record are recorded
/// together, one entry each. A check whose resource is unknown has no decision, and its error does not affect the
/// others. An unavailable database is a 503 for the whole call.
#[utoipa::path(
    post, path = "/api/v1/authorize/batch", operation_id = "authorizeBatch", tag = "authorization",
    params(QuestionHeaders),
    request_body(content = CheckBatchRequest, example = json!({"checks": [
        {"user_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "action": "document:download",
         "resource_id": "01a20864-775e-7192-9677-77033a7b75da"},
        {"user_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "action": "payment:approve",
         "resource_id": "01a20864-775e-7192-9677-77033a7b75da", "context": {"amount": 9000}}
    ]})),
    responses(
        (status = 200, description = "The decisions.", body = BatchDecisions, headers((
        "EPR-Revision" = Revision, description = "The oldest state of the registry that the answers rest on."
    ))),
        JsonBody, OtherIncarnation
    )
)]
async fn authorize_batch(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let batch = body.and_then(|body| CheckBatch::from_body(&body));
    let (call, CheckBatch(checks)) = Invalid::both(call, batch)?;
    let answers = app.epr.check_batch(&call, &checks).await?;
    let decisions = answers.into_iter().map(BatchDecision::from).collect();
    Ok(at_revision(ok(&BatchDecisions { decisions }), &call))
}
