//! What a credential may be used for. Pure.

use std::fmt;

use crate::domain::fields::Choice;

/// One thing that a credential may allow. None of them implies another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Ask whether somebody may do something.
    Authorize,
    /// Read entities, roles and assignments.
    Read,
    /// Change entities, roles and assignments.
    Write,
    /// Hand in and read events.
    Events,
    /// Read the ledger.
    Audit,
    /// Readiness, figures and the interface's description, where they are not open.
    Operate,
    /// Act in another's name by `X-Actor-Id`.
    ActAs,
}

impl Choice for Scope {
    const ALL: &'static [Self] =
        &[Self::Authorize, Self::Read, Self::Write, Self::Events, Self::Audit, Self::Operate, Self::ActAs];

    fn word(self) -> &'static str {
        match self {
            Self::Authorize => "epr:authorize",
            Self::Read => "epr:read",
            Self::Write => "epr:write",
            Self::Events => "epr:events",
            Self::Audit => "epr:audit",
            Self::Operate => "epr:operate",
            Self::ActAs => "epr:act-as",
        }
    }
}

/// A set of scopes.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    /// Whether `scope` is among them.
    #[must_use]
    pub fn hold(self, scope: Scope) -> bool {
        self.0 & bit(scope) != 0
    }
}

fn bit(scope: Scope) -> u8 {
    1 << scope as u8
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
    fn each_scope_stands_for_itself_alone() {
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
