//! `/api/v1/roles`

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::decision::condition;
use epr_core::domain::fields::Fields;
use epr_core::domain::{Invalid, KeyedCreation, Moment, NewRole, Revision, Role, RolePatch};
use epr_core::history::RowKey;
use epr_core::store::RegistryList;

use crate::App;
use crate::access::Rule;
use crate::http::extract::{
    CallHeaders, JsonBody, KeyHeader, Listing, PathId, Query, QuestionHeaders, Repeat, created_once, unknown_members,
};
use crate::http::listing::{self, ListSource};
use crate::http::past::{self, MomentParameters};
use crate::http::respond::{at_revision, ok};
use crate::openapi::responses::{InvalidRequest, NameConflict, NotFound, OtherIncarnation};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 4] {
    [
        route!(create, Rule::Requires(Scope::Write)),
        route!(list, Rule::Requires(Scope::Read)),
        route!(show, Rule::Requires(Scope::Read)),
        route!(update, Rule::Requires(Scope::Write)),
    ]
}

/// Create a role
///
/// Actions that no role has had before are created with it. An unknown member is an error.
#[utoipa::path(
    post, path = "/api/v1/roles", operation_id = "createRole", tag = "roles",
    params(CallHeaders, KeyHeader),
    request_body(content = NewRole, example = json!({
        "name": "Document reader", "scope_types": ["spv"], "permissions": ["document:download"]
    })),
    responses((status = 201, description = "The created role.", body = Role, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), JsonBody, NameConflict)
)]
async fn create(
    State(app): State<Arc<App>>,
    CallHeaders(call): CallHeaders,
    key: KeyHeader,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let repeat = key.look_up(&app, KeyedCreation::Role, call.as_ref(), body.as_ref()).await?;
    let (body, ignored) = unknown_members::split(&app, body, NewRole::MEMBERS);
    let request = match repeat {
        Repeat::Create(request) => request,
        Repeat::Respond(response) => return Ok(ignored.name_in(response)),
    };
    let new = body.and_then(|body| NewRole::from_request(&body, app.epr.entity_types(), condition::check));
    let (call, new) = key.and(Invalid::both(call, new))?;
    let once = app.epr.create_role_once(&call, request.as_ref(), new).await?;
    Ok(at_revision(ignored.name_in(created_once(once)), &call))
}

/// Read a role
#[utoipa::path(
    get, path = "/api/v1/roles/{id}", operation_id = "getRole", tag = "roles",
    params(
        ("id" = Uuid, Path, description = "The id of the role.", example = "01a20864-776d-7072-9b13-e0c12a727e9e"),
        MomentParameters, QuestionHeaders
    ),
    responses((status = 200, description = "The role.", body = Role, headers((
        "EPR-Revision" = Revision,
        description = "The state of the registry that was asked for, with `at` or `revision`."
    ))), InvalidRequest, NotFound, OtherIncarnation)
)]
async fn show(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    query: Query,
    QuestionHeaders(call): QuestionHeaders,
) -> HandlerResult {
    let ((id, moment), call) = Invalid::both(Invalid::both(id, past::moment_of(&query)), call)?;
    past::row(&app, &call, (RowKey::Role(id), moment), app.epr.role(id)).await
}

/// List roles
///
/// Newest first.
///
/// Without `limit` and `cursor` the response is the whole list, streamed, up to 64 MiB. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/roles", operation_id = "listRoles", tag = "roles",
    params(Listing, MomentParameters, QuestionHeaders),
    responses((status = 200, description = "Roles, newest first.", body = [Role], headers((
        "EPR-Revision" = Revision,
        description = "The state of the registry that was asked for, with `at` or `revision`."
    ))), InvalidRequest, OtherIncarnation)
)]
async fn list(State(app): State<Arc<App>>, query: Query, QuestionHeaders(call): QuestionHeaders) -> HandlerResult {
    let mut fields = Fields::new("query", &query.members);
    let moment = Moment::read(&mut fields);
    fields.only(&[Listing::PARAMETERS, &Moment::MEMBERS].concat());
    let page = Listing::read_page_if_given(&mut fields);
    let ((moment, page), call) = Invalid::both(fields.finish(Some((moment, page))), call)?;
    if !moment.is_now() {
        return past::page(&app, &query, &call, (RegistryList::Roles, moment), page).await;
    }
    listing::respond(&app, &query, &call, AllRoles, page).await
}

struct AllRoles;

impl ListSource for AllRoles {
    fn list(&self) -> RegistryList<'_> {
        RegistryList::Roles
    }
}

/// Update a role
///
/// An absent field keeps its value; a list replaces the previous list. Unknown members are ignored.
#[utoipa::path(
    patch, path = "/api/v1/roles/{id}", operation_id = "updateRole", tag = "roles",
    params(
        ("id" = Uuid, Path, description = "The id of the role.", example = "01a20864-776d-7072-9b13-e0c12a727e9e"),
        CallHeaders
    ),
    request_body(content = RolePatch, example = json!({"permissions": ["document:download", "document:verify"]})),
    responses((status = 200, description = "The updated role.", body = Role, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), JsonBody, NotFound)
)]
async fn update(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    CallHeaders(call): CallHeaders,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let patch = body.and_then(|body| RolePatch::from_body(&body, app.epr.entity_types(), condition::check));
    let ((id, call), patch) = Invalid::both(Invalid::both(id, call), patch)?;
    Ok(at_revision(ok(&app.epr.update_role(&call, id, patch).await?), &call))
}
