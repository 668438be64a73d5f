//! Forms that suspend a principal, which is confirmed by typing its id, and that end a suspension.

use axum::body::Bytes;
use epr_core::Error;
use epr_core::authn::Scope;
use epr_core::domain::assignment::{PrincipalType, default_principal_type};
use epr_core::domain::fields::parse_uuid;
use epr_core::domain::{NewPrincipal, PrincipalPatch, PrincipalStatus};
use uuid::Uuid;

use super::super::principals::TAB;
use super::{change_form, form_page, submitted};
use crate::Page;
use crate::blocks::{Field, Form};
use crate::page::Answer;
use crate::query::{Query, link};
use crate::refusal::Refusal;
use crate::visitor::Ask;

const PATH: &str = "/console/change/suspension";

pub(super) fn pages() -> Vec<Page> {
    vec![Page::get(PATH, show), Page::post(PATH, submit)]
}

/// The address of the form that suspends a principal or ends its suspension.
pub(in crate::pages) fn suspension_path(kind: &str, id: &str, status: PrincipalStatus) -> String {
    let to = if status == PrincipalStatus::Suspended { "active" } else { "suspended" };
    link(PATH, &[("type", kind), ("id", id), ("status", to)])
}

/// The principal and its status to be, as the query or the form names them.
fn subject(ask: &Ask, given: &Query) -> Result<(PrincipalType, Uuid, PrincipalStatus), Refusal> {
    let none = || Refusal::not_found(ask.texts().no_such_page);
    let id = parse_uuid(given.text("id")).ok_or_else(none)?;
    let kind = given.get("type").map(PrincipalType::new).transpose().map_err(|_| none())?;
    let status = match given.text("status") {
        "suspended" => PrincipalStatus::Suspended,
        "active" => PrincipalStatus::Active,
        _ => return Err(none()),
    };
    Ok((kind.unwrap_or_else(default_principal_type), id, status))
}

async fn show(ask: Ask) -> Answer {
    ask.visitor.require(Scope::Write)?;
    let (_, _, status) = subject(&ask, &ask.query)?;
    form_page(&ask, title(&ask, status), TAB, status_form(&ask, &ask.query, status), None)
}

fn title(ask: &Ask, status: PrincipalStatus) -> &'static str {
    match status {
        PrincipalStatus::Suspended => ask.texts().suspend,
        PrincipalStatus::Active => ask.texts().end_suspension,
    }
}

fn status_form(ask: &Ask, given: &Query, status: PrincipalStatus) -> Form {
    let t = ask.texts();
    let form = change_form(ask, "suspension", PATH, title(ask, status), given)
        .hidden("type", given.text("type"))
        .hidden("id", given.text("id"))
        .hidden("status", given.text("status"));
    match status {
        PrincipalStatus::Suspended => form.field(Field::line("typed", t.type_the_id, "").required()),
        PrincipalStatus::Active => form,
    }
}

async fn submit(ask: Ask, body: Bytes) -> Answer {
    let (given, call) = submitted(&ask, &body)?;
    let (kind, id, status) = subject(&ask, &given)?;
    let saved: Result<(), Refusal> = async {
        if status == PrincipalStatus::Suspended && parse_uuid(given.text("typed")) != Some(id) {
            return Err(Refusal::invalid(vec![ask.texts().typed_differs.to_owned()]));
        }
        let patch = PrincipalPatch { status: Some(status), ..PrincipalPatch::default() };
        match ask.epr().update_principal(&call, &kind, id, patch).await {
            Ok(_) => Ok(()),
            // One that is not registered becomes registered, with nothing but its status.
            Err(Error::NotFound(_)) => {
                let new = NewPrincipal { status, ..NewPrincipal::new().with_id(id).of_type(kind.clone()) };
                Ok(ask.epr().create_principal(&call, new).await.map(|_| ())?)
            }
            Err(error) => Err(error.into()),
        }
    }
    .await;
    match saved {
        Ok(()) => Ok(super::made(&call, TAB)),
        Err(refusal) => form_page(&ask, title(&ask, status), TAB, status_form(&ask, &given, status), Some(refusal)),
    }
}
