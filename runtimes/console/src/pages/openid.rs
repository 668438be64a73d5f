//! Logging in at the provider of OpenID Connect: there and back.
//!
//! Must never begin a session by an answer that the browser did not ask for, and must never lead to another host
//! afterwards.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Redirect, Response};
use epr_core::authn::{LoginError, Provider};
use tracing::{info, warn};

use super::login::{entered, target};
use crate::blocks::{Block, Links, Look, Notice};
use crate::page::{Answer, Page as Shown};
use crate::pending_login::{self, PendingLogin};
use crate::query::link;
use crate::refusal::{Refusal, Why};
use crate::session::{self, Credential};
use crate::visitor::Ask;
use crate::{Console, Page, cookies};

/// The page that leads to the provider.
pub(crate) const BEGIN: &str = "/console/login/openid";

pub(crate) fn pages() -> Vec<Page> {
    vec![Page::get(BEGIN, begin), Page::get(epr_core::settings::CALLBACK_PATH, receive)]
}

/// Why an answer of the provider begins no session.
enum Refused {
    /// The browser has begun no login, or another one.
    Foreign,
    /// The login took too long.
    Late,
    /// The provider says so.
    ByProvider(String),
    /// The answer or the ID token is not what was asked for.
    ByUs(LoginError),
}

async fn begin(State(console): State<Arc<Console>>, ask: Ask) -> Answer {
    let to = target(ask.query.text("to"));
    if ask.visitor.is_known {
        return Ok(Redirect::to(to).into_response());
    }
    let provider = provider(&console, &ask)?;
    let login = PendingLogin::new(to, ask.epr().now()).ok_or_else(Refusal::form)?;
    let address = provider.login_address(&login.request()).await.map_err(|_| unavailable(&ask))?;
    let mut response = Redirect::to(&address).into_response();
    if let Some(cookie) = cookies::set_for_return(cookies::PENDING_LOGIN, login.cookie(), pending_login::SECONDS) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

async fn receive(State(console): State<Arc<Console>>, headers: HeaderMap, ask: Ask) -> Answer {
    let provider = provider(&console, &ask)?;
    let pending = cookies::read(&headers, cookies::PENDING_LOGIN).and_then(PendingLogin::parse);
    let mut response = match log_in(&console, provider, &ask, pending.as_ref()).await {
        Ok(id) => entered(target(pending.as_ref().map_or("", PendingLogin::target)), &id),
        Err(refused) => refusal_page(&ask, provider, pending.as_ref(), &refused)?,
    };
    // An answer is used once.
    if let Some(cookie) = cookies::clear(cookies::PENDING_LOGIN) {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    Ok(response)
}

/// Begins a session; returns its id.
async fn log_in(
    console: &Console,
    provider: &Provider,
    ask: &Ask,
    pending: Option<&PendingLogin>,
) -> Result<String, Refused> {
    let pending = pending.filter(|pending| pending.is_answered_by(ask.query.text("state"))).ok_or(Refused::Foreign)?;
    if pending.is_over(console.epr.now()) {
        return Err(Refused::Late);
    }
    provider.check_issuer(ask.query.get("iss")).await.map_err(Refused::ByUs)?;
    if let Some(error) = ask.query.get("error") {
        let said = [error, ask.query.text("error_description")].join(" ");
        return Err(Refused::ByProvider(said.trim().chars().take(300).collect()));
    }
    let (caller, token) = provider.log_in(ask.query.text("code"), &pending.request()).await.map_err(Refused::ByUs)?;
    let begun = session::begin(&console.epr, &Credential::IdToken(token.into()), &caller.named()).await;
    // The log has the cause.
    let id = begun.map_err(|_| Refused::ByUs(LoginError::Unavailable))?;
    info!(caller = &*caller.name, "console_login");
    Ok(id)
}

fn provider<'a>(console: &'a Console, ask: &Ask) -> Result<&'a Provider, Refusal> {
    console.authenticator.provider().ok_or_else(|| Refusal::not_found(ask.texts().no_such_page))
}

fn unavailable(ask: &Ask) -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Why::Said(vec![ask.texts().provider_unavailable.to_owned()]))
}

/// The page about a login that failed, with a link to the next attempt.
fn refusal_page(
    ask: &Ask,
    provider: &Provider,
    pending: Option<&PendingLogin>,
    refused: &Refused,
) -> Result<Response, Refusal> {
    let t = ask.texts();
    let (status, reason, sentences) = match refused {
        Refused::Foreign => (StatusCode::BAD_REQUEST, "state".to_owned(), vec![t.login_foreign.to_owned()]),
        Refused::Late => (StatusCode::BAD_REQUEST, "late".to_owned(), vec![t.login_late.to_owned()]),
        Refused::ByProvider(said) => {
            (StatusCode::UNAUTHORIZED, "provider".to_owned(), vec![t.login_refused_there.to_owned(), said.clone()])
        }
        Refused::ByUs(LoginError::Unavailable) => return Err(unavailable(ask)),
        Refused::ByUs(LoginError::NoScope) => {
            let sentence = format!("{} {}", t.login_without_scopes, provider.scopes_claim());
            (StatusCode::FORBIDDEN, "no_scope".to_owned(), vec![sentence])
        }
        Refused::ByUs(LoginError::Code) => {
            (StatusCode::UNAUTHORIZED, "code".to_owned(), vec![t.login_code_spent.to_owned()])
        }
        Refused::ByUs(LoginError::Issuer) => {
            (StatusCode::UNAUTHORIZED, "issuer".to_owned(), vec![t.login_not_valid.to_owned()])
        }
        Refused::ByUs(LoginError::Nonce) => {
            (StatusCode::UNAUTHORIZED, "nonce".to_owned(), vec![t.login_not_valid.to_owned()])
        }
        Refused::ByUs(LoginError::Token(error)) => {
            (StatusCode::UNAUTHORIZED, error.word().to_owned(), vec![t.login_not_valid.to_owned()])
        }
    };
    warn!(reason, "console_login_refused");
    let to = target(pending.map_or("", PendingLogin::target));
    let again = Links::new(vec![(t.login_again, link("/console/login", &[("to", to)]))]);
    let blocks: Vec<Block> = vec![Notice::new(Look::Bad, sentences).into(), again.into()];
    Ok(Shown::new(t.log_in, "").section("", blocks).with_status(status).html(&ask.visitor))
}
