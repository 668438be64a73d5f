//! `/api/v1/authorize` and `/api/v1/permissions/check`: the same check under two sets of field names.

use std::sync::Arc;

use axum::extract::State;
use epr_core::authz::Question;
use epr_core::domain::{Invalid, Json};
use serde::Serialize;

use super::{Answer, ok};
use crate::App;
use crate::failure::Failure;
use crate::input::{Body, Caller};

#[derive(Serialize)]
struct Authorized {
    authorized: bool,
}

#[derive(Serialize)]
struct Allowed {
    allowed: bool,
}

pub(crate) async fn authorize(State(app): State<Arc<App>>, caller: Caller, Body(body): Body) -> Answer {
    Ok(ok(&Authorized { authorized: check(&app, caller, body, "user_id").await? }))
}

pub(crate) async fn permissions(State(app): State<Arc<App>>, caller: Caller, Body(body): Body) -> Answer {
    Ok(ok(&Allowed { allowed: check(&app, caller, body, "principal_id").await? }))
}

async fn check(
    app: &App,
    Caller(call): Caller,
    body: Result<Json, Invalid>,
    principal: &'static str,
) -> Result<bool, Failure> {
    let question = body.and_then(|body| Question::from_body(&body, principal));
    let (call, question) = Invalid::both(call, question)?;
    Ok(app.epr.check(&call, &question).await?.allowed)
}
