//! `/api/v1/principals`

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::domain::assignment::{PrincipalType, default_principal_type};
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{
    Invalid, KeyedCreation, Moment, NewPrincipal, Principal, PrincipalFilter, PrincipalPatch, Revision,
};
use epr_core::history::RowKey;
use epr_core::store::RegistryList;
use utoipa::IntoParams;

use crate::App;
use crate::access::Rule;
use crate::http::extract::{
    CallHeaders, JsonBody, KeyHeader, Listing, PathId, Query, QuestionHeaders, Repeat, created_once,
};
use crate::http::listing::{self, ListSource};
use crate::http::past::{self, MomentParameters};
use crate::http::respond::{at_revision, ok};
use crate::openapi::responses::{InvalidRequest, NotFound, OtherIncarnation, PrincipalConflict};
use crate::openapi::{Route, route};
use crate::routes::HandlerResult;

pub(crate) fn routes() -> [Route; 5] {
    [
        route!(create, Rule::Requires(Scope::Write)),
        route!(list, Rule::Requires(Scope::Read)),
        route!(show, Rule::Requires(Scope::Read)),
        route!(update, Rule::Requires(Scope::Write)),
        route!(erase, Rule::RequiresBoth(Scope::Write, Scope::Erase)),
    ]
}

/// The other half of a principal's identity.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "only described; `type_of` reads it")]
struct TypeParameter {
    /// The type of the principal; `user` when absent.
    #[param(rename = "type", nullable = false, example = "user")]
    principal_type: Option<PrincipalType>,
}

/// The type in the query; `user` when absent.
fn type_of(query: &Query) -> Result<PrincipalType, Invalid> {
    let mut fields = Fields::new("query", &query.members);
    let principal_type = fields.given("type", fields::text).unwrap_or_else(default_principal_type);
    fields.finish(Some(principal_type))
}

/// Register a principal
///
/// Registration is optional: assignments and checks of principals that are not registered work without it. The pair of
/// `type` and `id` must be unique, as must the pair of `type` and `external_id`. An unknown member is an error.
#[utoipa::path(
    post, path = "/api/v1/principals", operation_id = "createPrincipal", tag = "principals",
    params(CallHeaders, KeyHeader),
    request_body(content = NewPrincipal, example = json!({
        "external_id": "auth0|5f7c8ec7c33c6c004bbafe82", "display_name": "Ada Lovelace",
        "attributes": {"clearance": 3}
    })),
    responses((status = 201, description = "The registered principal.", body = Principal, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), JsonBody, PrincipalConflict)
)]
async fn create(
    State(app): State<Arc<App>>,
    CallHeaders(call): CallHeaders,
    key: KeyHeader,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let request = match key.look_up(&app, KeyedCreation::Principal, call.as_ref(), body.as_ref()).await? {
        Repeat::Create(request) => request,
        Repeat::Respond(response) => return Ok(response),
    };
    // Under every EPR_UNKNOWN_MEMBERS: no caller of the older service knows this route, and a misspelt `status` would
    // register a principal that is not suspended.
    let (call, new) = key.and(Invalid::both(call, body.and_then(|body| NewPrincipal::from_body(&body))))?;
    let once = app.epr.create_principal_once(&call, request.as_ref(), new).await?;
    Ok(at_revision(created_once(once), &call))
}

/// Read a principal
///
/// A principal that was erased is returned with `erased_at` and without its personal fields.
#[utoipa::path(
    get, path = "/api/v1/principals/{id}", operation_id = "getPrincipal", tag = "principals",
    params(("id" = Uuid, Path, description = "The id of the principal.",
        example = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11"), TypeParameter, MomentParameters, QuestionHeaders),
    responses(
        (status = 200, description = "The principal.", body = Principal, headers((
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
    let asked = Invalid::both(Invalid::both(id, type_of(&query)), past::moment_of(&query));
    let (((id, principal_type), moment), call) = Invalid::both(asked, call)?;
    let key = RowKey::Principal(principal_type.as_str().to_owned(), id);
    past::row(&app, &call, (key, moment), app.epr.principal(&principal_type, id)).await
}

/// List principals
///
/// Newest first, with suspended and erased principals.
///
/// Without `limit` and `cursor` the response is the whole list, streamed, up to 64 MiB. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/principals", operation_id = "listPrincipals", tag = "principals",
    params(PrincipalFilter, Listing, MomentParameters, QuestionHeaders),
    responses(
        (status = 200, description = "Principals, newest first.", body = [Principal], headers((
        "EPR-Revision" = Revision,
        description = "The state of the registry that was asked for, with `at` or `revision`."
    ))), InvalidRequest, OtherIncarnation
    )
)]
async fn list(State(app): State<Arc<App>>, query: Query, QuestionHeaders(call): QuestionHeaders) -> HandlerResult {
    let mut fields = Fields::new("query", &query.members);
    let filter = PrincipalFilter::read(&mut fields);
    let moment = Moment::read(&mut fields);
    fields.only(&[PrincipalFilter::PARAMETERS, Listing::PARAMETERS, &Moment::MEMBERS].concat());
    let page = Listing::read_page_if_given(&mut fields);
    let ((filter, moment, page), call) = Invalid::both(fields.finish(Some((filter, moment, page))), call)?;
    if !moment.is_now() {
        return past::page(&app, &query, &call, (RegistryList::Principals(&filter), moment), page).await;
    }
    listing::respond(&app, &query, &call, filter, page).await
}

impl ListSource for PrincipalFilter {
    fn list(&self) -> RegistryList<'_> {
        RegistryList::Principals(self)
    }
}

/// Change, suspend or activate a principal
///
/// An absent field keeps its value. `status: "suspended"` denies the principal everything, with the reason
/// `principal_suspended`, until the status is `active` again; its assignments stay. A member that is unknown or cannot
/// be changed (`id`, `type`) is an error. The personal fields of an erased principal cannot be set again: 409.
#[utoipa::path(
    patch, path = "/api/v1/principals/{id}", operation_id = "updatePrincipal", tag = "principals",
    params(
        ("id" = Uuid, Path, description = "The id of the principal.",
            example = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11"),
        TypeParameter,
        CallHeaders
    ),
    request_body(content = PrincipalPatch, example = json!({"status": "suspended"})),
    responses(
        (status = 200, description = "The updated principal.", body = Principal, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), JsonBody, NotFound, PrincipalConflict
    )
)]
async fn update(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    query: Query,
    CallHeaders(call): CallHeaders,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let patch = body.and_then(|body| PrincipalPatch::from_body(&body));
    let identity = Invalid::both(id, type_of(&query));
    let (((id, principal_type), call), patch) = Invalid::both(Invalid::both(identity, call), patch)?;
    Ok(at_revision(ok(&app.epr.update_principal(&call, &principal_type, id, patch).await?), &call))
}

/// Erase a principal
///
/// Irreversible. The personal fields (`external_id`, `display_name`, `attributes`) are removed from the registry, the
/// key under which the ledger has them is destroyed, and all assignments are revoked, in one transaction. The id, the
/// type, the status and the ledger's entries stay. Erasing a principal again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/principals/{id}/erase", operation_id = "erasePrincipal", tag = "principals",
    params(
        ("id" = Uuid, Path, description = "The id of the principal.",
            example = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11"),
        TypeParameter,
        CallHeaders
    ),
    responses((status = 200, description = "The erased principal.", body = Principal, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), InvalidRequest, NotFound)
)]
async fn erase(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    query: Query,
    CallHeaders(call): CallHeaders,
) -> HandlerResult {
    let ((id, principal_type), call) = Invalid::both(Invalid::both(id, type_of(&query)), call)?;
    Ok(at_revision(ok(&app.epr.erase_principal(&call, &principal_type, id).await?), &call))
}
