//! `/api/v1/roles`

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::Fields;
use epr_core::domain::{Invalid, NewRole, RolePatch};
use epr_core::store::Cursor;

use super::{Answer, created, listed, ok, one_more};
use crate::App;
use crate::input::{Body, Caller, PathId, Query};

pub(crate) async fn create(State(app): State<Arc<App>>, Caller(call): Caller, Body(body): Body) -> Answer {
    let (call, new) = Invalid::both(call, body.and_then(|body| NewRole::from_body(&body)))?;
    Ok(created(&app.epr.create_role(&call, new).await?))
}

pub(crate) async fn show(State(app): State<Arc<App>>, PathId(id): PathId) -> Answer {
    Ok(ok(&app.epr.role(id?).await?))
}

pub(crate) async fn list(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    let page = Query::page(&mut fields);
    let page = fields.finish(Some(page))?;
    let rows = app.epr.roles(&one_more(page)).await?;
    Ok(listed(rows, page, &query, |row| Cursor { created_at: row.created_at, id: row.id }))
}

pub(crate) async fn change(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    Caller(call): Caller,
    Body(body): Body,
) -> Answer {
    let patch = body.and_then(|body| RolePatch::from_body(&body));
    let ((id, call), patch) = Invalid::both(Invalid::both(id, call), patch)?;
    Ok(ok(&app.epr.update_role(&call, id, patch).await?))
}
