//! Scopes: what a credential allows. Pure.

use std::fmt;

use crate::domain::fields::Choice;

/// One permission of a credential. No scope implies another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Check access.
    Authorize,
    /// State properties of subjects, actions and resources that conditions read, in checks of AuthZEN.
    Assert,
    /// Explain decisions, which names roles, entities and principals.
    Explain,
    /// List who may do what, which names roles, entities and principals.
    List,
    /// Read entities, roles, assignments and principals.
    Read,
    /// Change entities, roles, assignments and principals.
    Write,
    /// Erase the personal fields of principals, together with [`Scope::Write`].
    Erase,
    /// Ingest and read events.
    Events,
    /// Read the ledger.
    Audit,
    /// Read readiness, metrics and the description of the interface, where they are not open.
    Operate,
    /// Name another actor by `X-Actor-Id`.
    ActAs,
}

impl Choice for Scope {
    const ALL: &'static [Self] = &[
        Self::Authorize,
        Self::Assert,
        Self::Explain,
        Self::List,
        Self::Read,
        Self::Write,
        Self::Erase,
        Self::Events,
        Self::Audit,
        Self::Operate,
        Self::ActAs,
    ];

    fn word(self) -> &'static str {
        match self {
            Self::Authorize => "epr:authorize",
            Self::Assert => "epr:assert",
            Self::Explain => "epr:explain",
            Self::List => "epr:list",
            Self::Read => "epr:read",
            Self::Write => "epr:write",
            Self::Erase => "epr:erase",
            Self::Events => "epr:events",
            Self::Audit => "epr:audit",
            Self::Operate => "epr:operate",
            Self::ActAs => "epr:act-as",
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u16);

impl Scopes {
    /// Whether the set contains `scope`.
    #[must_use]
    pub fn hold(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }

    /// Whether the set contains no scope.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

fn bit(scope: Scope) -> u16 {
    1 << scope as u16
}

impl FromIterator<Scope> for Scopes {
    fn from_iter<T: IntoIterator<Item = Scope>>(scopes: T) -> Self {
        Self(scopes.into_iter().fold(0, |held, scope| held | bit(scope)))
    }
}

impl fmt::Display for Scopes {
    /// The words, with a space between them.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = Scope::ALL.iter().filter(|scope| self.hold(**scope)).map(|scope| scope.word()).collect();
        out.write_str(&words.join(" "))
    }
}

impl fmt::Debug for Scopes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[{self}]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_scope_implies_another() {
        for one in Scope::ALL {
            let held = Scopes::from_iter([*one]);
            for other in Scope::ALL {
                assert_eq!(held.hold(*other), one == other);
            }
            assert_eq!((held.to_string().as_str(), Scope::from_word(one.word())), (one.word(), Some(*one)));
        }
        assert_eq!(Scopes::default().to_string(), "");
    }
}
