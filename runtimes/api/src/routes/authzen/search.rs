//! `/access/v1/search/subject`, `/resource` and `/action`: searches for what an evaluation allows.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use epr_core::Call;
use epr_core::authn::Scope;
use epr_core::authzen::{SearchKind, SearchPage, SearchQuestion, SearchRequest};
use epr_core::decision::NamedType;
use epr_core::domain::{Invalid, Json, JsonObject, Revision};
use serde::Serialize;
use utoipa::ToSchema;

use super::evaluation::{ActionBody, EntityBody};
use super::in_a_sentence;
use crate::App;
use crate::access::Rule;
use crate::http::error::ApiError;
use crate::http::extract::{JsonBody, QuestionHeaders, StatedProperties};
use crate::http::respond::{at_revision, ok};
use crate::openapi::responses::{OtherIncarnation, RefusedBody};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 3] {
    [
        route!(search_subjects, Rule::Requires(Scope::List)),
        route!(search_resources, Rule::Requires(Scope::List)),
        route!(search_actions, Rule::Requires(Scope::List)),
    ]
}

/// The type of what is looked for. An id and properties are ignored.
#[derive(ToSchema)]
#[schema(as = AuthzenSoughtType)]
#[expect(dead_code, reason = "only described; `SearchRequest::from_body` reads it")]
pub(crate) struct SoughtBody {
    /// The type. Nothing of an unknown type is found.
    #[schema(rename = "type", value_type = NamedType, example = "user")]
    r#type: NamedType,
}

/// The page that is asked for.
#[derive(ToSchema)]
#[schema(as = AuthzenPageRequest)]
#[expect(dead_code, reason = "only described; `SearchRequest::from_body` reads it")]
pub(crate) struct PageBody {
    /// The most results of a page. 0 and values over 1000 mean 1000, as does no limit.
    #[schema(value_type = Option<usize>, required = false, minimum = 0, example = 100)]
    limit: Option<usize>,
    /// The `next_token` of the page before, beside the same request. A limit beside it must be that of the first page.
    #[schema(value_type = Option<String>, required = false, max_length = 4096, example = "")]
    token: Option<String>,
}

/// The question which subjects may perform an action on a resource.
#[derive(ToSchema)]
#[schema(as = AuthzenSubjectSearch)]
#[expect(dead_code, reason = "only described; `SearchRequest::from_body` reads it")]
pub(crate) struct SubjectSearchBody {
    /// The subjects that are looked for.
    subject: SoughtBody,
    /// The action that the subjects may perform.
    action: ActionBody,
    /// The resource on which they may perform it.
    resource: EntityBody,
    /// The data that conditions read under `context`, at most 64 KiB of JSON.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required = false)]
    #[schema(example = json!({"ip": "192.0.2.7"}))]
    context: JsonObject,
    /// The page.
    #[schema(value_type = Option<PageBody>, required = false)]
    page: PageBody,
}

/// The question on which resources a subject may perform an action.
#[derive(ToSchema)]
#[schema(as = AuthzenResourceSearch)]
#[expect(dead_code, reason = "only described; `SearchRequest::from_body` reads it")]
pub(crate) struct ResourceSearchBody {
    /// The subject, which asks for access.
    subject: EntityBody,
    /// The action that it asks for.
    action: ActionBody,
    /// The resources that are looked for.
    resource: SoughtBody,
    /// The data that conditions read under `context`, at most 64 KiB of JSON.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required = false)]
    #[schema(example = json!({"ip": "192.0.2.7"}))]
    context: JsonObject,
    /// The page.
    #[schema(value_type = Option<PageBody>, required = false)]
    page: PageBody,
}

/// The question which actions a subject may perform on a resource.
#[derive(ToSchema)]
#[schema(as = AuthzenActionSearch)]
#[expect(dead_code, reason = "only described; `SearchRequest::from_body` reads it")]
pub(crate) struct ActionSearchBody {
    /// The subject, which asks for access.
    subject: EntityBody,
    /// The resource on which the actions may be performed.
    resource: EntityBody,
    /// The data that conditions read under `context`, at most 64 KiB of JSON.
    #[schema(value_type = Option<BTreeMap<String, serde_json::Value>>, required = false)]
    #[schema(example = json!({"ip": "192.0.2.7"}))]
    context: JsonObject,
    /// The page.
    #[schema(value_type = Option<PageBody>, required = false)]
    page: PageBody,
}

/// A subject or a resource that was found.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenFoundEntity)]
pub(crate) struct FoundEntity {
    /// The type that was looked for.
    #[serde(rename = "type")]
    #[schema(example = "user")]
    found_type: String,
    /// The external id, or else the UUID.
    #[schema(example = "alice@example.com")]
    id: String,
}

/// An action that was found.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenFoundAction)]
pub(crate) struct FoundAction {
    /// The name.
    #[schema(example = "can_read")]
    name: String,
}

/// The page that is answered.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenPage)]
pub(crate) struct PageAnswer {
    /// The token of the next page; empty if this is the last one.
    #[schema(example = "")]
    next_token: String,
    /// The number of results of this page. A page that is not the last one may have fewer than the limit.
    count: usize,
}

/// Subjects or resources, in the byte order of their ids.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenFoundEntities)]
pub(crate) struct FoundEntities {
    /// The page.
    page: PageAnswer,
    /// The results.
    results: Vec<FoundEntity>,
}

/// Actions, in the byte order of their names.
#[derive(Serialize, ToSchema)]
#[schema(as = AuthzenFoundActions)]
pub(crate) struct FoundActions {
    /// The page.
    page: PageAnswer,
    /// The results.
    results: Vec<FoundAction>,
}

/// Search subjects (AuthZEN)
///
/// The registered principals of a type for which an evaluation of the action on the resource says `true`, each once,
/// page by page. The id of the subject, properties stated about it, and unknown members are ignored.
#[utoipa::path(
    post, path = "/access/v1/search/subject", operation_id = "searchSubjects", tag = "authzen",
    params(QuestionHeaders),
    request_body(content = SubjectSearchBody, example = json!({
        "subject": {"type": "user"}, "action": {"name": "can_read"}, "resource": {"type": "document", "id": "17"}
    })),
    responses((status = 200, description = "A page of subjects.", body = FoundEntities, headers((
        "EPR-Revision" = Revision, description = "The state of the registry that the answer rests on."
    ))), RefusedBody, OtherIncarnation)
)]
async fn search_subjects(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    StatedProperties(trusted): StatedProperties,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    search(&app, call, SearchKind::Subject, body, trusted).await
}

/// Search resources (AuthZEN)
///
/// The registered entities of a type, archived ones included, for which an evaluation of the subject and the action
/// says `true`, each once, page by page. The id of the resource, properties stated about it, and unknown members are
/// ignored.
#[utoipa::path(
    post, path = "/access/v1/search/resource", operation_id = "searchResources", tag = "authzen",
    params(QuestionHeaders),
    request_body(content = ResourceSearchBody, example = json!({
        "subject": {"type": "user", "id": "alice@example.com"}, "action": {"name": "can_read"},
        "resource": {"type": "document"}
    })),
    responses((status = 200, description = "A page of resources.", body = FoundEntities, headers((
        "EPR-Revision" = Revision, description = "The state of the registry that the answer rests on."
    ))), RefusedBody, OtherIncarnation)
)]
async fn search_resources(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    StatedProperties(trusted): StatedProperties,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    search(&app, call, SearchKind::Resource, body, trusted).await
}

/// Search actions (AuthZEN)
///
/// The actions for which an evaluation of the subject and the resource, without properties of the action, says `true`,
/// each once, page by page. An action in the request and unknown members are ignored.
#[utoipa::path(
    post, path = "/access/v1/search/action", operation_id = "searchActions", tag = "authzen",
    params(QuestionHeaders),
    request_body(content = ActionSearchBody, example = json!({
        "subject": {"type": "user", "id": "alice@example.com"}, "resource": {"type": "document", "id": "17"}
    })),
    responses((status = 200, description = "A page of actions.", body = FoundActions, headers((
        "EPR-Revision" = Revision, description = "The state of the registry that the answer rests on."
    ))), RefusedBody, OtherIncarnation)
)]
async fn search_actions(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    StatedProperties(trusted): StatedProperties,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    search(&app, call, SearchKind::Action, body, trusted).await
}

async fn search(
    app: &App,
    call: Result<Call, Invalid>,
    kind: SearchKind,
    body: Result<Json, Invalid>,
    trusted: bool,
) -> Result<Response, ApiError> {
    let request = body.and_then(|body| SearchRequest::from_body(kind, &body));
    let (call, request) = Invalid::both(call, request).map_err(in_a_sentence)?;
    let SearchPage { results, next } = app.epr.search(&call, &request, trusted).await.map_err(in_a_sentence)?;
    let page = PageAnswer { next_token: next.unwrap_or_default(), count: results.len() };
    let response = match &request.question {
        SearchQuestion::Subjects { subject_type: of_type, .. }
        | SearchQuestion::Resources { resource_type: of_type, .. } => {
            let found = |id| FoundEntity { found_type: of_type.as_str().to_owned(), id };
            ok(&FoundEntities { page, results: results.into_iter().map(found).collect() })
        }
        SearchQuestion::Actions { .. } => {
            ok(&FoundActions { page, results: results.into_iter().map(|name| FoundAction { name }).collect() })
        }
    };
    Ok(at_revision(response, &call))
}
