//! `/api/v1/entities`

use std::sync::Arc;

use axum::extract::State;
use epr_core::authn::Scope;
use epr_core::domain::fields::Fields;
use epr_core::domain::{Entity, EntityFilter, EntityPatch, Invalid, KeyedCreation, Moment, NewEntity, Revision};
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

pub(crate) fn routes() -> [Route; 5] {
    [
        route!(create, Rule::Requires(Scope::Write)),
        route!(list, Rule::Requires(Scope::Read)),
        route!(show, Rule::Requires(Scope::Read)),
        route!(update, Rule::Requires(Scope::Write)),
        route!(archive, Rule::Requires(Scope::Write)),
    ]
}

/// Create an entity
///
/// The pair of `name` and `type` must be unique. An unknown member is an error.
#[utoipa::path(
    post, path = "/api/v1/entities", operation_id = "createEntity", tag = "entities",
    params(CallHeaders, KeyHeader),
    request_body(content = NewEntity, example = json!({
        "name": "Berlin One", "type": "spv", "attributes": {"isin": "DE000A1EWWW0"}
    })),
    responses((status = 201, description = "The created entity.", body = Entity, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), JsonBody, NameConflict)
)]
async fn create(
    State(app): State<Arc<App>>,
    CallHeaders(call): CallHeaders,
    key: KeyHeader,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let repeat = key.look_up(&app, KeyedCreation::Entity, call.as_ref(), body.as_ref()).await?;
    let (body, ignored) = unknown_members::split(&app, body, NewEntity::MEMBERS);
    let request = match repeat {
        Repeat::Create(request) => request,
        Repeat::Respond(response) => return Ok(ignored.name_in(response)),
    };
    let new = body.and_then(|body| NewEntity::from_body(&body, app.epr.entity_types()));
    let (call, new) = key.and(Invalid::both(call, new))?;
    let once = app.epr.create_entity_once(&call, request.as_ref(), new).await?;
    Ok(at_revision(ignored.name_in(created_once(once)), &call))
}

/// Read an entity
///
/// Archived entities are returned too.
#[utoipa::path(
    get, path = "/api/v1/entities/{id}", operation_id = "getEntity", tag = "entities",
    params(("id" = Uuid, Path, description = "The id of the entity.",
        example = "01a20864-7750-7688-ae30-e4554a6f9d96"), MomentParameters, QuestionHeaders),
    responses((status = 200, description = "The entity.", body = Entity, headers((
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
    past::row(&app, &call, (RowKey::Entity(id), moment), app.epr.entity(id)).await
}

/// List entities
///
/// Newest first. Archived entities are left out unless `status=archived` asks for them. The filters combine.
///
/// Without `limit` and `cursor` the response is the whole list, streamed, up to 64 MiB. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/entities", operation_id = "listEntities", tag = "entities",
    params(EntityFilter, Listing, MomentParameters, QuestionHeaders),
    responses(
        (status = 200, description = "Entities, newest first.", body = [Entity], headers((
        "EPR-Revision" = Revision,
        description = "The state of the registry that was asked for, with `at` or `revision`."
    ))), InvalidRequest, OtherIncarnation
    )
)]
async fn list(State(app): State<Arc<App>>, query: Query, QuestionHeaders(call): QuestionHeaders) -> HandlerResult {
    let mut fields = Fields::new("query", &query.members).accepting(app.epr.entity_types());
    let filter = EntityFilter::from_query(&mut fields);
    let moment = Moment::read(&mut fields);
    fields.only(&[EntityFilter::PARAMETERS, Listing::PARAMETERS, &Moment::MEMBERS].concat());
    let page = Listing::read_page_if_given(&mut fields);
    let ((filter, moment, page), call) = Invalid::both(fields.finish(Some((filter, moment, page))), call)?;
    if !moment.is_now() {
        return past::page(&app, &query, &call, (RegistryList::Entities(&filter), moment), page).await;
    }
    listing::respond(&app, &query, &call, filter, page).await
}

impl ListSource for EntityFilter {
    fn list(&self) -> RegistryList<'_> {
        RegistryList::Entities(self)
    }
}

/// Update an entity
///
/// An absent field keeps its value; `parent_id: null` makes the entity a root. A member that is unknown or cannot be
/// changed (`id`, `type`) is an error.
#[utoipa::path(
    patch, path = "/api/v1/entities/{id}", operation_id = "updateEntity", tag = "entities",
    params(
        ("id" = Uuid, Path, description = "The id of the entity.", example = "01a20864-7750-7688-ae30-e4554a6f9d96"),
        CallHeaders
    ),
    request_body(content = EntityPatch, example = json!({"name": "Berlin Two", "parent_id": null})),
    responses((status = 200, description = "The updated entity.", body = Entity, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), JsonBody, NotFound, NameConflict)
)]
async fn update(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    CallHeaders(call): CallHeaders,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let patch = body.and_then(|body| EntityPatch::from_body(&body));
    let ((id, call), patch) = Invalid::both(Invalid::both(id, call), patch)?;
    Ok(at_revision(ok(&app.epr.update_entity(&call, id, patch).await?), &call))
}

/// Archive an entity
///
/// The entity and its history are kept; lists leave it out. Archiving an archived entity changes nothing.
#[utoipa::path(
    post, path = "/api/v1/entities/{id}/archive", operation_id = "archiveEntity", tag = "entities",
    params(
        ("id" = Uuid, Path, description = "The id of the entity.", example = "01a20864-7750-7688-ae30-e4554a6f9d96"),
        CallHeaders
    ),
    responses((status = 200, description = "The archived entity.", body = Entity, headers((
        "EPR-Revision" = Revision, description = "The state of the registry after this change."
    ))), InvalidRequest, NotFound)
)]
async fn archive(State(app): State<Arc<App>>, PathId(id): PathId, CallHeaders(call): CallHeaders) -> HandlerResult {
    let (id, call) = Invalid::both(id, call)?;
    Ok(at_revision(ok(&app.epr.archive_entity(&call, id).await?), &call))
}
