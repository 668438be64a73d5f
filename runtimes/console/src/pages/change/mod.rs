//! Changes: forms for entities, roles, assignments and principals. Each needs `epr:write`, and leads to a page with the
//! ledger entry that it made.
//!
//! Must never read a field itself: forms become the bodies of the API, which the same readers read.

mod assignments;
mod conditions;
mod entities;
mod import;
mod principals;
mod requeue;
mod roles;

use axum::response::{IntoResponse as _, Redirect, Response};
use epr_core::Call;
use epr_core::authn::Scope;
use epr_core::domain::audit::CorrelationId;
use epr_core::domain::{AuditFilter, Json, JsonObject, StatedReason};

use super::rows::{entries, entry_path};
use super::session::form;
use crate::Page;
use crate::blocks::{Block, Field, Form, Links, Look, Notice};
use crate::page::{Answer, Page as Shown};
use crate::query::{Query, link};
use crate::refusal::{Refusal, Why};
use crate::session::random_word;
use crate::visitor::Ask;

pub(super) use assignments::revoke_path;
pub(crate) use import::PATH as IMPORT_PATH;
pub(super) use principals::suspension_path;
pub(super) use requeue::{REQUEUED, requeue_path};

pub(crate) fn pages() -> Vec<Page> {
    let mut all = vec![Page::get("/console/changed", changed)];
    all.extend(entities::pages());
    all.extend(roles::pages());
    all.extend(assignments::pages());
    all.extend(principals::pages());
    all.extend(conditions::pages());
    all.extend(requeue::pages());
    all.extend(import::pages());
    all
}

/// Links to forms; none for a visitor that may not change anything.
pub(super) fn links(ask: &Ask, links: Vec<(&'static str, String)>) -> Option<Block> {
    ask.visitor.may(Scope::Write).then(|| Links::new(links).into())
}

/// A form that changes something: with the token of the session, and the reason that the ledger gets.
fn change_form(ask: &Ask, id: &'static str, action: &str, submit: &'static str, given: &Query) -> Form {
    let t = ask.texts();
    let reason = Field::line("reason", t.stated_reason, given.text("reason")).hinted(t.stated_reason_hint);
    Form::change(id, action, submit, &ask.visitor.form_token).field(reason)
}

/// A submitted form of a visitor that may change something, and the call that it makes.
fn submitted(ask: &Ask, body: &[u8]) -> Result<(Query, Call), Refusal> {
    ask.visitor.require(Scope::Write)?;
    let form = form(ask, body)?;
    let stated_reason = form.get("reason").map(StatedReason::new).transpose();
    let stated_reason = stated_reason.map_err(|error| Refusal::invalid(vec![format!("reason: {error}")]))?;
    // The entries of this form, and of no other, have this id.
    let correlation_id = random_word().and_then(|word| CorrelationId::new(word).ok());
    let call = Call { stated_reason, correlation_id, ..ask.visitor.call() };
    Ok((form, call))
}

/// The page of a form: empty, or as it was sent with what is wrong.
fn form_page(ask: &Ask, title: &str, tab: &'static str, form: Form, refused: Option<Refusal>) -> Answer {
    let mut page = Shown::new(title, tab);
    let mut blocks = Vec::new();
    match refused {
        None => {}
        Some(Refusal { status, why: Why::Said(sentences) }) if status.is_client_error() => {
            blocks.push(Block::from(Notice::new(Look::Bad, sentences)));
            page = page.with_status(status);
        }
        Some(refusal) => return Err(refusal),
    }
    blocks.push(form.into());
    Ok(page.section("", blocks).respond(ask))
}

/// Leads to the page about the change that `call` made.
fn made(call: &Call, subject: &str) -> Response {
    let form = call.correlation_id.as_ref().map(CorrelationId::as_str).unwrap_or_default();
    Redirect::to(&link("/console/changed", &[("form", form), ("subject", subject)])).into_response()
}

/// The page about a change: the last entry that it made.
async fn changed(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Write)?;
    let t = ask.texts();
    let form = ask.query.get("form").ok_or_else(|| Refusal::not_found(t.no_such_page))?;
    let filter = AuditFilter { correlation_id: Some(form.to_owned()), ..AuditFilter::default() };
    let entries = entries(&ask, &filter, 2).await?;
    let entry = entries.first().map(|entry| entry.sequence);
    let (look, sentence) = match entry {
        Some(entry) => (Look::Good, format!("{} {entry}", t.recorded_as)),
        None => (Look::Plain, t.nothing_changed.to_owned()),
    };
    let mut links = Vec::new();
    if let (Some(_), true) = (entries.get(1), ask.visitor.may(Scope::Audit)) {
        links.push((t.all_entries, link("/console/ledger", &[("correlation_id", form)])));
    }
    links.extend(entry.filter(|_| ask.visitor.may(Scope::Audit)).map(|entry| (t.entry, entry_path(entry))));
    // Only pages of the console: the address comes from the query.
    let subject = ask.query.get("subject").filter(|path| crate::is_console_path(path) && !path.contains(['\\', '?']));
    links.extend(subject.map(|path| (t.go_on, path.to_owned())));
    let blocks = vec![Notice::new(look, [sentence]).into(), Links::new(links).into()];
    Ok(Shown::new(t.changed, "").section("", blocks).html(&ask.visitor))
}

/// Members of a body: those of `names` that the form has, as text.
fn texts(form: &Query, names: &[&str]) -> JsonObject {
    let given = names.iter().filter_map(|name| Some(((*name).to_owned(), Json::from(form.get(name)?))));
    given.collect()
}

/// The JSON object in a field; an empty one if the field is empty.
fn object_in(form: &Query, name: &str) -> Result<Json, Refusal> {
    let Some(text) = form.get(name) else { return Ok(Json::Object(JsonObject::new())) };
    Json::parse(text.as_bytes()).map_err(|error| Refusal::invalid(vec![format!("{name}: {error}")]))
}
