//! The pages, a file for each subject. Each file declares its pages in `pages()`.

mod access;
mod assignments;
mod change;
mod check;
mod entities;
mod entity;
mod events;
mod health;
mod home;
mod ledger;
mod login;
pub(crate) mod openid;
mod principals;
mod roles;
mod rows;
mod session;
mod surroundings;
mod tree;

use std::sync::Arc;

use axum::http::Method;
use axum::routing::any;

pub(crate) use change::IMPORT_PATH;

use crate::refusal::Refusal;
use crate::visitor::Ask;
use crate::{Console, Page};

/// Every page.
pub(crate) fn pages() -> Vec<Page> {
    let mut all = Vec::new();
    all.extend(home::pages());
    all.extend(login::pages());
    all.extend(openid::pages());
    all.extend(session::pages());
    all.extend(entities::pages());
    all.extend(entity::pages());
    all.extend(surroundings::pages());
    all.extend(tree::pages());
    all.extend(principals::pages());
    all.extend(roles::pages());
    all.extend(assignments::pages());
    all.extend(change::pages());
    all.extend(check::pages());
    all.extend(access::pages());
    all.extend(ledger::pages());
    all.extend(events::pages());
    all.extend(health::pages());
    // A path that is no page is the console's to refuse, in its own form.
    all.push(Page { path: "/console/{*rest}", method: Method::GET, handler: any::<_, _, Arc<Console>>(unknown) });
    all
}

async fn unknown(ask: Ask) -> Refusal {
    Refusal::not_found(ask.texts().no_such_page)
}
