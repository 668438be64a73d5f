//! The `.env` file: lines of `NAME=value`. docs/SETTINGS.md has the grammar, `tests/vectors/dot_env.json` its cases.
//!
//! Hand-written, because the libraries expand `$` in values, and a password may hold one. scripts/deploy-settings.sh
//! reads the same grammar.

use std::collections::BTreeMap;

/// Reads the text of the file in one pass; the last value of a name wins.
///
/// # Errors
/// The number of the first line that is not of the form `NAME=value`.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut values = BTreeMap::new();
    for (number, line) in (1..).zip(text.trim_start_matches('\u{feff}').lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(number)?;
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(number);
        }
        values.insert(name.to_owned(), quoted(value.trim()).unwrap_or_else(|| unquoted(value)));
    }
    Ok(values)
}

/// The value up to a comment.
fn unquoted(value: &str) -> String {
    let end = value.find(" #").unwrap_or(value.len());
    value.get(..end).unwrap_or_default().trim().to_owned()
}

/// The text between quotes. `None` when there are none, or when anything but a comment follows them.
fn quoted(value: &str) -> Option<String> {
    match value.chars().next()? {
        '\'' => single_quoted(value.get(1..)?),
        '"' => double_quoted(value.get(1..)?),
        _ => None,
    }
}

/// Literal text. A quote that neither ends the value nor precedes a comment is part of it.
fn single_quoted(value: &str) -> Option<String> {
    let quotes = value.match_indices('\'').map(|(at, _)| value.split_at(at));
    let mut ends = quotes.filter(|(_, rest)| ends_value(rest.get(1..).unwrap_or_default()));
    ends.next().map(|(inside, _)| inside.to_owned())
}

/// Text with the escapes `\n`, `\"` and `\\`, read from left to right. Any other backslash is literal.
fn double_quoted(value: &str) -> Option<String> {
    let mut letters = value.chars();
    let mut text = String::new();
    while let Some(letter) = letters.next() {
        match letter {
            '"' => return ends_value(letters.as_str()).then_some(text),
            '\\' => match letters.next() {
                Some('n') => text.push('\n'),
                Some(escaped @ ('"' | '\\')) => text.push(escaped),
                other => {
                    text.push('\\');
                    text.extend(other);
                }
            },
            other => text.push(other),
        }
    }
    None
}

/// Whether the text after the closing quote is empty or a comment.
fn ends_value(rest: &str) -> bool {
    let after = rest.trim_start();
    after.is_empty() || (after.len() < rest.len() && after.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Case {
        #[serde(rename = "case")]
        name: String,
        file: String,
        value: Option<String>,
        error_line: Option<usize>,
    }

    #[test]
    fn every_case_of_the_grammar_is_read() {
        let cases: Vec<Case> =
            serde_json::from_str(include_str!("../../../tests/vectors/dot_env.json")).expect("the cases");
        for Case { name, file, value, error_line } in cases {
            match (read(&file), error_line) {
                (Err(line), expected) => assert_eq!(Some(line), expected, "{name}"),
                (Ok(values), None) => {
                    let read = values.get("EPR_A").filter(|value| !value.is_empty());
                    assert_eq!(read, value.as_ref(), "{name}");
                }
                (Ok(_), Some(line)) => panic!("{name}: line {line} is no error"),
            }
        }
    }
}
