//! The `.env` file: lines of `NAME=value`, taken as they stand.
//!
//! Own code, because the libraries expand `$` in values, and a password may hold one.

use std::collections::BTreeMap;

/// Reads the file's text; the error is the number of the first line that is not of the form.
///
/// A value may be quoted with `'` (taken as it stands) or `"` (in which `\\"`, `\\\\` and `\\n` are escapes). Outside of
/// quotes, ` #` begins a comment. A line may begin with `export`.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut values = BTreeMap::new();
    for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (name, value) = line.split_once('=').ok_or(at + 1)?;
        let name = name.trim();
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') {
            return Err(at + 1);
        }
        values.insert(name.to_owned(), unquoted(value.trim()));
    }
    Ok(values)
}

fn unquoted(value: &str) -> String {
    quoted(value).unwrap_or_else(|| {
        let end = value.find(" #").unwrap_or(value.len());
        value.get(..end).unwrap_or_default().trim_end().to_owned()
    })
}

/// What stands in quotes. `None` when there are none, or when something other than a comment follows them.
fn quoted(value: &str) -> Option<String> {
    let mut letters = value.chars();
    let quote = letters.next().filter(|first| matches!(first, '\'' | '"'))?;
    let mut text = String::new();
    // A quote of the same kind inside `'` is part of the value: the last one before a comment ends it.
    if quote == '\'' {
        let whole = letters.as_str();
        let end = whole.char_indices().filter(|(_, letter)| *letter == quote).map(|(at, _)| whole.split_at(at));
        let mut ends = end.filter(|(_, rest)| ends_value(rest.get(1..).unwrap_or_default()));
        return ends.next().map(|(inside, _)| inside.to_owned());
    }
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

/// Whether nothing follows, or a comment.
fn ends_value(rest: &str) -> bool {
    let after = rest.trim_start();
    after.is_empty() || (after.len() < rest.len() && after.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_they_stand() {
        let read = read(
            "# comment\n\nA=pa$sword#1\nexport B = x, y # why\nC='it''s $5 # no comment'\nD=\"a \\\"b\\\"\"\nE=\nF=[\"a:b\",\"c:d\"]\r\n",
        )
        .unwrap();
        let expected = [
            ("A", "pa$sword#1"),
            ("B", "x, y"),
            ("C", "it''s $5 # no comment"),
            ("D", "a \"b\""),
            ("E", ""),
            ("F", "[\"a:b\",\"c:d\"]"),
        ];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn a_quoted_value_ends_at_its_quote() {
        let cases = [
            (r#"A="value" # note"#, "value"),
            (r#"A="value"   # it's "so""#, "value"),
            ("A='value' # note", "value"),
            (r#"A="a # b" # c"#, "a # b"),
            (r#"A="a \" # b""#, "a \" # b"),
            (r#"A="a\\n""#, "a\\n"),
            (r#"A="" # empty"#, ""),
            (r#"A="a" b"#, r#""a" b"#),
        ];
        for (line, expected) in cases {
            assert_eq!(read(line).unwrap()["A"], expected, "{line}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        assert_eq!(read("A=1\nnonsense\n"), Err(2));
        assert_eq!(read("A B=1\n"), Err(1));
    }
}
