//! The caller of a request, or why it could not be authenticated. Pure.

use std::sync::Arc;

use uuid::Uuid;

use super::Scopes;
use crate::domain::named_caller::{CallerKind, NamedCaller};

/// The holder of a valid credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The kind of the credential.
    pub kind: CallerKind,
    /// The token's name, or the JWT's `sub`: for logs.
    pub name: Arc<str>,
    /// The scopes of the credential.
    pub scopes: Scopes,
    /// The actor that the ledger names.
    pub actor_id: Option<Uuid>,
}

impl Caller {
    /// The name of the credential, which the ledger records where there is no actor id.
    #[must_use]
    pub fn named(&self) -> NamedCaller {
        NamedCaller::new(self.kind, Arc::clone(&self.name))
    }
}

/// Why a credential is not valid. For logs and metrics: the caller only learns that it is not valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialError {
    /// The header or its token has no accepted form.
    Malformed,
    /// The token is not registered.
    UnknownToken,
    /// It has expired.
    Expired,
    /// It is not valid yet.
    NotYetValid,
    /// The JWT's algorithm is not accepted, or is not one of its key's.
    Algorithm,
    /// The issuer has no such key.
    UnknownKey,
    /// The key does not verify the signature.
    Signature,
    /// The issuer is another one.
    Issuer,
    /// The audience is another one.
    Audience,
    /// A claim is missing or has the wrong type.
    Claims,
}

impl CredentialError {
    /// The stable word for logs and metrics.
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

/// Why a request could not be authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthenticationError {
    /// It has no credential.
    Missing,
    /// The credential is not valid.
    Invalid(CredentialError),
    /// The credential cannot be verified because the issuer's keys are unavailable.
    Unavailable,
}

impl From<CredentialError> for AuthenticationError {
    fn from(error: CredentialError) -> Self {
        Self::Invalid(error)
    }
}
