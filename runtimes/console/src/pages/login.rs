//! The login page: an API token or a JWT, pasted once, or the way to the provider.
//!
//! Must never log or show a credential, and must never lead to another host.

use std::sync::Arc;

use askama::Template;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use epr_core::authn::AuthenticationError;
use tracing::{info, warn};

use crate::blocks::{Block, Look, Notice};
use crate::page::{Answer, Page as Shown};
use crate::query::{Query, link};
use crate::refusal::{Refusal, Why};
use crate::session::{self, Credential, is_word, random_word, same};
use crate::texts::Texts;
use crate::visitor::Ask;
use crate::{Console, Page, cookies};

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get("/console/login", show), Page::post("/console/login", log_in)]
}

#[derive(Template)]
#[template(path = "login.html")]
struct Login<'a> {
    t: &'static Texts,
    form_token: &'a str,
    to: &'a str,
    /// Where to log in at the provider, and its host; `None` without a provider.
    provider: Option<(String, &'a str)>,
}

async fn show(ask: Ask, headers: HeaderMap) -> Answer {
    if ask.visitor.is_known {
        return Ok(Redirect::to(target(ask.query.text("to"))).into_response());
    }
    let kept = cookies::read(&headers, cookies::LOGIN).filter(|word| is_word(word));
    page(&ask, kept, None)
}

/// The page with the token of its form in a cookie, a new one unless the browser has one.
fn page(ask: &Ask, kept: Option<&str>, error: Option<&str>) -> Answer {
    let t = ask.texts();
    let form_token = match kept {
        Some(kept) => kept.to_owned(),
        None => random_word().ok_or_else(Refusal::form)?,
    };
    let to = target(ask.query.text("to"));
    let provider = ask.console.authenticator.provider();
    let provider = provider.map(|provider| (link(super::openid::BEGIN, &[("to", to)]), provider.host()));
    let login = Login { t, form_token: &form_token, to, provider };
    let mut blocks = Vec::new();
    blocks.extend(error.map(|error| Block::from(Notice::new(Look::Bad, [error.to_owned()]))));
    blocks.push(Block::of(&login));
    let status = if error.is_some() { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    let mut response = Shown::new(t.log_in, "").section("", blocks).with_status(status).html(&ask.visitor);
    if let Some(cookie) = cookies::set(cookies::LOGIN, &form_token, None) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn log_in(State(console): State<Arc<Console>>, headers: HeaderMap, mut ask: Ask, body: Bytes) -> Answer {
    let form = Query::parse(std::str::from_utf8(&body).unwrap_or_default());
    let expected = cookies::read(&headers, cookies::LOGIN).filter(|word| is_word(word));
    if !expected.is_some_and(|expected| same(form.text("form_token"), expected)) {
        return Err(Refusal::form());
    }
    let credential = form.text("token");
    // People copy the header with the token.
    let credential = credential.strip_prefix("Bearer ").unwrap_or(credential).trim();
    match console.verify(credential).await {
        Ok(caller) => {
            let id = session::begin(&console.epr, &Credential::Bearer(credential.into()), &caller.named()).await?;
            info!(caller = &*caller.name, "console_login");
            Ok(entered(target(form.text("to")), &id))
        }
        Err(AuthenticationError::Unavailable) => Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Why::Unverifiable)),
        Err(error) => {
            let reason = match error {
                AuthenticationError::Invalid(reason) => reason.word(),
                _ => "missing",
            };
            warn!(reason, "console_login_refused");
            ask.query = form;
            page(&ask, expected, Some(ask.texts().token_not_valid))
        }
    }
}

/// Leads a visitor who has logged in to a page, with the cookie of the session.
pub(crate) fn entered(to: &str, id: &str) -> Response {
    let mut response = Redirect::to(to).into_response();
    let cookies = [cookies::set(cookies::SESSION, id, None), cookies::clear(cookies::LOGIN)];
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response
}

/// A page of the console; the first one for anything else.
pub(crate) fn target(to: &str) -> &str {
    let is_page = crate::is_console_path(to.split('?').next().unwrap_or_default())
        && to.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    if is_page { to } else { crate::ROOT }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_leads_to_pages_of_the_console_only() {
        for to in ["/console", "/console/ledger?action=x&a=%2F", "/console/entities/1"] {
            assert_eq!(target(to), to);
        }
        for to in ["", "https://evil.test/", "//evil.test/console", "/consoles", "/console/\\evil", "/console/\r\nX: y"]
        {
            assert_eq!(target(to), "/console", "{to}");
        }
    }
}
