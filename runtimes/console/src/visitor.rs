//! The visitor of a page: its language, its scopes, and the form token of its session.
//!
//! Owns what a page may show to whom. Must never hold a credential.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use epr_core::authn::{Scope, Scopes};
use epr_core::domain::fields::Choice as _;
use epr_core::domain::named_caller::NamedCaller;
use epr_core::{AnsweredAt, Call, Epr};
use uuid::Uuid;

use crate::Console;
use crate::query::Query;
use crate::refusal::Refusal;
use crate::texts::{Language, Texts};

/// The visitor of a page.
#[derive(Clone)]
pub(crate) struct Visitor {
    pub(crate) language: Language,
    pub(crate) scopes: Scopes,
    /// The caller; `None` where callers are not authenticated.
    pub(crate) caller: Option<NamedCaller>,
    pub(crate) actor_id: Option<Uuid>,
    /// The token that every form of the session repeats; empty without a session.
    pub(crate) form_token: String,
    /// The path and the query of the page, without the parameter of the language.
    pub(crate) here: String,
    /// Whether the visitor is logged in, or need not be.
    pub(crate) is_known: bool,
}

impl Visitor {
    /// Every scope: for a service that does not authenticate its callers.
    pub(crate) fn all_scopes() -> Scopes {
        Scope::ALL.iter().copied().collect()
    }

    pub(crate) fn texts(&self) -> &'static Texts {
        self.language.texts()
    }

    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.hold(scope)
    }

    /// Refuses the page unless the visitor has `scope`.
    pub(crate) fn require(&self, scope: Scope) -> Result<(), Refusal> {
        if self.may(scope) { Ok(()) } else { Err(Refusal::scope(scope)) }
    }

    /// The circumstances of a call of this visitor.
    pub(crate) fn call(&self) -> Call {
        Call {
            actor_id: self.actor_id,
            caller: self.caller.clone(),
            answered_at: Some(AnsweredAt::default()),
            ..Call::default()
        }
    }
}

/// A request for a page.
pub(crate) struct Ask {
    pub(crate) console: Arc<Console>,
    pub(crate) visitor: Visitor,
    pub(crate) query: Query,
}

impl Ask {
    pub(crate) fn epr(&self) -> &Epr {
        &self.console.epr
    }

    pub(crate) fn texts(&self) -> &'static Texts {
        self.visitor.texts()
    }
}

impl FromRequestParts<Arc<Console>> for Ask {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, console: &Arc<Console>) -> Result<Self, Infallible> {
        let visitor = parts.extensions.get::<Visitor>().cloned();
        // The shell adds the visitor to every request; without one nothing is allowed.
        let visitor = visitor.unwrap_or_else(|| Visitor {
            language: Language::English,
            scopes: Scopes::default(),
            caller: None,
            actor_id: None,
            form_token: String::new(),
            here: crate::ROOT.to_owned(),
            is_known: false,
        });
        let query = Query::parse(parts.uri.query().unwrap_or_default());
        Ok(Self { console: Arc::clone(console), visitor, query })
    }
}
