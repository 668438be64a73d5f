//! The form that makes failed events pending again: one, or all of them.

use axum::body::Bytes;
use axum::response::{IntoResponse as _, Redirect};
use epr_core::authn::Scope;
use epr_core::domain::fields::parse_uuid;
use epr_core::store::Backlog;
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
    event_id.map_or_else(|| link(PATH, &[("all", "1")]), |id| link(PATH, &[("event_id", &id.to_string())]))
}

/// Both scopes: the one of the page, and the one of changes.
fn require(ask: &Ask) -> Result<(), Refusal> {
    ask.visitor.require(Scope::Events)?;
    ask.visitor.require(Scope::Write)
}

/// The event that the query or the form names; `None` for all, which must be asked for: a lost id must not mean all.
fn subject(ask: &Ask, given: &Query) -> Result<Option<Uuid>, Refusal> {
    let subject = match (given.get("event_id"), given.get("all")) {
        (Some(id), None) => parse_uuid(id).map(Some),
        (None, Some("1")) => Some(None),
        _ => None,
    };
    subject.ok_or_else(|| Refusal::not_found(ask.texts().no_such_page))
}

async fn show(ask: Ask) -> Answer {
    require(&ask)?;
    let event_id = subject(&ask, &ask.query)?;
    let t = ask.texts();
    let (label, what) = match event_id {
        Some(id) => (t.requeue, id.to_string()),
        None => (t.requeue_all, failed(&ask).await?),
    };
    let form = Form::change("requeue", PATH, label, &ask.visitor.form_token);
    let form = match event_id {
        Some(id) => form.hidden("event_id", id.to_string()),
        None => form.hidden("all", "1"),
    };
    form_page(&ask, &format!("{label}: {what}"), TAB, form, None)
}

/// How many events have failed, as far as they are counted.
async fn failed(ask: &Ask) -> Result<String, Refusal> {
    let failed = ask.epr().event_backlog().await?.failed;
    Ok(if failed < Backlog::MAX_COUNT { failed.to_string() } else { format!("{failed}+") })
}

async fn submit(ask: Ask, body: Bytes) -> Answer {
    require(&ask)?;
    let given = form(&ask, &body)?;
    let event_id = subject(&ask, &given)?;
    let number = ask.epr().requeue_events(event_id).await?;
    info!(number, event_id = event_id.map(|id| id.to_string()), "events_requeued");
    Ok(Redirect::to(&link(TAB, &[(REQUEUED, &number.to_string())])).into_response())
}
