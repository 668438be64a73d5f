//! Bounded text: the only form in which a caller's text reaches the registry.
//!
//! Owns the bounds and the problems of a text. Must never know what a text is for.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// Text of `MIN` to `MAX` characters (Unicode scalar values) without U+0000.
///
/// The bounds are part of the type, so that a handler cannot be called with an unchecked text.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Text<const MIN: usize, const MAX: usize>(String);

/// The problem of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
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
    /// Checks the bounds of `text`.
    ///
    /// # Errors
    /// Too short, too long, or a NUL character in it.
    pub fn new(text: impl Into<String>) -> Result<Self, TextError> {
        let text = text.into();
        let length = text.chars().count();
        if text.contains('\0') {
            Err(TextError::Nul)
        } else if length < MIN {
            Err(TextError::TooShort { min: MIN })
        } else if length > MAX {
            Err(TextError::TooLong { max: MAX })
        } else {
            Ok(Self(text))
        }
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<&str> for Text<MIN, MAX> {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Self, TextError> {
        Self::new(text)
    }
}

impl<const MIN: usize, const MAX: usize> TryFrom<String> for Text<MIN, MAX> {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        Self::new(text)
    }
}

/// ```
/// use epr_core::domain::Text;
///
/// let name: Text<1, 255> = "Berlin One".parse()?;
/// assert!("".parse::<Text<1, 255>>().is_err());
/// # Ok::<_, epr_core::domain::text::TextError>(())
/// ```
impl<const MIN: usize, const MAX: usize> FromStr for Text<MIN, MAX> {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
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
        assert_eq!(Text::<1, 3>::new("äöüß"), Err(TextError::TooLong { max: 3 }));
        assert_eq!(Text::<1, 3>::new(""), Err(TextError::TooShort { min: 1 }));
        assert_eq!(Text::<1, 3>::new("a\0"), Err(TextError::Nul));
    }
}
