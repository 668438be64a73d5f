//! The one layer around every page: who the visitor is, the language, security headers, and pages about refusals.
//!
//! Must never let a request without a session, or a form without its token, reach a page.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Redirect, Response};
use epr_core::authn::{AuthenticationError, Caller};
use secrecy::ExposeSecret as _;
use tracing::{Instrument as _, info_span, warn};

use crate::blocks::{Links, Look, Notice};
use crate::page::{LANGUAGE_PARAMETER, Page};
use crate::pages;
use crate::query::{Query, link};
use crate::refusal::{Refusal, Why};
use crate::session::{self, Credential, Session};
use crate::texts::{Language, Texts};
use crate::visitor::Visitor;
use crate::{Console, Peer, cookies};

/// Scripts, styles and calls of this service only.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const SECURITY_HEADERS: [(&str, &str); 7] = [
    ("content-security-policy", POLICY),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "same-origin"),
    ("x-frame-options", "DENY"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=(), payment=(), usb=()"),
];

/// The pages that a visitor without a session may open.
const OPEN_PATHS: [&str; 3] = ["/console/login", pages::openid::BEGIN, epr_core::settings::CALLBACK_PATH];

/// A year, in seconds.
const LANGUAGE_SECONDS: u32 = 31_536_000;

/// What the browser's request says about its visitor.
enum Known {
    /// The visitor has a session.
    Visitor(Visitor),
    /// The visitor has to log in.
    Guest,
    /// A new session begins with this page: callers are not authenticated.
    Begun(Visitor, String),
}

/// What decides who the visitor is.
struct Sent {
    is_for_asset: bool,
    is_local: bool,
    session_id: Option<String>,
}

impl Sent {
    fn of(request: &Request) -> Self {
        Self {
            is_for_asset: request.uri().path().starts_with("/console/assets/"),
            is_local: is_local(request),
            session_id: cookies::read(request.headers(), cookies::SESSION).map(str::to_owned),
        }
    }
}

/// Lets a request pass to its page, and completes the response.
pub(crate) async fn around(State(console): State<Arc<Console>>, mut request: Request, next: Next) -> Response {
    let language = language(&request);
    let mut new_cookies = Vec::new();
    if Query::parse(request.uri().query().unwrap_or_default()).get(LANGUAGE_PARAMETER).is_some() {
        new_cookies.extend(cookies::set(cookies::LANGUAGE, language.code(), Some(LANGUAGE_SECONDS)));
    }
    let here = here(request.uri());
    let guest = Visitor {
        language,
        scopes: epr_core::authn::Scopes::default(),
        caller: None,
        actor_id: None,
        form_token: String::new(),
        here,
        is_known: false,
    };
    let path = request.uri().path();
    let is_open = path.starts_with("/console/assets/") || OPEN_PATHS.contains(&path);
    let mut visitor = guest.clone();
    let sent = Sent::of(&request);
    let known = console.know(sent, guest).await;
    let mut response = match known {
        Err(refusal) => refusal.into_response(),
        Ok(Known::Guest) if !is_open => to_login(&request, &visitor),
        Ok(known) => {
            match known {
                Known::Guest => {}
                Known::Visitor(known) => visitor = known,
                Known::Begun(known, id) => {
                    visitor = known;
                    new_cookies.extend(cookies::set(cookies::SESSION, &id, None));
                }
            }
            let caller = visitor.caller.as_ref().map(|caller| caller.name().to_owned());
            request.extensions_mut().insert(visitor.clone());
            match caller {
                Some(caller) => next.run(request).instrument(info_span!("caller", caller)).await,
                None => next.run(request).await,
            }
        }
    };
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        warn!(reason = refusal.word(), status = refusal.status.as_u16(), "console_refused");
        response = refused(&refusal, &visitor);
    }
    complete(&mut response, new_cookies);
    response
}

impl Console {
    /// Who the visitor is.
    async fn know(&self, sent: Sent, guest: Visitor) -> Result<Known, Refusal> {
        if sent.is_for_asset {
            return Ok(Known::Guest);
        }
        let is_off = self.authenticator.off();
        if is_off && !sent.is_local {
            return Err(Refusal::new(StatusCode::FORBIDDEN, Why::NotLoopback));
        }
        if is_off {
            return Ok(Self::anyone(sent.session_id, &guest));
        }
        let Some(id) = sent.session_id else { return Ok(Known::Guest) };
        match session::resume(&self.epr, &id).await? {
            Some(session) => self.of_session(&session, session::form_token(&id), guest).await,
            None => Ok(Known::Guest),
        }
    }

    /// The visitor where callers are not authenticated. Its forms need a token nevertheless: another site's page can
    /// send a form to this machine. No session is stored, because the cookie says all that there is to know.
    fn anyone(session_id: Option<String>, guest: &Visitor) -> Known {
        let visitor = |id: &str| Visitor {
            scopes: Visitor::all_scopes(),
            form_token: session::form_token(id),
            is_known: true,
            ..guest.clone()
        };
        match session_id.filter(|id| session::is_word(id)) {
            Some(id) => Known::Visitor(visitor(&id)),
            None => match session::random_word() {
                Some(id) => Known::Begun(visitor(&id), id),
                None => Known::Guest,
            },
        }
    }

    async fn of_session(&self, session: &Session, form_token: String, guest: Visitor) -> Result<Known, Refusal> {
        let verified = match (&session.credential, self.authenticator.provider()) {
            (Credential::Bearer(credential), _) => self.verify(credential.expose_secret()).await,
            (Credential::IdToken(token), Some(provider)) => {
                provider.caller(token.expose_secret(), session.begun_at).await
            }
            // The service has no provider any more.
            (Credential::IdToken(_), None) => return Ok(Known::Guest),
        };
        match verified {
            Ok(caller) => {
                let visitor = Visitor {
                    scopes: caller.scopes,
                    actor_id: caller.actor_id,
                    caller: Some(caller.named()),
                    form_token,
                    is_known: true,
                    ..guest
                };
                Ok(Known::Visitor(visitor))
            }
            Err(AuthenticationError::Unavailable) => {
                Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, Why::Unverifiable))
            }
            // Revoked or expired since.
            Err(_) => Ok(Known::Guest),
        }
    }

    /// Verifies a credential as the API does.
    pub(crate) async fn verify(&self, credential: &str) -> Result<Caller, AuthenticationError> {
        let value = format!("Bearer {credential}");
        self.authenticator.authenticate([value.as_bytes()]).await
    }
}

/// Whether the visitor sits at this machine: the connection comes from the loopback address, no proxy says that it
/// forwards it, and the address in the browser is a name of the loopback address, which no other site's page can have.
fn is_local(request: &Request) -> bool {
    let headers = request.headers();
    let peer = request.extensions().get::<Peer>().is_some_and(|peer| peer.0.to_canonical().is_loopback());
    let forwarded = ["forwarded", "x-forwarded-for", "x-forwarded-host", "via"];
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    peer && forwarded.iter().all(|name| !headers.contains_key(*name)) && is_loopback_name(host)
}

fn is_loopback_name(host: &str) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && !name.is_empty() => name,
        _ => host,
    };
    let address = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name.eq_ignore_ascii_case("localhost")
        || address.parse::<std::net::IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// The language by the switch, the cookie of the switch, or else the browser.
fn language(request: &Request) -> Language {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let chosen = query.get(LANGUAGE_PARAMETER).or_else(|| cookies::read(request.headers(), cookies::LANGUAGE));
    chosen.and_then(Language::from_code).unwrap_or_else(|| accepted(request.headers()))
}

fn accepted(headers: &HeaderMap) -> Language {
    let given = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    given.map(Language::accepted).unwrap_or_default()
}

/// The path and the query without the parameter of the language.
fn here(uri: &Uri) -> String {
    let query = Query::parse(uri.query().unwrap_or_default()).with(LANGUAGE_PARAMETER, None);
    if query.is_empty() { uri.path().to_owned() } else { format!("{}?{query}", uri.path()) }
}

/// Leads a guest to the login page and from there back.
fn to_login(request: &Request, visitor: &Visitor) -> Response {
    if *request.method() != Method::GET {
        return Refusal::form().into_response();
    }
    // The login page is no part of another page: script loads the whole page again. Not for what is typed into a form,
    // which would be lost.
    if request.headers().contains_key("hx-request") {
        return (StatusCode::UNAUTHORIZED, [("hx-refresh", "true")]).into_response();
    }
    // A strict cookie is not sent when another site led here: the page loads itself again, and then it is.
    let site = request.headers().get("sec-fetch-site").and_then(|site| site.to_str().ok());
    if site == Some("cross-site") {
        let t = visitor.texts();
        let links = Links::new(vec![(t.go_on, visitor.here.clone())]);
        return Page::new(t.console, "").section("", vec![links.into()]).refreshing().html(visitor);
    }
    Redirect::to(&link("/console/login", &[("to", &visitor.here)])).into_response()
}

/// The page about a refusal.
fn refused(refusal: &Refusal, visitor: &Visitor) -> Response {
    let t = visitor.texts();
    let title = match refusal.status {
        StatusCode::NOT_FOUND => t.not_found,
        StatusCode::FORBIDDEN => t.forbidden,
        status if status.is_server_error() => t.unavailable,
        _ => t.not_possible,
    };
    let notice = Notice::new(Look::Bad, sentences(&refusal.why, t));
    Page::new(title, "").section("", vec![notice.into()]).with_status(refusal.status).html(visitor)
}

fn sentences(why: &Why, t: &Texts) -> Vec<String> {
    use epr_core::domain::fields::Choice as _;
    match why {
        Why::Scope(scope) => vec![format!("{} {}", t.lacks_scope, scope.word())],
        Why::Form => vec![t.form_expired.to_owned()],
        Why::NotLoopback => vec![t.loopback_only.to_owned()],
        Why::Unverifiable => vec![t.unverifiable.to_owned()],
        Why::Said(sentences) => sentences.clone(),
    }
}

fn complete(response: &mut Response, new_cookies: Vec<HeaderValue>) {
    let headers = response.headers_mut();
    for (name, value) in SECURITY_HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Language, Cookie"));
    for cookie in new_cookies {
        headers.append(header::SET_COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_loopback_address_are_local() {
        for host in ["localhost", "localhost:8080", "LOCALHOST:1", "127.0.0.1:8080", "127.8.8.8", "[::1]:8080", "[::1]"]
        {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in
            ["", "epr.test", "localhost.epr.test", "127.0.0.1.epr.test:80", "10.0.0.1", "[::2]:1", "0.0.0.0", ":8080"]
        {
            assert!(!is_loopback_name(host), "{host}");
        }
    }
}
