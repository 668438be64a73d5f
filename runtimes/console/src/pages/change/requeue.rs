//! The form that makes failed events pending again: one, or all of them.

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Redirect};
use epr_core::authn::Scope;
use epr_core::domain::fields::parse_uuid;
use tracing::info;
use uuid::Uuid;

use super::super::events::TAB;
use super::super::session::form;
use super::form_page;
use crate::Page;
use crate::blocks::Form;
use crate::page::Answer;
use crate::query::{Query, link};
use crate::refusal::Refusal;
use crate::visitor::Ask;

const PATH: &str = "/console/change/requeue";
/// The parameter of the page of events that says how many are pending again.
pub(in crate::pages) const REQUEUED: &str = "requeued";

pub(super) fn pages() -> Vec<Page> {
    vec![Page::get(PATH, show), Page::post(PATH, submit)]
}

/// The address of the form for one event, or for all that have failed.
pub(in crate::pages) fn requeue_path(event_id: Option<Uuid>) -> String {
    link(PATH, &[("event_id", &event_id.map(|id| id.to_string()).unwrap_or_default())])
}

/// Both scopes: the one of the page, and the one of changes.
fn require(ask: &Ask) -> Result<(), Refusal> {
    ask.visitor.require(Scope::Events)?;
    ask.visitor.require(Scope::Write)
}

/// The event that the query or the form names; `None` for all.
fn subject(ask: &Ask, given: &Query) -> Result<Option<Uuid>, Refusal> {
    let Some(id) = given.get("event_id") else { return Ok(None) };
    parse_uuid(id).map(Some).ok_or_else(|| Refusal::not_found(ask.texts().no_such_page))
}

async fn show(ask: Ask) -> Answer {
    require(&ask)?;
    let event_id = subject(&ask, &ask.query)?;
    let label = if event_id.is_some() { ask.texts().requeue } else { ask.texts().requeue_all };
    let title = event_id.map_or_else(|| label.to_owned(), |id| format!("{label}: {id}"));
    let form = Form::change("requeue", PATH, label, &ask.visitor.form_token);
    form_page(&ask, &title, TAB, form.hidden("event_id", ask.query.text("event_id")), None)
}

async fn submit(ask: Ask, body: Bytes) -> Answer {
    require(&ask)?;
    let given = form(&ask, &body)?;
    let event_id = subject(&ask, &given)?;
    let number = ask.epr().requeue_events(event_id).await?;
    info!(number, event_id = event_id.map(|id| id.to_string()), "events_requeued");
    Ok(Redirect::to(&link(TAB, &[(REQUEUED, &number.to_string())])).into_response())
}
