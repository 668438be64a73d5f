//! Bounded text: the only way a caller's words get into the registry.

use std::fmt;

use serde::{Serialize, Serializer};

/// Text of `MIN` to `MAX` characters (Unicode scalar values) without U+0000.
///
/// The bounds are part of the type, so that a handler cannot be called with text that was not checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

/// What is wrong with a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextFault {
    /// Fewer characters than the lower bound.
    #[error("String should have at least {min} character{}", plural(*.min))]
    TooShort {
        /// The lower bound.
        min: usize,
    },
    /// More characters than the upper bound.
    #[error("String should have at most {max} character{}", plural(*.max))]
    TooLong {
        /// The upper bound.
        max: usize,
    },
    /// U+0000 cannot be stored as text.
    #[error("String should not contain a NUL character")]
    Nul,
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

impl<const MIN: usize, const MAX: usize> Text<MIN, MAX> {
    /// Takes `text` if it is within the bounds.
    ///
    /// # Errors
    /// Too short, too long, or a NUL character in it.
    pub fn new(text: impl Into<String>) -> Result<Self, TextFault> {
        let text = text.into();
        let length = text.chars().count();
        if text.contains('\0') {
            Err(TextFault::Nul)
        } else if length < MIN {
            Err(TextFault::TooShort { min: MIN })
        } else if length > MAX {
            Err(TextFault::TooLong { max: MAX })
        } else {
            Ok(Self(text))
        }
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Gives the text away.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<&str> for Text<MIN, MAX> {
    type Error = TextFault;

    fn try_from(text: &str) -> Result<Self, TextFault> {
        Self::new(text)
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<String> for Text<MIN, MAX> {
    type Error = TextFault;

    fn try_from(text: String) -> Result<Self, TextFault> {
        Self::new(text)
    }
}

impl<const MIN: usize, const MAX: usize> fmt::Display for Text<MIN, MAX> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl<const MIN: usize, const MAX: usize> Serialize for Text<MIN, MAX> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_characters_not_bytes() {
        assert!(Text::<1, 3>::new("äöü").is_ok());
        assert_eq!(Text::<1, 3>::new("äöüß"), Err(TextFault::TooLong { max: 3 }));
        assert_eq!(Text::<1, 3>::new(""), Err(TextFault::TooShort { min: 1 }));
        assert_eq!(Text::<1, 3>::new("a\0"), Err(TextFault::Nul));
    }
}
