//! Text that is also an attribute of a message: a character that a topic cannot carry is rejected when it arrives.
//!
//! Owns the set of characters that a topic carries. Must be no stricter than SNS: its messages may consist of U+0009,
//! U+000A, U+000D, U+0020 to U+D7FF, U+E000 to U+FFFD and U+10000 to U+10FFFF.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::json::Json;
use super::text::{Text, TextError};
use crate::domain::input::fields::{self, Problem, Reading};

const MIN: usize = 3;
const MAX: usize = 128;

/// The complement of the characters that [`is_carried`] refuses and that JSON text can contain.
const PATTERN: &str = "^[^\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\ufffe\\uffff]*$";

/// Text of 3 to 128 characters that a topic carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicText(Text<MIN, MAX>);

/// The problem of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicTextError {
    /// The text is too short or too long.
    #[error(transparent)]
    Text(#[from] TextError),
    /// A character that a topic does not carry.
    #[error(
        "String should not contain U+{:04X}, which a topic cannot carry: no control characters but tab, line feed \
         and carriage return, and neither U+FFFE nor U+FFFF",
        u32::from(*.0)
    )]
    Character(char),
}

/// Whether a topic carries this character.
#[must_use]
pub fn is_carried(c: char) -> bool {
    matches!(c, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

impl TopicText {
    /// Checks the bounds and the characters of `text`.
    ///
    /// # Errors
    /// Too short, too long, or a character that a topic does not carry.
    pub fn new(text: impl Into<String>) -> Result<Self, TopicTextError> {
        let text = Text::new(text)?;
        match text.as_str().chars().find(|c| !is_carried(*c)) {
            Some(refused) => Err(TopicTextError::Character(refused)),
            None => Ok(Self(text)),
        }
    }

    /// Reads a field.
    pub(in crate::domain) fn read(value: &Json) -> Reading<Self> {
        let text: Text<MIN, MAX> = fields::text(value)?;
        Self::new(text.into_string()).map_err(|error| vec![Problem::new("string_characters", error.to_string())])
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Returns the text.
    #[must_use]
    pub fn into_string(self) -> String {
        self.0.into_string()
    }
}

impl TryFrom<&str> for TopicText {
    type Error = TopicTextError;

    fn try_from(text: &str) -> Result<Self, TopicTextError> {
        Self::new(text)
    }
}

impl FromStr for TopicText {
    type Err = TopicTextError;

    fn from_str(text: &str) -> Result<Self, TopicTextError> {
        Self::new(text)
    }
}

impl fmt::Display for TopicText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl PartialSchema for TopicText {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String).min_length(Some(MIN)).max_length(Some(MAX));
        text.pattern(Some(PATTERN)).into()
    }
}

impl ToSchema for TopicText {}

/// JSON text in which every character that a topic does not carry is an escape. Such characters occur in strings only:
/// JSON has none between them, and those below U+0020 are escapes already.
#[must_use]
pub fn carried_json(json: String) -> String {
    if json.chars().all(is_carried) {
        return json;
    }
    json.chars().fold(String::with_capacity(json.len() + 16), |mut text, c| {
        if is_carried(c) {
            text.push(c);
        } else {
            // Writing into a string does not fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_a_topic_carries_and_names_what_it_does_not() {
        for carried in
            ["a.b", "a\tb\nc\rd", "a\u{7f}\u{80}b", "a\u{d7ff}\u{e000}\u{fffd}", "a\u{10000}\u{10ffff}", "a\u{fdd0}b"]
        {
            assert!(TopicText::new(carried).is_ok(), "{carried:?}");
        }
        for refused in ['\u{1}', '\u{8}', '\u{b}', '\u{c}', '\u{e}', '\u{1b}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
            let error = TopicText::new(format!("ab{refused}c")).unwrap_err();
            assert_eq!(error, TopicTextError::Character(refused));
            assert!(error.to_string().contains(&format!("U+{:04X},", u32::from(refused))), "{error}");
        }
        assert_eq!(TopicText::new("ab"), Err(TopicTextError::Text(TextError::TooShort { min: 3 })));
        assert_eq!(TopicText::new("ab\0"), Err(TopicTextError::Text(TextError::Nul)));
    }

    #[test]
    fn json_keeps_its_meaning() {
        assert_eq!(carried_json("{\"a\":\"é\"}".into()), "{\"a\":\"é\"}");
        assert_eq!(carried_json("{\"a\u{ffff}\":\"\u{fffe}é\"}".into()), "{\"a\\uffff\":\"\\ufffeé\"}");
    }
}
