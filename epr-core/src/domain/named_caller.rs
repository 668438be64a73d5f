//! Callers without an actor id: the actor of their ledger entries, derived from their name.
//!
//! Owns the derivation. Must never authenticate a caller.

use std::sync::Arc;

use uuid::Uuid;

/// The namespace of the ids that are derived from names. Must never change: the ledger contains ids derived in it.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f1d_3a52_8f0e_5c77_9b1e_2d54_c0a8_e9b3);

/// The kind of credential that identified a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallerKind {
    /// By an API token; the name is the token's.
    Token,
    /// By a JWT; the name is its subject.
    Jwt,
    /// By OpenID Connect; the name is the subject of the ID token.
    OpenId,
    /// By running a command on the database; the name is `user@host` of the operating system.
    Cli,
}

/// A caller by its name: the actor of ledger entries when no actor id is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCaller {
    kind: CallerKind,
    name: Arc<str>,
}

impl NamedCaller {
    /// A caller of this kind and name.
    #[must_use]
    pub fn new(kind: CallerKind, name: impl Into<Arc<str>>) -> Self {
        Self { kind, name: name.into() }
    }

    /// The name, for `details.caller`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The `actor_type` of entries.
    #[must_use]
    pub fn actor_type(&self) -> &'static str {
        match self.kind {
            CallerKind::Token | CallerKind::Jwt | CallerKind::OpenId => "credential",
            CallerKind::Cli => "cli",
        }
    }

    /// The `actor_id` of entries: always the same for the same kind and name (UUID version 5).
    #[must_use]
    pub fn actor_id(&self) -> Uuid {
        let kind = match self.kind {
            CallerKind::Token => "token",
            CallerKind::Jwt => "jwt",
            CallerKind::OpenId => "openid",
            CallerKind::Cli => "cli",
        };
        Uuid::new_v5(&NAMESPACE, format!("{kind}:{}", self.name).as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_those_that_the_documentation_shows() {
        // uuid.uuid5(uuid.UUID("6f1d3a52-8f0e-5c77-9b1e-2d54c0a8e9b3"), "token:vault") in Python.
        let id = |kind, name: &str| NamedCaller::new(kind, name).actor_id().to_string();
        assert_eq!(id(CallerKind::Token, "vault"), "c5f174c2-fab4-5953-b612-47334ffbc957");
        assert_eq!(id(CallerKind::Jwt, "vault"), "d005281e-aa3c-5ab7-aaa3-0306d74ba5b8");
        assert_eq!(id(CallerKind::OpenId, "vault"), "ae82ffef-ee8c-5dd3-9dcb-5135a9047607");
        assert_eq!(id(CallerKind::Cli, "root@db-1"), "38deff25-c9b6-51d5-85b5-83edea6f82ce");
    }
}
