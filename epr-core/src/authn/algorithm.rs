//! The signature algorithms of tokens. Pure.

use jsonwebtoken::Algorithm as Jose;

use crate::domain::fields::Choice;

/// A signature algorithm. Neither `none` nor any algorithm with a shared secret is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are RFC 7518's and RFC 8037's")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
}

/// The names of all algorithms, for messages.
pub const ALGORITHMS: &str = "RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";

impl Choice for Algorithm {
    const ALL: &'static [Self] = &[
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::EdDSA,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::EdDSA => "EdDSA",
        }
    }
}

impl Algorithm {
    pub(super) fn jose(self) -> Jose {
        match self {
            Self::RS256 => Jose::RS256,
            Self::RS384 => Jose::RS384,
            Self::RS512 => Jose::RS512,
            Self::PS256 => Jose::PS256,
            Self::PS384 => Jose::PS384,
            Self::PS512 => Jose::PS512,
            Self::ES256 => Jose::ES256,
            Self::ES384 => Jose::ES384,
            Self::EdDSA => Jose::EdDSA,
        }
    }
}
