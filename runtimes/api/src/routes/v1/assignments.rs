//! `/api/v1/assignments`

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::decision::condition;
use epr_core::domain::fields::Fields;
use epr_core::domain::{
    Assignment, AssignmentFilter, AssignmentRequest, Invalid, Json, KeyedCreation, Moment, NewAssignment, Revision,
};
use epr_core::history::RowKey;
use epr_core::store::RegistryList;
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::access::Rule;
use crate::http::extract::{
    CallHeaders, JsonBody, KeyHeader, Listing, PathId, Query, QuestionHeaders, Repeat, created_once, unknown_members,
};
use crate::http::listing::{self, ListSource};
use crate::http::past::{self, MomentParameters};
use crate::http::respond::{at_revision, ok};
use crate::openapi::responses::{ErasedPrincipal, InvalidRequest, NotFound, OtherIncarnation};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 4] {
    [
        route!(create, Rule::Requires(Scope::Write)),
        route!(list, Rule::Requires(Scope::Read)),
        route!(show, Rule::Requires(Scope::Read)),
        route!(revoke, Rule::Requires(Scope::Write)),
    ]
}

/// Assign a role
///
/// The role applies to the entity and its subtree, or everywhere without an entity. If the principal, its type, the
/// role and the entity equal those of an existing assignment, that assignment is returned unchanged. An unknown member
/// is an error.
///
/// `principal_external_id` in place of `principal_id` names the principal that another system knows under this id. One
/// that is unknown is registered, with the given `principal_type`, in the same transaction.
#[utoipa::path(
    post, path = "/api/v1/assignments", operation_id = "createAssignment", tag = "assignments",
    params(CallHeaders, KeyHeader),
    request_body(content = AssignmentRequest, example = json!({
        "principal_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11",
        "role_id": "01a20864-776d-7072-9b13-e0c12a727e9e",
        "entity_id": "01a20864-7750-7688-ae30-e4554a6f9d96",
        "expires_at": "2027-01-01T00:00:00Z"
    })),
    responses((status = 201, description = "The assignment.", body = Assignment, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), JsonBody, NotFound, ErasedPrincipal)
)]
async fn create(
    State(app): State<Arc<App>>,
    CallHeaders(call): CallHeaders,
    key: KeyHeader,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let repeat = key.look_up(&app, KeyedCreation::Assignment, call.as_ref(), body.as_ref()).await?;
    let (body, ignored) = unknown_members::split(&app, body, &AssignmentRequest::members());
    let request = match repeat {
        Repeat::Create(request) => request,
        Repeat::Respond(response) => return Ok(ignored.name_in(response)),
    };
    let read = |body: &Json| NewAssignment::from_body(body, app.epr.now(), condition::check);
    let new = body.and_then(|body| AssignmentRequest::from_body(&body, read));
    let call = call.and_then(|call| app.epr.check_reason(&call).map(|()| call));
    let (call, new) = key.and(Invalid::both(call, new))?;
    let once = app.epr.assign_once(&call, request.as_ref(), new).await?;
    Ok(at_revision(ignored.name_in(created_once(once)), &call))
}

/// Read an assignment
///
/// In force or not. A revoked assignment is deleted: the ledger has its history.
#[utoipa::path(
    get, path = "/api/v1/assignments/{id}", operation_id = "getAssignment", tag = "assignments",
    params(("id" = Uuid, Path, description = "The id of the assignment.",
        example = "01a20864-77a1-70f4-8d9e-2f6a3c1b5e07"), MomentParameters, QuestionHeaders),
    responses(
        (status = 200, description = "The assignment.", body = Assignment, headers((
        "EPR-Revision" = Revision,
        description = "The state of the registry that was asked for, with `at` or `revision`."
    ))), InvalidRequest, NotFound, OtherIncarnation
    )
)]
async fn show(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    query: Query,
    QuestionHeaders(call): QuestionHeaders,
) -> HandlerResult {
    let ((id, moment), call) = Invalid::both(Invalid::both(id, past::moment_of(&query)), call)?;
    past::row(&app, &call, (RowKey::Assignment(id), moment), app.epr.assignment(id)).await
}

/// List assignments
///
/// Newest first, without `in_force` including those that have not begun or have ended. The filters combine.
///
/// Without `limit` and `cursor` the response is the whole list, streamed, up to 64 MiB. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/assignments", operation_id = "listAssignments", tag = "assignments",
    params(AssignmentFilter, Listing, MomentParameters, QuestionHeaders),
    responses(
        (status = 200, description = "Assignments, newest first.", body = [Assignment], headers((
        "EPR-Revision" = Revision,
        description = "The state of the registry that was asked for, with `at` or `revision`."
    ))),
        InvalidRequest, OtherIncarnation
    )
)]
async fn list(State(app): State<Arc<App>>, query: Query, QuestionHeaders(call): QuestionHeaders) -> HandlerResult {
    let mut fields = Fields::new("query", &query.members);
    let filter = AssignmentFilter::read(&mut fields);
    let moment = Moment::read(&mut fields);
    fields.only(&[AssignmentFilter::PARAMETERS, Listing::PARAMETERS, &Moment::MEMBERS].concat());
    let page = Listing::read_page_if_given(&mut fields);
    let ((filter, moment, page), call) = Invalid::both(fields.finish(Some((filter, moment, page))), call)?;
    if !moment.is_now() {
        return past::page(&app, &query, &call, (RegistryList::Assignments(&filter), moment), page).await;
    }
    listing::respond(&app, &query, &call, filter, page).await
}

impl ListSource for AssignmentFilter {
    fn list(&self) -> RegistryList<'_> {
        RegistryList::Assignments(self)
    }
}

/// The confirmation of a revocation.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revoked {
    /// Always `revoked`.
    #[schema(value_type = String, example = "revoked")]
    status: &'static str,
    /// The id of the revoked assignment.
    #[schema(example = "01a20864-77a1-70f4-8d9e-2f6a3c1b5e07")]
    assignment_id: Uuid,
}

/// Revoke an assignment
///
/// The assignment is deleted; the ledger keeps its history.
#[utoipa::path(
    delete, path = "/api/v1/assignments/{id}", operation_id = "revokeAssignment", tag = "assignments",
    params(
        ("id" = Uuid, Path, description = "The id of the assignment.",
            example = "01a20864-77a1-70f4-8d9e-2f6a3c1b5e07"),
        CallHeaders
    ),
    responses((status = 200, description = "The assignment is revoked.", body = Revoked, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), InvalidRequest, NotFound)
)]
async fn revoke(State(app): State<Arc<App>>, PathId(id): PathId, CallHeaders(call): CallHeaders) -> HandlerResult {
    let (id, call) = Invalid::both(id, call)?;
    let revoked = app.epr.revoke(&call, id).await?;
    Ok(at_revision(ok(&Revoked { status: "revoked", assignment_id: revoked.id }), &call))
}
