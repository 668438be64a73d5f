//! `/api/v1/roles`

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::Fields;
use epr_core::domain::{Invalid, NewRole, Role, RolePatch};
use epr_core::store::{Cursor, Page};
use epr_core::{Epr, Error};

use crate::App;
use crate::http::extract::unknown_members;
use crate::http::extract::{CallHeaders, JsonBody, Listing, PathId, Query};
use crate::http::listing::{self, ListSource};
use crate::http::respond::{created, ok};
use crate::openapi::responses::{InvalidRequest, NameConflict, NotFound};
use crate::routes::Answer;

/// Create a role
///
/// Actions that are not known yet are created with it.
#[utoipa::path(
    post, path = "/api/v1/roles", operation_id = "createRole", tag = "roles",
    params(CallHeaders),
    request_body(content = NewRole, example = json!({"name": "Document reader", "scope_types": ["spv"], "permissions": ["document:download"]})),
    responses((status = 201, description = "Created", body = Role), JsonBody, NameConflict)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    CallHeaders(call): CallHeaders,
    JsonBody(body): JsonBody,
) -> Answer {
    let (body, ignored) = unknown_members::split(&app, body, NewRole::MEMBERS);
    let (call, new) = Invalid::both(call, body.and_then(|body| NewRole::from_request(&body)))?;
    Ok(ignored.on(created(&app.epr.create_role(&call, new).await?)))
}

/// Read a role
#[utoipa::path(
    get, path = "/api/v1/roles/{id}", operation_id = "getRole", tag = "roles",
    params(PathId),
    responses((status = 200, description = "The role", body = Role), InvalidRequest, NotFound)
)]
pub(crate) async fn show(State(app): State<Arc<App>>, PathId(id): PathId) -> Answer {
    Ok(ok(&app.epr.role(id?).await?))
}

/// List roles
///
/// Newest first.
///
/// Without `limit` and `cursor` the answer is the whole list, streamed, up to 64 MiB. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/roles", operation_id = "listRoles", tag = "roles",
    params(Listing),
    responses((status = 200, description = "Roles", body = [Role], headers(("Link" = String, description = "`<…>; rel=\"next\"`, when more rows exist"))), InvalidRequest)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    fields.only(&["limit", "cursor"]);
    let page = Listing::asked(&mut fields);
    let page = fields.finish(Some(page))?;
    listing::list(&app, &query, Roles, page).await
}

/// Every role.
struct Roles;

impl ListSource for Roles {
    type Row = Role;

    async fn show(&self, epr: &Epr, page: Page, mut take: impl FnMut(Role) -> bool + Send) -> Result<(), Error> {
        epr.show_roles(page, &mut take).await
    }

    async fn end(&self, epr: &Epr, bytes: i64) -> Result<Option<Cursor>, Error> {
        epr.roles_end(bytes).await
    }

    fn position(row: &Role) -> Cursor {
        Cursor { created_at: row.created_at, id: row.id }
    }
}

/// Change a role
///
/// What is absent stays; a list that is given replaces the one before. Other members are ignored.
#[utoipa::path(
    patch, path = "/api/v1/roles/{id}", operation_id = "updateRole", tag = "roles",
    params(PathId, CallHeaders),
    request_body(content = RolePatch, example = json!({"permissions": ["document:download", "document:verify"]})),
    responses((status = 200, description = "As it is now", body = Role), JsonBody, NotFound)
)]
pub(crate) async fn change(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    CallHeaders(call): CallHeaders,
    JsonBody(body): JsonBody,
) -> Answer {
    let patch = body.and_then(|body| RolePatch::from_body(&body));
    let ((id, call), patch) = Invalid::both(Invalid::both(id, call), patch)?;
    Ok(ok(&app.epr.update_role(&call, id, patch).await?))
}
