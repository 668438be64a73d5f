//! `/api/v1/access`: lists of who may do what.

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::domain::access::{
    AccessItem, AccessPage, ActionsRequest, Include, ListForm, ListedAction, PrincipalsRequest, ResourcesRequest,
};
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::subtree::SubtreeItem;
use epr_core::domain::{EntityType, Invalid, Revision};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::access::Rule;
use crate::http::extract::{JsonBody, QuestionHeaders};
use crate::http::respond::{at_revision, ok};
use crate::openapi::responses::{NotFound, OutdatedList};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 3] {
    [
        route!(principals, Rule::Requires(Scope::List)),
        route!(resources, Rule::Requires(Scope::List)),
        route!(actions, Rule::Requires(Scope::List)),
    ]
}

/// The members that every list of access takes beside its question.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; the requests of `domain::access` read it")]
pub(crate) struct ListMembers {
    /// What conditions can read under `context`, at most 64 KiB; empty if absent.
    #[schema(required = false, value_type = BTreeMap<String, serde_json::Value>, example = json!({"amount": 2500}))]
    context: (),
    /// The largest number of items in the page; of subtrees, of roots and exclusions. A page can have fewer although
    /// the list continues.
    #[schema(required = false, minimum = 1, maximum = 1000, default = 100)]
    limit: u32,
    /// The token of the page: `next` of the page before. The other members must be those of the first page's request.
    #[schema(required = false, value_type = Option<String>, max_length = 4096)]
    next: (),
    /// A time: the registry as it was then, and windows and `now` compared with it. The present time if absent; at a
    /// later time the registry is the present one.
    #[schema(required = false, value_type = Option<String>, format = DateTime, example = "2026-11-01T12:00:00Z")]
    at: (),
    /// A state of the registry, from a header `EPR-Revision`: the registry as it was then. Windows and `now` are
    /// compared with `at`, or else with the time of that state.
    #[schema(required = false, value_type = Option<Revision>)]
    revision: (),
    /// `false` leaves out `via`, the assignment by which an item is allowed.
    #[schema(required = false, default = true)]
    explain: bool,
    /// Items that are left out otherwise: those that only a missing value keeps from being allowed, and archived
    /// entities.
    #[schema(required = false, example = json!(["conditional"]))]
    include: Vec<Include>,
}

/// The question which principals may perform an action on an entity.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `PrincipalsRequest::from_body` reads it")]
pub(crate) struct ListPrincipalsBody {
    /// The action, for example `document:download`. An action that no role holds has an empty list.
    #[schema(example = "document:download")]
    action: ListedAction,
    /// The resource: the id of an entity.
    #[schema(example = "01a20864-775e-7192-9677-77033a7b75da")]
    resource_id: Uuid,
    /// Only principals of this type; of every type if absent.
    #[schema(required = false, example = "user")]
    principal_type: Option<PrincipalType>,
    #[serde(flatten)]
    list: ListMembers,
}

/// The question on which entities a principal may perform an action.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `ResourcesRequest::from_body` reads it")]
pub(crate) struct ListResourcesBody {
    /// The principal.
    #[schema(example = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11")]
    principal_id: Uuid,
    /// The principal's type; `user` if absent.
    #[schema(required = false, example = "user")]
    principal_type: PrincipalType,
    /// The action, for example `document:download`.
    #[schema(example = "document:download")]
    action: ListedAction,
    /// Only entities of this type; of every type if absent.
    #[schema(required = false)]
    resource_type: Option<EntityType>,
    /// Only entities below this one; everywhere if absent.
    #[schema(required = false, example = "01a20864-775e-7192-9677-77033a7b75da")]
    within: Option<Uuid>,
    /// The form of the answer; `items` if absent.
    #[schema(required = false)]
    form: ListForm,
    #[serde(flatten)]
    list: ListMembers,
}

/// A page of resources, or of subtrees if `form` says so.
#[derive(ToSchema)]
#[serde(untagged)]
#[expect(dead_code, reason = "only described; the handler answers one of them")]
pub(crate) enum ResourcesPage {
    /// One item for each resource.
    Items(AccessPage<AccessItem>),
    /// One item for each subtree, in the order in which the assignments were created. An item covers its root and
    /// everything below it, as far as its `types` and `exclusions` say.
    Subtrees(AccessPage<SubtreeItem>),
}

/// The question which actions a principal may perform on an entity.
#[derive(ToSchema)]
#[expect(dead_code, reason = "only described; `ActionsRequest::from_body` reads it")]
pub(crate) struct ListActionsBody {
    /// The principal.
    #[schema(example = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11")]
    principal_id: Uuid,
    /// The principal's type; `user` if absent.
    #[schema(required = false, example = "user")]
    principal_type: PrincipalType,
    /// The resource: the id of an entity.
    #[schema(example = "01a20864-775e-7192-9677-77033a7b75da")]
    resource_id: Uuid,
    #[serde(flatten)]
    list: ListMembers,
}

/// List the principals that may perform an action on a resource
///
/// Exactly the principals for which a check with the same action, resource and context says yes, ordered by id. The
/// list comes in pages: while `complete` is false, `next` in the same request asks for the next page. All pages rest on
/// the registry and the time of the first one, whatever changes meanwhile. With `at` or `revision` the list is that of
/// the registry at that moment, and is recorded as `authorization.review`. Each page is recorded in the ledger. Unknown
/// members are ignored.
#[utoipa::path(
    post, path = "/api/v1/access/principals", operation_id = "listPrincipalsWithAccess", tag = "authorization",
    params(QuestionHeaders),
    request_body(content = ListPrincipalsBody, example = json!({
        "action": "document:download", "resource_id": "01a20864-775e-7192-9677-77033a7b75da"
    })),
    responses(
        (status = 200, description = "A page of the list.", body = AccessPage<AccessItem>, headers((
            "EPR-Revision" = Revision, description = "The state of the registry that the list rests on."
        ))),
        JsonBody, NotFound, OutdatedList
    )
)]
async fn principals(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let request = body.and_then(|body| PrincipalsRequest::from_body(&body));
    let (call, request) = Invalid::both(call, request)?;
    Ok(at_revision(ok(&app.epr.list_principals(&call, &request).await?), &call))
}

/// List the resources on which a principal may perform an action
///
/// Exactly the entities for which a check with the same principal, action and context says yes, ordered by id; archived
/// entities are left out unless `include` asks for them. The pages are those of `/access/principals`.
#[utoipa::path(
    post, path = "/api/v1/access/resources", operation_id = "listResourcesWithAccess", tag = "authorization",
    params(QuestionHeaders),
    request_body(content = ListResourcesBody, example = json!({
        "principal_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "action": "document:download"
    })),
    responses(
        (status = 200, description = "A page of the list.", body = ResourcesPage, headers((
            "EPR-Revision" = Revision, description = "The state of the registry that the list rests on."
        ))),
        JsonBody, NotFound, OutdatedList
    )
)]
async fn resources(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let request = body.and_then(|body| ResourcesRequest::from_body(&body, app.epr.entity_types()));
    let (call, request) = Invalid::both(call, request)?;
    let page = match request.form {
        ListForm::Items => ok(&app.epr.list_resources(&call, &request).await?),
        ListForm::Subtrees => ok(&app.epr.list_subtrees(&call, &request).await?),
    };
    Ok(at_revision(page, &call))
}

/// List the actions that a principal may perform on a resource
///
/// Exactly the actions for which a check with the same principal, resource and context says yes, ordered by their
/// bytes. The pages are those of `/access/principals`.
#[utoipa::path(
    post, path = "/api/v1/access/actions", operation_id = "listActionsWithAccess", tag = "authorization",
    params(QuestionHeaders),
    request_body(content = ListActionsBody, example = json!({
        "principal_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11", "resource_id": "01a20864-775e-7192-9677-77033a7b75da"
    })),
    responses(
        (status = 200, description = "A page of the list.", body = AccessPage<AccessItem>, headers((
            "EPR-Revision" = Revision, description = "The state of the registry that the list rests on."
        ))),
        JsonBody, NotFound, OutdatedList
    )
)]
async fn actions(
    State(app): State<Arc<App>>,
    QuestionHeaders(call): QuestionHeaders,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let request = body.and_then(|body| ActionsRequest::from_body(&body));
    let (call, request) = Invalid::both(call, request)?;
    Ok(at_revision(ok(&app.epr.list_actions(&call, &request).await?), &call))
}
