//! `/api/v1/assignments`

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{Assignment, AssignmentFilter, Invalid, NewAssignment};
use epr_core::store::{Cursor, Page};
use epr_core::{Epr, Error};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::App;
use crate::http::extract::unknown_members;
use crate::http::extract::{CallHeaders, JsonBody, Listing, PathId, Query};
use crate::http::listing::{self, ListSource};
use crate::http::respond::{created, ok};
use crate::openapi::responses::{InvalidRequest, NotFound};
use crate::routes::Answer;

/// Assign a role
///
/// On an entity and everything below it, or everywhere. The same principal, type, role and entity again gives the
/// assignment that stands.
#[utoipa::path(
    post, path = "/api/v1/assignments", operation_id = "createAssignment", tag = "assignments",
    params(CallHeaders),
    request_body(content = NewAssignment, example = json!({
        "principal_id": "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11",
        "role_id": "01a20864-776d-7072-9b13-e0c12a727e9e",
        "entity_id": "01a20864-7750-7688-ae30-e4554a6f9d96",
        "expires_at": "2027-01-01T00:00:00Z"
    })),
    responses((status = 201, description = "Assigned", body = Assignment), JsonBody, NotFound)
)]
pub(crate) async fn create(
    State(app): State<Arc<App>>,
    CallHeaders(call): CallHeaders,
    JsonBody(body): JsonBody,
) -> Answer {
    let (body, ignored) = unknown_members::split(&app, body, NewAssignment::MEMBERS);
    let new = body.and_then(|body| NewAssignment::from_body(&body, app.epr.now()));
    let (call, new) = Invalid::both(call, new)?;
    Ok(ignored.on(created(&app.epr.assign(&call, new).await?)))
}

/// List assignments
///
/// Newest first; those not in force included.
///
/// Without `limit` and `cursor` the answer is the whole list, streamed, up to 64 MiB. A page also ends at 2 MiB.
#[utoipa::path(
    get, path = "/api/v1/assignments", operation_id = "listAssignments", tag = "assignments",
    params(AssignmentFilter, Listing),
    responses((status = 200, description = "Assignments", body = [Assignment], headers(("Link" = String, description = "`<…>; rel=\"next\"`, when more rows exist"))), InvalidRequest)
)]
pub(crate) async fn list(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    let filter = AssignmentFilter {
        principal_id: fields.given("principal_id", fields::uuid),
        entity_id: fields.given("entity_id", fields::uuid),
    };
    fields.only(&["principal_id", "entity_id", "limit", "cursor"]);
    let page = Listing::asked(&mut fields);
    let (filter, page) = fields.finish(Some((filter, page)))?;
    listing::list(&app, &query, filter, page).await
}

impl ListSource for AssignmentFilter {
    type Row = Assignment;

    async fn show(&self, epr: &Epr, page: Page, mut take: impl FnMut(Assignment) -> bool + Send) -> Result<(), Error> {
        epr.show_assignments(self, page, &mut take).await
    }

    async fn end(&self, epr: &Epr, bytes: i64) -> Result<Option<Cursor>, Error> {
        epr.assignments_end(self, bytes).await
    }

    fn position(row: &Assignment) -> Cursor {
        Cursor { created_at: row.created_at, id: row.id }
    }
}

/// An assignment that was revoked.
#[derive(Serialize, ToSchema)]
pub(crate) struct Revoked {
    /// `revoked`.
    #[schema(value_type = String)]
    status: &'static str,
    /// Which.
    assignment_id: Uuid,
}

/// Revoke an assignment
#[utoipa::path(
    delete, path = "/api/v1/assignments/{id}", operation_id = "revokeAssignment", tag = "assignments",
    params(PathId, CallHeaders),
    responses((status = 200, description = "Revoked", body = Revoked), InvalidRequest, NotFound)
)]
pub(crate) async fn revoke(State(app): State<Arc<App>>, PathId(id): PathId, CallHeaders(call): CallHeaders) -> Answer {
    let (id, call) = Invalid::both(id, call)?;
    let gone = app.epr.revoke(&call, id).await?;
    Ok(ok(&Revoked { status: "revoked", assignment_id: gone.id }))
}
