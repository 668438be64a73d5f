//! `/api/v1/entities`

use std::sync::Arc;

use axum::extract::State;
use epr_core::domain::fields::{self, Fields};
use epr_core::domain::{EntityFilter, EntityPatch, Invalid, NewEntity};
use epr_core::store::Cursor;

use super::{Answer, created, listed, ok, one_more};
use crate::App;
use crate::input::{Body, Caller, PathId, Query};

pub(crate) async fn create(State(app): State<Arc<App>>, Caller(call): Caller, Body(body): Body) -> Answer {
    let (call, new) = Invalid::both(call, body.and_then(|body| NewEntity::from_body(&body)))?;
    Ok(created(&app.epr.create_entity(&call, new).await?))
}

pub(crate) async fn show(State(app): State<Arc<App>>, PathId(id): PathId) -> Answer {
    Ok(ok(&app.epr.entity(id?).await?))
}

pub(crate) async fn list(State(app): State<Arc<App>>, query: Query) -> Answer {
    let mut fields = Fields::new("query", &query.members);
    let filter = EntityFilter {
        types: fields.given("type", fields::repeated(fields::choice)).unwrap_or_default(),
        parent_id: fields.given("parent_id", fields::uuid),
    };
    let page = Query::page(&mut fields);
    let (filter, page) = fields.finish(Some((filter, page)))?;
    let rows = app.epr.entities(&filter, &one_more(page)).await?;
    Ok(listed(rows, page, &query, |row| Cursor { created_at: row.created_at, id: row.id }))
}

pub(crate) async fn change(
    State(app): State<Arc<App>>,
    PathId(id): PathId,
    Caller(call): Caller,
    Body(body): Body,
) -> Answer {
    let patch = body.and_then(|body| EntityPatch::from_body(&body));
    let ((id, call), patch) = Invalid::both(Invalid::both(id, call), patch)?;
    Ok(ok(&app.epr.update_entity(&call, id, patch).await?))
}

pub(crate) async fn archive(State(app): State<Arc<App>>, PathId(id): PathId, Caller(call): Caller) -> Answer {
    let (id, call) = Invalid::both(id, call)?;
    Ok(ok(&app.epr.archive_entity(&call, id).await?))
}
