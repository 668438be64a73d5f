//! `/api/v1/entities`

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{Entity, EntityFilter, EntityPatch, Invalid, NewEntity};
use epr_core::store::{Cursor, Page};
use epr_core::{Epr, Error};

use crate::App;
use crate::http::extract::unknown_members;
use crate::http::extract::{CallHeaders, JsonBody, Listing, PathId, Query};
use crate::http::listing::{self, ListSource};
use crate::http::respond::{created, ok};
use crate::openapi::responses::{InvalidRequest, NameConflict, NotFound};
use crate::routes::Answer;

/// Create an entity
///
/// `(name, type)` is unique. Members that are not known are refused.
#[utoipa::path(
    post, path = "/api/v1/entities", operation_id = "createEntity", tag = "entities",
    params(CallHeaders),
    request_body(content = NewEntity, example = json!({"name": "Berlin One", "type": "spv", "attributes": {"isin": "DE000A1EWWW0"}})),
    responses((status = 201, description = "Created", body = Entity), JsonBody, NameConflict)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    CallHeaders(call): CallHeaders,
    JsonBody(body): JsonBody,
) -> Answer {
    let (body, ignored) = unknown_members::split(&app, body, NewEntity::MEMBERS);
    let (call, new) = Invalid::both(call, body.and_then(|body| NewEntity::from_body(&body)))?;
    Ok(ignored.on(created(&app.epr.create_entity(&call, new).await?)))
}

/// Read an entity
///
/// Archived ones included.
#[utoipa::path(
    get, path = "/api/v1/entities/{id}", operation_id = "getEntity", tag = "entities",
    params(PathId),
    responses((status = 200, description = "The entity", body = Entity), InvalidRequest, NotFound)
)]
pub(crate) async fn show(State(app): State<Arc<App>>, PathId(id): PathId) -> Answer {
    Ok(ok(&app.epr.entity(id?).await?))
}

/// List entities
///
/// Newest first, archived ones left out.
///
/// Without `limit` and `cursor` the answer is the whole list, streamed, up to 64 MiB. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/entities", operation_id = "listEntities", tag = "entities",
    params(EntityFilter, Listing),
    responses((status = 200, description = "Entities", body = [Entity], headers(("Link" = String, description = "`<…>; rel=\"next\"`, when more rows exist"))), InvalidRequest)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    let filter = EntityFilter {
        types: fields.given("type", fields::repeated(fields::choice)).unwrap_or_default(),
        parent_id: fields.given("parent_id", fields::uuid),
    };
    fields.only(&["type", "parent_id", "limit", "cursor"]);
    let page = Listing::asked(&mut fields);
    let (filter, page) = fields.finish(Some((filter, page)))?;
    listing::list(&app, &query, filter, page).await
}

impl ListSource for EntityFilter {
    type Row = Entity;

    async fn show(&self, epr: &Epr, page: Page, mut take: impl FnMut(Entity) -> bool + Send) -> Result<(), Error> {
        epr.show_entities(self, page, &mut take).await
    }

    async fn end(&self, epr: &Epr, bytes: i64) -> Result<Option<Cursor>, Error> {
        epr.entities_end(self, bytes).await
    }

    fn position(row: &Entity) -> Cursor {
        Cursor { created_at: row.created_at, id: row.id }
    }
}

/// Change an entity
///
/// What is absent stays; `parent_id: null` detaches. Members that are unknown or cannot be changed are refused.
#[utoipa::path(
    patch, path = "/api/v1/entities/{id}", operation_id = "updateEntity", tag = "entities",
    params(PathId, CallHeaders),
    request_body(content = EntityPatch, example = json!({"name": "Berlin Two", "parent_id": null})),
    responses((status = 200, description = "As it is now", body = Entity), JsonBody, NotFound, NameConflict)
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    CallHeaders(call): CallHeaders,
    JsonBody(body): JsonBody,
) -> Answer {
    let patch = body.and_then(|body| EntityPatch::from_body(&body));
    let ((id, call), patch) = Invalid::both(Invalid::both(id, call), patch)?;
    Ok(ok(&app.epr.update_entity(&call, id, patch).await?))
}

/// Archive an entity
///
/// Its history is kept. Archiving twice changes nothing.
#[utoipa::path(
    post, path = "/api/v1/entities/{id}/archive", operation_id = "archiveEntity", tag = "entities",
    params(PathId, CallHeaders),
    responses((status = 200, description = "As it is now", body = Entity), InvalidRequest, NotFound)
)]
pub(crate) async fn archive(State(app): State<Arc<App>>, PathId(id): PathId, CallHeaders(call): CallHeaders) -> Answer {
    let (id, call) = Invalid::both(id, call)?;
    Ok(ok(&app.epr.archive_entity(&call, id).await?))
}
