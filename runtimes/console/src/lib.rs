//! The console: pages for operators and auditors, rendered on the server from the use cases of `epr-core`.
//!
//! Owns the pages, their texts, sessions and security headers. Must hold no rule of the registry, must never load
//! anything from another host, and must never show a page without the scope that the same call of the API requires.

#![warn(clippy::print_stdout, clippy::print_stderr)]

mod assets;
mod blocks;
mod cookies;
mod drawing;
mod format;
mod page;
mod pages;
mod pending_login;
mod query;
mod refusal;
mod session;
mod shell;
mod texts;
mod visitor;

use std::net::IpAddr;
use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodRouter, get, post};
use epr_core::Epr;
use epr_core::authn::Authenticator;

/// The path under which the console is mounted.
pub const ROOT: &str = "/console";

/// The largest body of a form with this path, in bytes.
#[must_use]
pub fn max_form_bytes(path: &str) -> usize {
    if path == pages::IMPORT_PATH { 512 << 10 } else { 64 << 10 }
}

/// The address of the caller's end of the connection, in the extensions of a request. Without authentication only
/// callers on the loopback address get a page.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// Whether a request with this path is for the console.
#[must_use]
pub fn is_console_path(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// What every page can reach.
struct Console {
    epr: Epr,
    authenticator: Arc<Authenticator>,
}

/// A route of the console: its path template, its method, and its handler.
struct Page {
    path: &'static str,
    method: Method,
    handler: MethodRouter<Arc<Console>>,
}

impl Page {
    fn get<H: axum::handler::Handler<T, Arc<Console>>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { path, method: Method::GET, handler: get(handler) }
    }

    fn post<H: axum::handler::Handler<T, Arc<Console>>, T: 'static>(path: &'static str, handler: H) -> Self {
        Self { path, method: Method::POST, handler: post(handler) }
    }
}

fn all_pages() -> Vec<Page> {
    let mut all = assets::pages();
    all.extend(pages::pages());
    all
}

/// The methods and path templates of every page and file of the console.
#[must_use]
pub fn paths() -> Vec<(Method, &'static str)> {
    all_pages().into_iter().map(|page| (page.method, page.path)).collect()
}

/// The router of the console. Forms must arrive with their whole body: the program that mounts it reads them, within
/// [`max_form_bytes`].
pub fn router(epr: Epr, authenticator: Arc<Authenticator>) -> Router {
    let console = Arc::new(Console { epr, authenticator });
    let mut router = Router::new();
    for page in all_pages() {
        router = router.route(page.path, page.handler);
    }
    router.layer(from_fn_with_state(Arc::clone(&console), shell::around)).with_state(console)
}
