//! External ids: the names under which other systems know an entity or a principal.
//!
//! Owns the bounds of an external id. Must never interpret one: it is opaque and compared byte for byte.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The most bytes of an external id.
pub const MAX_BYTES: usize = 1024;

/// The id of an entity or a principal in another system: 1 to [`MAX_BYTES`] bytes of UTF-8 without U+0000. Opaque;
/// compared byte for byte, so that two Unicode forms of one text are two external ids.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ExternalId(String);

/// The problem of a text that is no external id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExternalIdError {
    /// The text is empty.
    #[error("String should have at least 1 character")]
    Empty,
    /// The text has more than [`MAX_BYTES`] bytes.
    #[error("String should have at most {MAX_BYTES} bytes of UTF-8; this one has {bytes}")]
    TooLong {
        /// The bytes of the text.
        bytes: usize,
    },
    /// U+0000 cannot be stored as text.
    #[error("String should not contain a NUL character")]
    Nul,
}

impl ExternalIdError {
    /// The kind of the error, for programs: a stable word.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Empty => "string_too_short",
            Self::TooLong { .. } => "string_too_long",
            Self::Nul => "string_nul",
        }
    }
}

impl ExternalId {
    /// Checks the bounds of `text`.
    ///
    /// # Errors
    /// Empty, too long, or a NUL character in it.
    pub fn new(text: impl Into<String>) -> Result<Self, ExternalIdError> {
        let text = text.into();
        if text.contains('\0') {
            Err(ExternalIdError::Nul)
        } else if text.is_empty() {
            Err(ExternalIdError::Empty)
        } else if text.len() > MAX_BYTES {
            Err(ExternalIdError::TooLong { bytes: text.len() })
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

/// ```
/// use epr_core::domain::ExternalId;
///
/// let id: ExternalId = "auth0|5f7c8ec7c33c6c004bbafe82".parse()?;
/// assert!("".parse::<ExternalId>().is_err());
/// # Ok::<_, epr_core::domain::external_id::ExternalIdError>(())
/// ```
impl FromStr for ExternalId {
    type Err = ExternalIdError;

    fn from_str(text: &str) -> Result<Self, ExternalIdError> {
        Self::new(text)
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

impl Serialize for ExternalId {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_bytes_and_not_characters() {
        assert!(ExternalId::new("x".repeat(1024)).is_ok());
        assert!(ExternalId::new("ä".repeat(512)).is_ok());
        assert_eq!(ExternalId::new("ä".repeat(513)), Err(ExternalIdError::TooLong { bytes: 1026 }));
        assert_eq!(ExternalId::new(""), Err(ExternalIdError::Empty));
        assert_eq!(ExternalId::new("a\0"), Err(ExternalIdError::Nul));
    }
}
