//! `/api/v1/assignments`

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{AssignmentFilter, Invalid, NewAssignment};
use epr_core::store::Cursor;
use serde::Serialize;
use uuid::Uuid;

use super::{Answer, created, listed, ok, one_more};
use crate::App;
use crate::input::{Body, Caller, PathId, Query};

pub(crate) async fn create(State(app): State<Arc<App>>, Caller(call): Caller, Body(body): Body) -> Answer {
    let new = body.and_then(|body| NewAssignment::from_body(&body, app.epr.now()));
    let (call, new) = Invalid::both(call, new)?;
    Ok(created(&app.epr.assign(&call, new).await?))
}

pub(crate) async fn list(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    let filter = AssignmentFilter {
        principal_id: fields.given("principal_id", fields::uuid),
        entity_id: fields.given("entity_id", fields::uuid),
    };
    let page = Query::page(&mut fields);
    let (filter, page) = fields.finish(Some((filter, page)))?;
    let rows = app.epr.assignments(&filter, &one_more(page)).await?;
    Ok(listed(rows, page, &query, |row| Cursor { created_at: row.created_at, id: row.id }))
}

#[derive(Serialize)]
struct Revoked {
    status: &'static str,
    assignment_id: Uuid,
}

pub(crate) async fn revoke(State(app): State<Arc<App>>, PathId(id): PathId, Caller(call): Caller) -> Answer {
    let (id, call) = Invalid::both(id, call)?;
    let gone = app.epr.revoke(&call, id).await?;
    Ok(ok(&Revoked { status: "revoked", assignment_id: gone.id }))
}
