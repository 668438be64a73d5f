//! Who is calling, or why nobody is known to be. Pure.

use std::sync::Arc;

use uuid::Uuid;

use super::Scopes;
use crate::domain::named_caller::{CallerKind, NamedCaller};

/// Whose credential it was, and what it allows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Which kind of credential it was.
    pub kind: CallerKind,
    /// The token's name, or the JWT's `sub`: for logs.
    pub name: Arc<str>,
    /// What it allows.
    pub scopes: Scopes,
    /// Who acts, for the ledger.
    pub actor_id: Option<Uuid>,
}

impl Caller {
    /// What the ledger names when no actor id is given.
    #[must_use]
    pub fn named(&self) -> NamedCaller {
        NamedCaller::new(self.kind, Arc::clone(&self.name))
    }
}

/// Why a credential was not taken. For logs and figures: whoever sent it only learns that it is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The header or the token in it is not of any form that is taken.
    Malformed,
    /// No such token is registered.
    UnknownToken,
    /// It was valid once.
    Expired,
    /// It will be valid later.
    NotYetValid,
    /// The JWT is signed by an algorithm that is not allowed, or not the key's.
    Algorithm,
    /// The issuer has no such key.
    UnknownKey,
    /// The signature is not the key's.
    Signature,
    /// Another issuer's.
    Issuer,
    /// Meant for somebody else.
    Audience,
    /// A claim is missing or has the wrong type.
    Claims,
}

impl Reason {
    /// A stable word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownToken => "unknown_token",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Claims => "claims",
        }
    }
}

/// Why nobody is known to be calling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// No credential was given.
    Missing,
    /// One was given and is not valid.
    Invalid(Reason),
    /// It cannot be told: the issuer's keys are not here.
    Unavailable,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self::Invalid(reason)
    }
}
