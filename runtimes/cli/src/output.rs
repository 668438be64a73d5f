//! The output of commands: JSON lines, or text that fits the terminal, with colours on a terminal only.
//!
//! INVARIANT: every text from the registry goes through [`escaped`], because a name can hold control sequences.

use std::fmt::{Arguments, Display};
use std::io::{self, BufWriter, Stdout, Write as _};

use console::{Style, Term, measure_text_width, truncate_str};
use epr_boot::stdio;
use epr_core::domain::Timestamp;
use epr_transfer::text::is_printable;
pub(crate) use epr_transfer::text::{count, escaped, invalid_sentence};
use serde::Serialize;

/// Standard output. It is buffered: call [`Output::flush`] at the end.
pub(crate) struct Output {
    /// Whether to print JSON.
    pub(crate) json: bool,
    /// The columns of the terminal; `None` without one: lines are complete then.
    width: Option<usize>,
    sink: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let set = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
        let measured = || Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        Self { json, width: set.or_else(measured), sink: BufWriter::new(io::stdout()) }
    }

    /// Whether a person reads standard output.
    pub(crate) fn is_terminal() -> bool {
        Term::stdout().is_term()
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: Arguments<'_>) -> io::Result<()> {
        self.sink.write_fmt(text)?;
        self.sink.write_all(b"\n")
    }

    /// One line, cut at the edge of the terminal.
    pub(crate) fn clipped_line(&mut self, text: &str) -> io::Result<()> {
        let text = match self.width {
            Some(width) => truncate_str(text, width, "…"),
            None => text.into(),
        };
        self.line(format_args!("{}", text.trim_end()))
    }

    /// A heading.
    pub(crate) fn heading(&mut self, text: &str) -> io::Result<()> {
        self.line(format_args!("{}", Style::new().bold().apply_to(text)))
    }

    /// One JSON object on a line.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut json = serde_json::Serializer::with_formatter(&mut self.sink, EscapingFormatter);
        value.serialize(&mut json)?;
        self.sink.write_all(b"\n")
    }

    /// Bytes as they are.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// `name  value` lines with aligned values; a value that does not fit continues on the next line.
    pub(crate) fn fields(&mut self, fields: &[(&str, String)]) -> io::Result<()> {
        let indent = fields.iter().map(|(name, _)| measure_text_width(name)).max().unwrap_or(0) + 2;
        self.fields_at(indent, fields)
    }

    /// Prints as [`fields`](Self::fields) does, with the values at column `indent`.
    pub(crate) fn fields_at(&mut self, indent: usize, fields: &[(&str, String)]) -> io::Result<()> {
        for (name, value) in fields {
            let room = self.width.map_or(usize::MAX, |width| width.saturating_sub(indent).max(20));
            let name = Style::new().dim().apply_to(format!("{name:<indent$}"));
            for (at, part) in wrapped(value, room).iter().enumerate() {
                if at == 0 {
                    self.line(format_args!("{name}{part}"))?;
                } else {
                    self.line(format_args!("{:indent$}{part}", ""))?;
                }
            }
        }
        Ok(())
    }

    /// Text, wrapped.
    pub(crate) fn paragraph(&mut self, text: &str) -> io::Result<()> {
        for line in wrapped(text, self.width.unwrap_or(usize::MAX)) {
            self.line(format_args!("{line}"))?;
        }
        Ok(())
    }

    /// Text in green.
    pub(crate) fn good(text: impl Display) -> String {
        Style::new().green().apply_to(text).to_string()
    }

    /// Text in red.
    pub(crate) fn bad(text: impl Display) -> String {
        Style::new().red().bold().apply_to(text).to_string()
    }

    /// Text in yellow.
    pub(crate) fn warning(text: impl Display) -> String {
        Style::new().yellow().apply_to(text).to_string()
    }
}

/// Prints a line beside the result, on standard error.
pub(crate) fn notice(text: &str) {
    stdio::complain(text);
}

/// `text` in lines of at most `width` columns, broken at spaces.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = lines.last_mut() else { continue };
        if last.is_empty() {
            last.push_str(word);
        } else if measure_text_width(last) + 1 + measure_text_width(word) <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// JSON in which every character that is not [`is_printable`] is an escape: the value is the same, and a terminal
/// executes nothing.
pub(crate) struct EscapingFormatter;

impl serde_json::ser::Formatter for EscapingFormatter {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c| !is_printable(c)) {
            let (before, from) = rest.split_at(at);
            writer.write_all(before.as_bytes())?;
            let mut after = from.chars();
            // All of them are below U+10000.
            if let Some(c) = after.next() {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = after.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    /// A part that is JSON already. Only its texts can hold such characters, apart from white space between values.
    fn write_raw_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        for part in fragment.split_inclusive(['\n', '\r', '\t']) {
            let text = part.trim_end_matches(['\n', '\r', '\t']);
            self.write_string_fragment(writer, text)?;
            writer.write_all(part.get(text.len()..).unwrap_or_default().as_bytes())?;
        }
        Ok(())
    }
}

/// A moment to the minute, for people.
pub(crate) fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} {} UTC", text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_json_has_the_same_value() {
        let text = "Zoë 株式会社 a\u{1b}[31m\n\u{7f}\u{9b}31m\u{85}\u{61c}\u{200f}\u{2028}\u{202e}\u{2066}z";
        let mut json = Vec::new();
        let value = serde_json::json!({"name": text, text: 1});
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, EscapingFormatter)).unwrap();
        let shown = String::from_utf8(json).unwrap();
        assert!(shown.chars().all(is_printable), "{shown:?}");
        assert!(shown.contains("Zoë 株式会社 a\\u001b[31m\\n\\u007f\\u009b31m\\u0085\\u061c"), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);

        let raw = serde_json::value::RawValue::from_string("{\"a\":\t[\"\u{202e}\u{9b}\"]\n}".to_owned()).unwrap();
        let mut json = Vec::new();
        raw.serialize(&mut serde_json::Serializer::with_formatter(&mut json, EscapingFormatter)).unwrap();
        assert_eq!(String::from_utf8(json).unwrap(), "{\"a\":\t[\"\\u202e\\u009b\"]\n}");
    }

    #[test]
    fn long_values_continue_on_the_next_line() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 4), ["unbreakable"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
