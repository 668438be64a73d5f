//! `/api/v1/explain`: why a check is answered as it is.

use std::sync::Arc;

use axum::extract::State;
use epr_core::ExplainRequest;
use epr_core::authn::Scope;
use epr_core::decision::{AskedAction, Explanation};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{Invalid, Revision};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::access::Rule;
use crate::http::extract::{JsonBody, QuestionHeaders};
use crate::http::respond::{at_revision, ok};
use crate::openapi::responses::{NotFound, OtherIncarnation};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 1] {
    [route!(explain, Rule::Requires(Scope::Explain))]
}

/// The question whether a principal may perform an action on an entity, and the time for which it is asked.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `ExplainRequest::from_body` reads it")]
pub(crate) struct ExplainBody {
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
    #[schema(required = false, example = "user")]
    principal_type: PrincipalType,
    /// What conditions can read under `context`, at most 64 KiB; empty if absent.
    #[schema(required = false, value_type = BTreeMap<String, serde_json::Value>, example = json!({"amount": 2500}))]
    context: (),
    /// A time: the registry as it was then, and windows and `now` compared with it. The present time if absent; at a
    /// later time the registry is the present one.
    #[schema(required = false, value_type = Option<String>, format = DateTime, example = "2026-11-01T12:00:00Z")]
    at: (),
    /// A state of the registry, from a header `EPR-Revision`: the registry as it was then. Windows and `now` are
    /// compared with `at`, or else with the time of that state.
    #[schema(required = false, value_type = Option<Revision>)]
    revision: (),
}

/// Explain a decision
///
/// The decision of a check with the same body, and everything that it rests on: the resource with its ancestors, the
/// principal, and every assignment of the principal that reaches the resource, with the tests that it passes and fails.
/// The explanation is never cached and is recorded in the ledger. Unknown members are ignored.
#[utoipa::path(
    post, path = "/api/v1/explain", operation_id = "explainDecision", tag = "authorization",
    params(QuestionHeaders),
    request_body(content = ExplainBody, example = json!({
        "user_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "action": "document:download",
        "resource_id": "01a20864-775e-7192-9677-77033a7b75da"
    })),
    responses(
        (status = 200, description = "The explanation.", body = Explanation, headers((
        "EPR-Revision" = Revision, description = "The state of the registry that the answer rests on."
    ))),
        JsonBody, NotFound, OtherIncarnation
    )
)]
async fn explain(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let request = body.and_then(|body| ExplainRequest::from_body(&body));
    let (call, ExplainRequest { question, context, moment }) = Invalid::both(call, request)?;
    Ok(at_revision(ok(&app.epr.explain(&call, &question, &context, moment).await?), &call))
}
