//! The texts that begin with a prefix, as a range of code points: an index on a text finds ranges.

/// Returns the smallest text that is greater than every text with this prefix; `None` when there is no such text.
///
/// Texts are compared by code point, which is the order of their bytes in UTF-8.
#[must_use]
pub(super) fn end_of_prefix(prefix: &str) -> Option<String> {
    let mut end = prefix.to_owned();
    while let Some(last) = end.pop() {
        if let Some(next) = next_char(last) {
            end.push(next);
            return Some(end);
        }
    }
    None
}

/// The character after `c`. Surrogates are no characters.
fn next_char(c: char) -> Option<char> {
    match c {
        char::MAX => None,
        '\u{d7ff}' => Some('\u{e000}'),
        _ => char::from_u32(u32::from(c) + 1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_range_contains_exactly_the_texts_with_the_prefix() {
        let pieces = ["", "a", "b", "az", "\u{7f}", "é", "\u{d7ff}", "\u{e000}", "\u{ffff}", "\u{10000}", "\u{10ffff}"];
        let mut texts = Vec::new();
        for first in pieces {
            for second in pieces {
                texts.extend(pieces.map(|third| format!("{first}{second}{third}")));
            }
        }
        for prefix in texts.iter().filter(|prefix| !prefix.is_empty()) {
            let end = end_of_prefix(prefix);
            for text in &texts {
                let in_range = text.as_bytes() >= prefix.as_bytes()
                    && end.as_ref().is_none_or(|end| text.as_bytes() < end.as_bytes());
                assert_eq!(in_range, text.starts_with(prefix.as_str()), "{prefix:?} {text:?} {end:?}");
            }
        }
        assert_eq!(end_of_prefix("\u{10ffff}\u{10ffff}"), None, "every greater text begins with it");
    }
}
