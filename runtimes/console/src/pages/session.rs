//! Logging out, here and everywhere.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use tracing::info;

use crate::page::Answer;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::session::{self, same};
use crate::visitor::Ask;
use crate::{Console, Page, cookies};

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::post("/console/logout", log_out), Page::post("/console/logout-everywhere", log_out_everywhere)]
}

/// The parameters of a form that changes something.
///
/// # Errors
/// It lacks the token of the visitor's session.
pub(crate) fn form(ask: &Ask, body: &[u8]) -> Result<Query, Refusal> {
    let form = Query::parse(std::str::from_utf8(body).unwrap_or_default());
    let expected = &ask.visitor.form_token;
    if expected.is_empty() || !same(form.text("form_token"), expected) {
        return Err(Refusal::form());
    }
    Ok(form)
}

async fn log_out(State(console): State<Arc<Console>>, headers: HeaderMap, ask: Ask, body: Bytes) -> Answer {
    form(&ask, &body)?;
    if let Some(id) = cookies::read(&headers, cookies::SESSION) {
        session::end(&console.epr, id).await?;
    }
    info!("console_logout");
    Ok(leave())
}

async fn log_out_everywhere(State(console): State<Arc<Console>>, ask: Ask, body: Bytes) -> Answer {
    form(&ask, &body)?;
    let ended = match &ask.visitor.caller {
        Some(caller) => session::end_everywhere(&console.epr, caller).await?,
        None => 0,
    };
    info!(sessions = ended, "console_logout");
    Ok(leave())
}

fn leave() -> Response {
    let mut response = Redirect::to("/console/login").into_response();
    if let Some(cookie) = cookies::clear(cookies::SESSION) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}
