//! Forms that assign a role and revoke an assignment.

use axum::body::Bytes;
use epr_core::authn::Scope;
use epr_core::decision::condition;
use epr_core::domain::fields::parse_uuid;
use epr_core::domain::json::object;
use epr_core::domain::{AssignmentRequest, Json, NewAssignment};
use uuid::Uuid;

use super::super::rows::assignment_path;
use super::{change_form, conditions, form_page, made, object_in, submitted, texts};
use crate::Page;
use crate::blocks::{Field, Form, Input};
use crate::page::Answer;
use crate::query::{Query, link};
use crate::refusal::{Refusal, sentences_about};
use crate::visitor::Ask;

const PATH: &str = "/console/change/assignment";
const REVOKE_PATH: &str = "/console/change/revoke";

pub(super) fn pages() -> Vec<Page> {
    vec![
        Page::get(PATH, show),
        Page::post(PATH, submit),
        Page::get(REVOKE_PATH, show_revoke),
        Page::post(REVOKE_PATH, revoke),
    ]
}

/// The address of the form that revokes an assignment.
pub(in crate::pages) fn revoke_path(id: Uuid) -> String {
    link(REVOKE_PATH, &[("id", &id.to_string())])
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Write)?;
    form_page(&ask, ask.texts().assign, "", assignment_form(&ask, &ask.query), None)
}

fn assignment_form(ask: &Ask, given: &Query) -> Form {
    let t = ask.texts();
    let line = |name, label| Field::line(name, label, given.text(name));
    change_form(ask, "assignment", PATH, t.assign, given)
        .field(line("principal_id", t.principal_id).required())
        .field(line("principal_type", t.principal_type).hinted(t.user_if_empty))
        .field(line("role_id", t.role_id).required())
        .field(line("entity_id", t.entity_id).hinted(t.everywhere_if_empty))
        .field(line("effective_at", t.from).hinted(t.at_hint))
        .field(line("expires_at", t.until).hinted(t.at_hint))
        .field(
            Field::of("condition", t.condition, given.text("condition"), Input::Lines)
                .hinted(t.condition_hint)
                .checked_by(conditions::PATH),
        )
}

/// What is wrong with the condition of the form.
pub(super) fn condition_problems(ask: &Ask, given: &Query) -> Vec<String> {
    let condition = match object_in(given, "condition") {
        Ok(condition) => condition,
        Err(refusal) => return refusal.into_sentences(),
    };
    // Any principal and any role: the form checks its own when it is sent.
    let any = || Json::from(Uuid::nil());
    let body = object([("principal_id", any()), ("role_id", any()), ("condition", condition)]);
    let read = NewAssignment::from_body(&body.into(), ask.epr().now(), condition::check);
    read.err().map(|invalid| sentences_about(&invalid, "condition")).unwrap_or_default()
}

async fn submit(ask: Ask, body: Bytes) -> Answer {
    let (given, call) = submitted(&ask, &body)?;
    let saved: Result<Uuid, Refusal> = async {
        let names = ["principal_id", "principal_type", "role_id", "entity_id", "effective_at", "expires_at"];
        let mut members = texts(&given, &names);
        if given.get("condition").is_some() {
            members.insert("condition".to_owned(), object_in(&given, "condition")?);
        }
        let read = |body: &Json| NewAssignment::from_body(body, ask.epr().now(), condition::check);
        let new = AssignmentRequest::from_body(&Json::Object(members), read)?;
        ask.epr().check_reason(&call)?;
        Ok(ask.epr().assign(&call, new).await?.id)
    }
    .await;
    match saved {
        Ok(id) => Ok(made(&call, &assignment_path(id))),
        Err(refusal) => form_page(&ask, ask.texts().assign, "", assignment_form(&ask, &given), Some(refusal)),
    }
}

async fn show_revoke(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Write)?;
    form_page(&ask, ask.texts().revoke, "", revoke_form(&ask, &ask.query), None)
}

fn revoke_form(ask: &Ask, given: &Query) -> Form {
    change_form(ask, "revoke", REVOKE_PATH, ask.texts().revoke, given).hidden("id", given.text("id"))
}

async fn revoke(ask: Ask, body: Bytes) -> Answer {
    let (given, call) = submitted(&ask, &body)?;
    let id = parse_uuid(given.text("id")).ok_or_else(|| Refusal::not_found(ask.texts().no_such_page))?;
    match ask.epr().revoke(&call, id).await {
        Ok(_) => Ok(made(&call, &assignment_path(id))),
        Err(error) => form_page(&ask, ask.texts().revoke, "", revoke_form(&ask, &given), Some(error.into())),
    }
}
