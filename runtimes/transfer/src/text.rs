//! Text of the registry in plans: what a terminal could execute is escaped.

use std::fmt::Write as _;

use epr_core::domain::condition::Condition;
use epr_core::domain::{EntityType, Invalid};

/// `text` with an escape for every character that is not [`is_printable`].
#[must_use]
pub fn escaped(text: &str) -> String {
    if text.chars().all(is_printable) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if is_printable(c) {
            shown.push(c);
        } else {
            let _ = write!(shown, "{}", c.escape_default());
        }
        shown
    })
}

/// Whether a terminal only displays the character: no control character (C0, DEL, C1), no mark that changes the
/// direction of writing.
#[must_use]
pub fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// `1 role`, `2 roles`.
#[must_use]
pub fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Every failing field in one sentence.
#[must_use]
pub fn invalid_sentence(invalid: &Invalid) -> String {
    let sentences: Vec<_> = invalid
        .0
        .iter()
        .map(|error| {
            let path = error.path();
            if path.is_empty() { error.msg.clone() } else { format!("{path}: {}", error.msg) }
        })
        .collect();
    sentences.join("; ")
}

/// An entity by its type and name: `spv:Berlin One`.
#[must_use]
pub fn entity_label(entity_type: &EntityType, name: &str) -> String {
    format!("{entity_type}:{}", escaped(name))
}

/// The condition in one line: the expression, and the types of its parameters.
#[must_use]
pub fn condition_line(condition: &Condition) -> String {
    let declared: Vec<_> =
        condition.parameters.iter().map(|(name, kind)| format!("{}: {}", escaped(name), kind)).collect();
    let declared = if declared.is_empty() { String::new() } else { format!("  ({})", declared.join(", ")) };
    format!("{}{declared}", escaped(&condition.expression))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        assert_eq!(escaped("Zoë & Söhne 株式会社"), "Zoë & Söhne 株式会社");
        assert_eq!(escaped("a\u{1b}[31mred\n\u{9b}x\u{202e}"), "a\\u{1b}[31mred\\n\\u{9b}x\\u{202e}");
    }
}
