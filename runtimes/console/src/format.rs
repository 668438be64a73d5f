//! Values as pages show them.
//!
//! Must never change what a value says: what cannot be seen gets a picture.

use std::fmt::Write as _;

use epr_core::domain::Timestamp;

/// A time for people: `2026-11-01 12:00:00 UTC`, with a fraction only if it has one.
pub(crate) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    let (day, clock) = (text.get(..10).unwrap_or_default(), text.get(11..19).unwrap_or_default());
    let fraction = text.get(19..26).unwrap_or_default().trim_end_matches('0').trim_end_matches('.');
    format!("{day} {clock}{fraction} UTC")
}

/// Bytes in hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Text of others, in which control characters have a picture (`␛`), so that they are seen and do nothing.
pub(crate) fn visible(text: &str) -> String {
    text.chars().map(visible_char).collect()
}

/// [`visible`], with line ends as they are.
pub(crate) fn visible_lines(text: &str) -> String {
    text.chars().map(|char| if char == '\n' { char } else { visible_char(char) }).collect()
}

fn visible_char(char: char) -> char {
    match char {
        '\0'..='\u{1f}' => char::from_u32(0x2400 + u32::from(char)).unwrap_or('\u{fffd}'),
        '\u{7f}' => '\u{2421}',
        '\u{80}'..='\u{9f}' => '\u{fffd}',
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_seen() {
        assert_eq!(visible("a\u{1b}[31m\u{7f}\u{9b}ü😀"), "a␛[31m␡\u{fffd}ü😀");
        assert_eq!(visible_lines("a\nb\r"), "a\nb␍");
    }

    #[test]
    fn a_time_has_a_fraction_only_if_it_has_one() {
        let shown = |text| time(Timestamp::parse(text).unwrap());
        assert_eq!(shown("2026-11-01T12:00:00Z"), "2026-11-01 12:00:00 UTC");
        assert_eq!(shown("2026-11-01T12:00:00.250Z"), "2026-11-01 12:00:00.25 UTC");
    }
}
