//! Idempotency keys: a creation that is repeated under the same key returns its first answer.
//!
//! Owns the bounds of a key, the identity of a keyed request and the answer that is kept. Must never compare requests
//! by anything that a retry may change, such as the request id.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use uuid::Uuid;

use super::assignment::PrincipalType;
use super::event::Duplicate;
use super::input::declare::words;
use super::time::Timestamp;

/// The most characters of a key.
pub const MAX_KEY_CHARS: usize = 255;
/// The time in seconds for which an answer is kept.
pub const KEPT_SECONDS: i64 = 24 * 60 * 60;

/// A key that a caller gives to a creation: 1 to [`MAX_KEY_CHARS`] visible ASCII characters (`!` to `~`).
///
/// ```
/// use epr_core::domain::IdempotencyKey;
///
/// assert!("order-4711/spv".parse::<IdempotencyKey>().is_ok());
/// assert!("order 4711".parse::<IdempotencyKey>().is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);

/// The problem of a text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdempotencyKeyError {
    /// The text is empty.
    #[error("String should have at least 1 character")]
    Empty,
    /// The text has more than [`MAX_KEY_CHARS`] characters.
    #[error("String should have at most {MAX_KEY_CHARS} characters")]
    TooLong,
    /// The text has a character other than the visible ones of ASCII.
    #[error("String should contain only visible ASCII characters (! to ~)")]
    Character,
}

impl IdempotencyKeyError {
    /// The kind of the error, for programs: a stable word.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Empty => "string_too_short",
            Self::TooLong => "string_too_long",
            Self::Character => "string_characters",
        }
    }
}

impl IdempotencyKey {
    /// Checks the bounds of `text`.
    ///
    /// # Errors
    /// Empty, too long, or a character that is not a visible one of ASCII.
    pub fn new(text: impl Into<String>) -> Result<Self, IdempotencyKeyError> {
        let text = text.into();
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            Err(IdempotencyKeyError::Character)
        } else if text.is_empty() {
            Err(IdempotencyKeyError::Empty)
        } else if text.len() > MAX_KEY_CHARS {
            Err(IdempotencyKeyError::TooLong)
        } else {
            Ok(Self(text))
        }
    }

    /// The key itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for IdempotencyKey {
    type Err = IdempotencyKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::new(text)
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

words! {
    /// A creation that accepts a key; keys of different creations are different keys.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
    pub enum KeyedCreation: "creation" {
        /// Of an entity.
        Entity = "entity",
        /// Of a role.
        Role = "role",
        /// Of an assignment.
        Assignment = "assignment",
        /// Of a principal.
        Principal = "principal",
        /// Of an event.
        Event = "event",
    }
}

/// A creation under a key. The first three fields identify it; a repeat also has the same hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRequest {
    /// The caller: keys of different callers are different keys. The nil UUID for a caller without a credential.
    pub caller: Uuid,
    /// The creation.
    pub creation: KeyedCreation,
    /// The key.
    pub key: IdempotencyKey,
    /// The SHA-256 of the canonical text of the request's body.
    pub body_sha256: [u8; 32],
}

/// The first answer to a creation under a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptAnswer {
    /// The JSON text of what was created.
    pub body: String,
    /// For an event: whether it had been ingested before.
    pub duplicate: Option<Duplicate>,
    /// The principal that the creation is about. Its erasure erases the answer.
    pub principal: Option<(PrincipalType, Uuid)>,
}

/// The outcome of looking up a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyState {
    /// No request has used the key within [`KEPT_SECONDS`].
    Free,
    /// This is the first answer to the same request.
    Answered(KeptAnswer),
    /// A request with another body used the key.
    OtherBody,
    /// The request that used the key was about a principal that has been erased since.
    Erased,
}

/// The outcome of a creation that may be a repeat.
#[derive(Debug, Clone, PartialEq)]
pub enum Once<T> {
    /// It was created by this call.
    First(T),
    /// It was created by an earlier call with the same key, whose answer this is.
    Repeated(KeptAnswer),
}

impl<T> Once<T> {
    /// Changes the value of a first answer.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> Once<U> {
        match self {
            Self::First(value) => Once::First(change(value)),
            Self::Repeated(answer) => Once::Repeated(answer),
        }
    }
}

/// The time before which an answer is no longer kept.
#[must_use]
pub fn kept_since(now: Timestamp) -> Timestamp {
    now.plus_seconds(-KEPT_SECONDS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_1_to_255_visible_characters() {
        for key in ["a", "!~", "550e8400-e29b-41d4-a716-446655440000", &"k".repeat(255)] {
            assert_eq!(IdempotencyKey::new(key).map(|made| made.as_str() == key), Ok(true), "{key}");
        }
        assert_eq!(IdempotencyKey::new(""), Err(IdempotencyKeyError::Empty));
        assert_eq!(IdempotencyKey::new("k".repeat(256)), Err(IdempotencyKeyError::TooLong));
        for key in [" ", "a b", "a\t", "\u{7f}", "ä", "\0"] {
            assert_eq!(IdempotencyKey::new(key), Err(IdempotencyKeyError::Character), "{key:?}");
        }
    }
}
