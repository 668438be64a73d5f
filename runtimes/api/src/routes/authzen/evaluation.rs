//! `/access/v1/evaluation` and `/access/v1/evaluations`: decisions.

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::authzen::{Evaluation, EvaluationsRequest, ItemAnswer, Semantic};
use epr_core::decision::{AskedAction, NamedType};
use epr_core::domain::{ExternalId, Invalid, Json, JsonObject, Revision};
use serde::Serialize;
use utoipa::ToSchema;

use super::in_a_sentence;
use crate::App;
use crate::access::Rule;
use crate::http::extract::{JsonBody, QuestionHeaders, StatedProperties};
use crate::http::respond::{at_revision, ok};
use crate::openapi::responses::{OtherIncarnation, RefusedBody};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 2] {
    [route!(evaluate, Rule::Requires(Scope::Authorize)), route!(evaluate_batch, Rule::Requires(Scope::Authorize))]
}

/// A subject or a resource.
#[derive(ToSchema)]
#[schema(as = AuthzenEntity)]
#[expect(dead_code, reason = "only described; `Evaluation::from_body` reads it")]
pub(crate) struct EntityBody {
    /// The type: of a subject the principal type, of a resource the entity type. An unknown type is denied, not
    /// rejected.
    #[schema(rename = "type", value_type = NamedType, example = "user")]
    r#type: NamedType,
    /// The id, unique within the type: the external id, or else the UUID as EPR writes it. Compared byte for byte.
    #[schema(example = "alice@example.com")]
    id: ExternalId,
    /// What the caller states about it, at most 64 KiB of JSON. Conditions read it only if the caller has the scope
    /// `epr:assert`, or callers are not authenticated.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required = false)]
    #[schema(example = json!({"department": "Sales"}))]
    properties: JsonObject,
}

/// An action.
#[derive(ToSchema)]
#[schema(as = AuthzenAction)]
#[expect(dead_code, reason = "only described; `Evaluation::from_body` reads it")]
pub(crate) struct ActionBody {
    /// The name. An action that no role holds is denied, not rejected.
    #[schema(example = "can_read")]
    name: AskedAction,
    /// What the caller states about it, with the rules of a subject's properties.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required = false)]
    #[schema(example = json!({"method": "GET"}))]
    properties: JsonObject,
}

/// The question whether a subject may perform an action on a resource.
#[derive(ToSchema)]
#[schema(as = AuthzenEvaluation)]
#[expect(dead_code, reason = "only described; `Evaluation::from_body` reads it")]
pub(crate) struct EvaluationBody {
    /// The subject, which asks for access.
    subject: EntityBody,
    /// The action that it asks for.
    action: ActionBody,
    /// The resource on which the action is to be performed.
    resource: EntityBody,
    /// The data that conditions read under `context`, at most 64 KiB of JSON.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required = false)]
    #[schema(example = json!({"ip": "192.0.2.7"}))]
    context: JsonObject,
}

/// Which items of a batch are evaluated.
#[derive(ToSchema)]
#[schema(as = AuthzenOptions)]
#[expect(dead_code, reason = "only described; `EvaluationsRequest::from_body` reads it")]
pub(crate) struct OptionsBody {
    /// `execute_all` (the default), `deny_on_first_deny` or `permit_on_first_permit`. The last two end the response
    /// with the item that decides.
    #[schema(value_type = Semantic, required = false, example = "execute_all")]
    evaluations_semantic: Semantic,
}

/// Several questions, with defaults. Without `evaluations`, one question.
#[derive(ToSchema)]
#[schema(as = AuthzenEvaluations)]
#[expect(dead_code, reason = "only described; `EvaluationsRequest::from_body` reads it")]
pub(crate) struct EvaluationsBody {
    /// The subject of items without one: an object as in a single evaluation. A default that is not valid fails the
    /// items that inherit it.
    #[schema(value_type = serde_json::Value, required = false)]
    #[schema(example = json!({"type": "user", "id": "alice@example.com"}))]
    subject: Json,
    /// The action of items without one.
    #[schema(value_type = serde_json::Value, required = false, example = json!({"name": "can_read"}))]
    action: Json,
    /// The resource of items without one.
    #[schema(value_type = serde_json::Value, required = false, example = json!({"type": "document", "id": "17"}))]
    resource: Json,
    /// The context of items without one.
    #[schema(value_type = serde_json::Value, required = false, example = json!({"ip": "192.0.2.7"}))]
    context: Json,
    /// The items, at most 1000: objects as in a single evaluation. Each member of an item replaces the default whole;
    /// an incomplete one takes the missing `type`, `id` or `name` from the default, never its properties. An item
    /// that is not valid fails alone.
    #[schema(value_type = Vec<serde_json::Value>, required = false, max_items = 1000)]
    #[schema(example = json!([{"resource": {"type": "document", "id": "17"}}]))]
    evaluations: Json,
    /// Which items are evaluated.
    #[schema(value_type = OptionsBody, required = false)]
    options: Json,
}

/// A decision.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenDecision)]
pub(crate) struct DecisionBody {
    /// Whether the subject may perform the action on the resource.
    decision: bool,
    /// The reason why there is no decision about an item of a batch; else absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    context: Option<Failure>,
}

/// The reason why there is no decision about an item.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenFailure)]
pub(crate) struct Failure {
    /// The error.
    error: FailureDetail,
}

/// An error of one item.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenFailureDetail)]
pub(crate) struct FailureDetail {
    /// The status that a single evaluation would have.
    #[schema(example = 400)]
    status: u16,
    /// What is wrong, a sentence.
    #[schema(example = "resource: Field required, in the item or as a default")]
    message: String,
}

/// The decisions of a batch.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenDecisions)]
pub(crate) struct DecisionsBody {
    /// One decision for each item, in the order of the items, up to the item that ends the batch.
    evaluations: Vec<DecisionBody>,
}

/// Either form of the response.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = AuthzenDecisionOrDecisions)]
pub(crate) enum AnswerBody {
    /// The response without items.
    One(DecisionBody),
    /// The response with items.
    Batch(DecisionsBody),
}

impl DecisionBody {
    fn of(decision: bool) -> Self {
        Self { decision, context: None }
    }
}

impl From<ItemAnswer> for DecisionBody {
    fn from(answer: ItemAnswer) -> Self {
        match answer {
            ItemAnswer::Decided(decision) => Self::of(decision),
            ItemAnswer::Failed(message) => {
                let error = FailureDetail { status: 400, message };
                Self { decision: false, context: Some(Failure { error }) }
            }
        }
    }
}

/// Evaluate an access request (AuthZEN)
///
/// The same decision as `/api/v1/authorize`, with the names of another system: the subject is the registered principal
/// with this type and external id, else the principal with this UUID; the resource is the entity with this type and
/// external id, else the entity with this type and UUID. A resource that is not registered is reached by global
/// assignments whose scope types are empty or include its type. Unknown names are denied. Unknown members are ignored.
#[utoipa::path(
    post, path = "/access/v1/evaluation", operation_id = "evaluateAccess", tag = "authzen",
    params(QuestionHeaders),
    request_body(content = EvaluationBody, example = json!({
        "subject": {"type": "user", "id": "alice@example.com"}, "action": {"name": "can_read"},
        "resource": {"type": "document", "id": "17"}
    })),
    responses((status = 200, description = "The decision.", body = DecisionBody, headers((
        "EPR-Revision" = Revision, description = "The state of the registry that the answer rests on."
    ))), RefusedBody, OtherIncarnation)
)]
async fn evaluate(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    StatedProperties(trusted): StatedProperties,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let evaluation = body.and_then(|body| Evaluation::from_body(&body));
    let (call, evaluation) = Invalid::both(call, evaluation).map_err(in_a_sentence)?;
    let decision = app.epr.evaluate(&call, &evaluation, trusted).await.map_err(in_a_sentence)?;
    Ok(at_revision(ok(&DecisionBody::of(decision)), &call))
}

/// Evaluate several access requests (AuthZEN)
///
/// One decision for each item. An item that is not valid fails alone: its decision is `false`, and its context has the
/// error. Without `evaluations`, or with an empty list, the request and the response are those of
/// `/access/v1/evaluation`.
#[utoipa::path(
    post, path = "/access/v1/evaluations", operation_id = "evaluateAccessBatch", tag = "authzen",
    params(QuestionHeaders),
    request_body(content = EvaluationsBody, example = json!({
        "subject": {"type": "user", "id": "alice@example.com"}, "action": {"name": "can_read"},
        "evaluations": [{"resource": {"type": "document", "id": "17"}}, {"resource": {"type": "document", "id": "18"}}]
    })),
    responses((status = 200, description = "The decisions.", body = AnswerBody, headers((
        "EPR-Revision" = Revision, description = "The state of the registry that the answer rests on."
    ))), RefusedBody, OtherIncarnation)
)]
async fn evaluate_batch(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    StatedProperties(trusted): StatedProperties,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let request = body.and_then(|body| EvaluationsRequest::from_body(&body));
    let (call, request) = Invalid::both(call, request).map_err(in_a_sentence)?;
    let answer = match request {
        EvaluationsRequest::Single(evaluation) => {
            let decision = app.epr.evaluate(&call, &evaluation, trusted).await.map_err(in_a_sentence)?;
            AnswerBody::One(DecisionBody::of(decision))
        }
        EvaluationsRequest::Batch(batch) => {
            let answers = app.epr.evaluate_batch(&call, &batch, trusted).await.map_err(in_a_sentence)?;
            AnswerBody::Batch(DecisionsBody { evaluations: answers.into_iter().map(DecisionBody::from).collect() })
        }
    };
    Ok(at_revision(ok(&answer), &call))
}
