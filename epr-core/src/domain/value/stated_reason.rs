//! Why a change was made, in the words of the person who made it.
//!
//! Owns the bounds of a reason and its form in a header. Must never interpret one.

use std::fmt;
use std::str::FromStr;

/// The most characters of a reason.
pub const MAX_CHARS: usize = 512;

/// The beginning of a value in the extended form of RFC 8187, whose rest is percent-encoded UTF-8.
const EXTENDED: &str = "UTF-8''";

/// Why a change was made: 1 to [`MAX_CHARS`] characters, none of them a control character. White space at its ends is
/// not part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedReason(String);

/// The problem of a text that is no reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StatedReasonError {
    /// The text is empty, or white space.
    #[error("String should have at least 1 character that is not white space")]
    Empty,
    /// The text has more than [`MAX_CHARS`] characters.
    #[error("String should have at most {MAX_CHARS} characters; this one has {chars}")]
    TooLong {
        /// The characters of the text.
        chars: usize,
    },
    /// The text has a control character, for example a line end.
    #[error("String should not contain control characters")]
    Control,
    /// The bytes of a header are not UTF-8, or its percent-encoding is not valid.
    #[error("Input should be UTF-8, or {EXTENDED} and percent-encoded UTF-8")]
    NotUtf8,
}

impl StatedReasonError {
    /// The kind of the error, for programs: a stable word.
    #[must_use]
    pub fn kind(self) -> &'static str {
        match self {
            Self::Empty => "string_too_short",
            Self::TooLong { .. } => "string_too_long",
            Self::Control => "string_characters",
            Self::NotUtf8 => "string_unicode",
        }
    }
}

impl StatedReason {
    /// Checks the bounds of `text`.
    ///
    /// # Errors
    /// Empty, too long, or a control character in it.
    pub fn new(text: &str) -> Result<Self, StatedReasonError> {
        let text = text.trim_matches(' ');
        let chars = text.chars().count();
        if text.chars().any(char::is_control) {
            Err(StatedReasonError::Control)
        } else if text.chars().all(char::is_whitespace) {
            Err(StatedReasonError::Empty)
        } else if chars > MAX_CHARS {
            Err(StatedReasonError::TooLong { chars })
        } else {
            Ok(Self(text.to_owned()))
        }
    }

    /// Reads the value of a header: the bytes of UTF-8, or, for callers that cannot send those, `UTF-8''` and
    /// percent-encoded UTF-8 (the extended form of RFC 8187).
    ///
    /// ```
    /// use epr_core::domain::StatedReason;
    ///
    /// let plain = StatedReason::from_header("Prüfung 2026".as_bytes())?;
    /// assert_eq!(plain, StatedReason::from_header(b"UTF-8''Pr%C3%BCfung%202026")?);
    /// # Ok::<_, epr_core::domain::stated_reason::StatedReasonError>(())
    /// ```
    ///
    /// # Errors
    /// The bytes are not UTF-8 in one of these forms, or the text is no reason.
    pub fn from_header(value: &[u8]) -> Result<Self, StatedReasonError> {
        let text = std::str::from_utf8(value).map_err(|_| StatedReasonError::NotUtf8)?;
        match text.split_at_checked(EXTENDED.len()) {
            Some((charset, encoded)) if charset.eq_ignore_ascii_case(EXTENDED) => Self::new(&decode(encoded)?),
            _ => Self::new(text),
        }
    }

    /// The text itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text whose percent-encoding is `encoded`.
fn decode(encoded: &str) -> Result<String, StatedReasonError> {
    let mut bytes = Vec::with_capacity(encoded.len());
    let mut rest = encoded.bytes();
    while let Some(byte) = rest.next() {
        let decoded = if byte == b'%' {
            let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
            digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok())
        } else {
            Some(byte)
        };
        bytes.push(decoded.ok_or(StatedReasonError::NotUtf8)?);
    }
    String::from_utf8(bytes).map_err(|_| StatedReasonError::NotUtf8)
}

impl FromStr for StatedReason {
    type Err = StatedReasonError;

    fn from_str(text: &str) -> Result<Self, StatedReasonError> {
        Self::new(text)
    }
}

impl fmt::Display for StatedReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_has_bounds() {
        assert_eq!(StatedReason::new("  ticket 4711 ").unwrap().as_str(), "ticket 4711");
        assert!(StatedReason::new(&"ä".repeat(512)).is_ok());
        assert_eq!(StatedReason::new(&"ä".repeat(513)), Err(StatedReasonError::TooLong { chars: 513 }));
        for empty in ["", " ", "\u{a0}\u{2003}"] {
            assert_eq!(StatedReason::new(empty), Err(StatedReasonError::Empty), "{empty:?}");
        }
        for control in ["a\nb", "a\0", "\u{7f}a", "a\u{85}b", "a\tb", "\t", "a\n"] {
            assert_eq!(StatedReason::new(control), Err(StatedReasonError::Control), "{control:?}");
        }
    }

    #[test]
    fn a_header_holds_utf8_or_the_extended_form() {
        let read = |value: &[u8]| StatedReason::from_header(value).map(|reason| reason.0);
        assert_eq!(read("Prüfung".as_bytes()), Ok("Prüfung".into()));
        assert_eq!(read(b"utf-8''%e2%82%ac%2050"), Ok("€ 50".into()));
        assert_eq!(read(b"100% sure"), Ok("100% sure".into()), "only the extended form is decoded");
        let wrong = [&b"Pr\xfcfung"[..], b"UTF-8''%", b"UTF-8''%e", b"UTF-8''%zz", b"UTF-8''%ff", b"UTF-8''%+1"];
        for wrong in wrong {
            assert_eq!(read(wrong), Err(StatedReasonError::NotUtf8), "{wrong:?}");
        }
        assert_eq!(read(b"UTF-8''%0A"), Err(StatedReasonError::Control));
        assert_eq!(read(b"UTF-8''"), Err(StatedReasonError::Empty));
    }
}
