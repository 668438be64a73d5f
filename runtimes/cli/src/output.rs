//! What is printed: JSON lines or text that fits the terminal, colours only where somebody sees them.
//!
//! Every text that comes from the registry goes through [`visible`]: a name may hold what a terminal would obey.

use std::fmt::{Arguments, Display, Write as _};
use std::io::{self, BufWriter, Stdout, Write as _};

use console::{Style, Term, measure_text_width, truncate_str};
use epr_boot::stdio;
use epr_core::domain::fields::Step;
use epr_core::domain::{Invalid, Timestamp};
use serde::Serialize;

/// Standard output. Buffered; [`Output::flush`] at the end.
pub(crate) struct Output {
    /// Whether JSON is asked for.
    pub(crate) json: bool,
    /// How many columns there are; `None` when nobody looks and nothing is to be shortened.
    width: Option<usize>,
    sink: BufWriter<Stdout>,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        let told =
            std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok()).filter(|columns| *columns > 0);
        let seen = || Term::stdout().size_checked().map(|(_, columns)| usize::from(columns));
        Self { json, width: told.or_else(seen), sink: BufWriter::new(io::stdout()) }
    }

    /// One line of text.
    pub(crate) fn line(&mut self, text: Arguments<'_>) -> io::Result<()> {
        self.sink.write_fmt(text)?;
        self.sink.write_all(b"\n")
    }

    /// One line, cut at the edge of the terminal.
    pub(crate) fn fitted(&mut self, text: &str) -> io::Result<()> {
        let text = match self.width {
            Some(width) => truncate_str(text, width, "…"),
            None => text.into(),
        };
        self.line(format_args!("{}", text.trim_end()))
    }

    /// A heading over columns; none when no one is there to read it.
    pub(crate) fn heading(&mut self, text: &str) -> io::Result<()> {
        self.line(format_args!("{}", Style::new().bold().apply_to(text)))
    }

    /// One JSON object on a line.
    pub(crate) fn object(&mut self, value: &impl Serialize) -> io::Result<()> {
        let mut json = serde_json::Serializer::with_formatter(&mut self.sink, Harmless);
        value.serialize(&mut json)?;
        self.sink.write_all(b"\n")
    }

    /// Anything.
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sink.write_all(bytes)
    }

    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.sink.flush()
    }

    /// `name  value` lines, the values one below the other; a value that does not fit goes on in the next line.
    pub(crate) fn fields(&mut self, fields: &[(&str, String)]) -> io::Result<()> {
        let indent = fields.iter().map(|(name, _)| measure_text_width(name)).max().unwrap_or(0) + 2;
        self.fields_at(indent, fields)
    }

    /// The same with the values at a column of the caller's choosing.
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

    /// Text over as many lines as it needs.
    pub(crate) fn paragraph(&mut self, text: &str) -> io::Result<()> {
        for line in wrapped(text, self.width.unwrap_or(usize::MAX)) {
            self.line(format_args!("{line}"))?;
        }
        Ok(())
    }

    /// What is good, what is not, what deserves a look.
    pub(crate) fn good(text: impl Display) -> String {
        Style::new().green().apply_to(text).to_string()
    }

    pub(crate) fn bad(text: impl Display) -> String {
        Style::new().red().bold().apply_to(text).to_string()
    }

    pub(crate) fn doubtful(text: impl Display) -> String {
        Style::new().yellow().apply_to(text).to_string()
    }
}

/// A remark beside the result, on standard error.
pub(crate) fn remark(text: &str) {
    stdio::complain(text);
}

/// `text` in lines of at most `room` columns, broken at spaces.
fn wrapped(text: &str, room: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let Some(last) = lines.last_mut() else { continue };
        if last.is_empty() {
            last.push_str(word);
        } else if measure_text_width(last) + 1 + measure_text_width(word) <= room {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// `text` with what a terminal would obey (control characters, marks that turn the direction of writing) written out.
pub(crate) fn visible(text: &str) -> String {
    if text.chars().all(harmless) {
        return text.to_owned();
    }
    text.chars().fold(String::with_capacity(text.len()), |mut shown, c| {
        if harmless(c) {
            shown.push(c);
        } else {
            let _ = write!(shown, "{}", c.escape_default());
        }
        shown
    })
}

/// Whether a terminal shows the character and does nothing else: no control character (C0, DEL, C1), no mark that turns the
/// direction of writing.
fn harmless(c: char) -> bool {
    let turns = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !c.is_control() && !turns
}

/// JSON in which every character that is not [`harmless`] is an escape: it means the same, and a terminal cannot obey it.
pub(crate) struct Harmless;

impl serde_json::ser::Formatter for Harmless {
    fn write_string_fragment<W: ?Sized + io::Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(|c| !harmless(c)) {
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
}

/// A moment to the minute, for people.
pub(crate) fn minute(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{} {} UTC", text.get(..10).unwrap_or_default(), text.get(11..16).unwrap_or_default())
}

/// `1 role`, `2 roles`.
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Every failing field in one sentence.
pub(crate) fn faults(invalid: &Invalid) -> String {
    let told: Vec<_> = invalid
        .0
        .iter()
        .map(|fault| {
            let mut steps = fault.loc.iter().skip(1).map(|step| match step {
                Step::Name(name) => name.to_string(),
                Step::Index(at) => at.to_string(),
            });
            let place = steps.by_ref().collect::<Vec<_>>().join(".");
            if place.is_empty() { fault.msg.clone() } else { format!("{place}: {}", fault.msg) }
        })
        .collect();
    told.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(visible("Zoë & Söhne 株式会社"), "Zoë & Söhne 株式会社");
        assert_eq!(visible("a\u{1b}[31mred\n\u{9b}x\u{202e}"), "a\\u{1b}[31mred\\n\\u{9b}x\\u{202e}");
    }

    #[test]
    fn json_means_the_same_and_commands_no_terminal() {
        let text = "Zoë 株式会社 a\u{1b}[31m\n\u{7f}\u{9b}31m\u{85}\u{61c}\u{200f}\u{2028}\u{202e}\u{2066}z";
        let mut json = Vec::new();
        let value = serde_json::json!({"name": text, text: 1});
        value.serialize(&mut serde_json::Serializer::with_formatter(&mut json, Harmless)).unwrap();
        let shown = String::from_utf8(json).unwrap();
        assert!(shown.chars().all(harmless), "{shown:?}");
        assert!(shown.contains("Zoë 株式会社 a\\u001b[31m\\n\\u007f\\u009b31m\\u0085\\u061c"), "{shown}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&shown).unwrap(), value);
    }

    #[test]
    fn long_values_go_on_in_the_next_line() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("unbreakable", 4), ["unbreakable"]);
        assert_eq!(wrapped("", 4), [""]);
    }
}
