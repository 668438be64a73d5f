//! Checks conditions while they are typed: the answer is a part of the form's page. Without script, the form itself
//! says the same when it is sent.
//!
//! Must never change anything.

use axum::body::Bytes;
use axum::response::{Html, IntoResponse as _};
use epr_core::authn::Scope;

use super::super::session::form;
use super::{assignments, roles};
use crate::Page;
use crate::blocks::{Look, Notice, rendered};
use crate::page::Answer;
use crate::visitor::Ask;

/// Where the fields of conditions are checked.
pub(super) const PATH: &str = "/console/change/condition";

pub(super) fn pages() -> Vec<Page> {
    vec![Page::post(PATH, check)]
}

async fn check(ask: Ask, body: Bytes) -> Answer {
    ask.visitor.require(Scope::Write)?;
    let given = form(&ask, &body)?;
    let problems = if given.get("conditions").is_some() {
        roles::condition_problems(&ask, &given)
    } else if given.get("condition").is_some() {
        assignments::condition_problems(&ask, &given)
    } else {
        return Ok(Html(String::new()).into_response());
    };
    let notice = if problems.is_empty() {
        Notice::new(Look::Good, [ask.texts().condition_valid.to_owned()])
    } else {
        Notice::new(Look::Bad, problems)
    };
    Ok(Html(rendered(&notice)).into_response())
}
