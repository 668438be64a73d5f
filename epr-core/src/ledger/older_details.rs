//! Recovers the hashed text of details that an older implementation stored in another form.
//!
//! Owns the reading of JSON as that implementation (Python) reads it: integers of any size, any depth, the last of two
//! members with one name. Pure. Must never be used for new input, which has bounds (`domain::Json`).

use super::number;
use crate::domain::json::number_length;

/// The deepest nesting that is accepted, in levels. Python's own reader accepts about a thousand.
const MAX_DEPTH: usize = 10_000;
/// The largest number of ambiguous numbers for which every combination of readings is tried. With more of them, all are
/// read alike.
const MAX_AMBIGUOUS: usize = 10;

/// The text that was hashed.
#[derive(Debug, PartialEq, Eq)]
pub struct Hashed {
    /// The canonical text.
    pub details: String,
    /// Whether a number is in the form of an earlier version of this program.
    pub former_numbers: bool,
}

/// Returns the canonical text of `stored` for which `has_the_hash` is true; `None` when there is none.
///
/// `jsonb` writes a large double as an integer and drops the sign of zero: such numbers are ambiguous and have two
/// readings.
///
/// # Errors
/// `stored` is not a JSON object that can be kept: the sentence says why.
pub fn find(stored: &str, has_the_hash: impl Fn(&str) -> bool) -> Result<Option<Hashed>, String> {
    let mut reader = Reader { rest: stored };
    let pieces = reader.document()?;
    let ambiguous = pieces.0.iter().filter(|piece| matches!(piece, Piece::Either(..))).count();
    let all: Vec<u32> = match ambiguous {
        0 => vec![0],
        1..=MAX_AMBIGUOUS => (0..1 << ambiguous).collect(),
        _ => vec![0, u32::MAX],
    };
    for choices in all {
        let details = pieces.render(choices);
        if has_the_hash(&details) {
            return Ok(Some(Hashed { details, former_numbers: false }));
        }
        if let Some(details) = number::former(&details).filter(|former| has_the_hash(former)) {
            return Ok(Some(Hashed { details, former_numbers: true }));
        }
    }
    Ok(None)
}

/// Part of a canonical text.
enum Piece {
    Text(String),
    /// A number with two possible readings.
    Either(String, String),
}

#[derive(Default)]
struct Pieces(Vec<Piece>);

impl Pieces {
    fn text(text: impl Into<String>) -> Self {
        Self(vec![Piece::Text(text.into())])
    }

    fn push(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.0.push(Piece::Text(text.to_owned())),
        }
    }

    fn append(&mut self, other: Self) {
        for piece in other.0 {
            match piece {
                Piece::Text(text) => self.push(&text),
                either @ Piece::Either(..) => self.0.push(either),
            }
        }
    }

    /// The text with the second form of every number whose bit is set in `choices`; numbers after the 32nd go with the
    /// last bit.
    fn render(&self, choices: u32) -> String {
        let mut out = String::new();
        let mut at = 0;
        for piece in &self.0 {
            out.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Either(first, second) => {
                    at += 1;
                    if choices >> (at - 1).min(31) & 1 == 0 { first } else { second }
                }
            });
        }
        out
    }
}

/// A list or an object that is being read.
enum Frame {
    List(Pieces),
    /// Names as code points, by which they are sorted.
    Object(Vec<(Vec<u32>, Pieces)>),
}

impl Frame {
    fn put(&mut self, value: Pieces) {
        match self {
            Self::List(items) => items.append(value),
            Self::Object(members) => {
                if let Some((_, last)) = members.last_mut() {
                    *last = value;
                }
            }
        }
    }

    fn close(self) -> Pieces {
        match self {
            Self::List(mut items) => {
                items.push("]");
                items
            }
            Self::Object(mut members) => {
                // Stable: of members with one name the last one stays.
                members.sort_by(|(one, _), (other, _)| one.cmp(other));
                let mut out = Pieces::text("{");
                let mut members = members.into_iter().peekable();
                let mut first = true;
                while let Some((name, value)) = members.next() {
                    if members.peek().is_some_and(|(next, _)| *next == name) {
                        continue;
                    }
                    if !first {
                        out.push(",");
                    }
                    first = false;
                    out.push(&literal(&name));
                    out.push(":");
                    out.append(value);
                }
                out.push("}");
                out
            }
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn document(&mut self) -> Result<Pieces, String> {
        let mut open: Vec<Frame> = Vec::new();
        self.space();
        if !self.rest.starts_with('{') {
            return Err("is no JSON object".into());
        }
        loop {
            let Some(mut value) = self.value(&mut open)? else { continue };
            loop {
                let Some(frame) = open.last_mut() else {
                    self.space();
                    return if self.rest.is_empty() { Ok(value) } else { Err(self.unexpected()) };
                };
                frame.put(value);
                self.space();
                match (self.rest.bytes().next(), frame) {
                    (Some(b','), Frame::List(items)) => {
                        self.skip();
                        items.push(",");
                        break;
                    }
                    (Some(b','), Frame::Object(members)) => {
                        self.skip();
                        let name = self.name()?;
                        members.push((name, Pieces::default()));
                        break;
                    }
                    (Some(b']'), Frame::List(_)) | (Some(b'}'), Frame::Object(_)) => self.skip(),
                    _ => return Err(self.unexpected()),
                }
                value = open.pop().map(Frame::close).unwrap_or_default();
            }
        }
    }

    /// Reads a whole value; `None` when it opened a list or an object.
    fn value(&mut self, open: &mut Vec<Frame>) -> Result<Option<Pieces>, String> {
        self.space();
        match self.rest.bytes().next() {
            Some(first @ (b'{' | b'[')) => {
                self.skip();
                self.space();
                let (end, empty) = if first == b'{' { ('}', "{}") } else { (']', "[]") };
                if let Some(rest) = self.rest.strip_prefix(end) {
                    self.rest = rest;
                    return Ok(Some(Pieces::text(empty)));
                }
                if open.len() == MAX_DEPTH {
                    return Err(format!("is nested deeper than {MAX_DEPTH} levels"));
                }
                open.push(if first == b'{' {
                    Frame::Object(vec![(self.name()?, Pieces::default())])
                } else {
                    Frame::List(Pieces::text("["))
                });
                Ok(None)
            }
            Some(b'"') => self.string().map(|text| Some(Pieces::text(literal(&text)))),
            Some(b'-' | b'0'..=b'9') => self.number().map(|number| Some(Pieces(vec![number]))),
            _ => {
                let word = ["null", "true", "false"].into_iter().find(|word| self.rest.starts_with(word));
                let word = word.ok_or_else(|| self.unexpected())?;
                self.rest = self.rest.get(word.len()..).unwrap_or_default();
                Ok(Some(Pieces::text(word)))
            }
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    fn skip(&mut self) {
        self.rest = self.rest.get(1..).unwrap_or_default();
    }

    fn unexpected(&self) -> String {
        match self.rest.chars().next() {
            None => "ends before its JSON does".into(),
            Some(_) if self.rest.starts_with(['N', 'I']) || self.rest.starts_with("-I") => {
                "holds a number that JSON does not have (NaN or Infinity)".into()
            }
            Some(_) => "is not JSON".into(),
        }
    }

    fn name(&mut self) -> Result<Vec<u32>, String> {
        self.space();
        let name = self.string()?;
        self.space();
        self.rest = self.rest.strip_prefix(':').ok_or_else(|| self.unexpected())?;
        Ok(name)
    }

    fn number(&mut self) -> Result<Piece, String> {
        if self.rest.starts_with("-I") {
            return Err(self.unexpected());
        }
        let (token, rest) = self.rest.split_at(number_length(self.rest.as_bytes()));
        let read: f64 = token.parse().map_err(|_| "holds what is no number".to_owned())?;
        self.rest = rest;
        let mut double = String::new();
        if read.is_finite() {
            number::write(read, &mut double);
        }
        if token.contains(['.', 'e', 'E']) {
            return match double.as_str() {
                "" => Err("holds a number beyond the range of a double".into()),
                "0.0" => Ok(Piece::Either(double, "-0.0".into())),
                _ => Ok(Piece::Text(double)),
            };
        }
        let integer = if token == "-0" { "0" } else { token };
        if token.len() >= 17 && plain_integer(&double).as_deref() == Some(token) {
            return Ok(Piece::Either(integer.into(), double));
        }
        Ok(Piece::Text(integer.into()))
    }

    /// Reads a string literal as code points. A lone half of a surrogate pair is a code point, too.
    fn string(&mut self) -> Result<Vec<u32>, String> {
        let mut chars = self.rest.strip_prefix('"').ok_or_else(|| self.unexpected())?.chars();
        let mut text: Vec<u32> = Vec::new();
        loop {
            let Some(c) = chars.next() else { return Err("ends within a text".into()) };
            let unit = match c {
                '"' => break,
                '\\' => match chars.next() {
                    Some(short @ ('"' | '\\' | '/')) => short.into(),
                    Some('b') => 8,
                    Some('f') => 12,
                    Some('n') => 10,
                    Some('r') => 13,
                    Some('t') => 9,
                    Some('u') => {
                        let digits: String = chars.by_ref().take(4).collect();
                        let whole = digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_hexdigit());
                        let unit = u32::from_str_radix(&digits, 16).ok().filter(|_| whole);
                        unit.ok_or_else(|| "holds an escape that JSON does not have".to_owned())?
                    }
                    _ => return Err("holds an escape that JSON does not have".into()),
                },
                c => c.into(),
            };
            // The second half of a pair joins the first one.
            match text.last_mut() {
                Some(first) if (0xd800..0xdc00).contains(first) && (0xdc00..0xe000).contains(&unit) => {
                    *first = 0x1_0000 + ((*first - 0xd800) << 10) + (unit - 0xdc00);
                }
                _ => text.push(unit),
            }
        }
        self.rest = chars.as_str();
        Ok(text)
    }
}

/// The digits of a double in exponent form, as `jsonb` writes it: `1.5e+300` is a 15 with 299 zeros.
fn plain_integer(double: &str) -> Option<String> {
    let (mantissa, exponent) = double.split_once("e+")?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let zeros = exponent.parse::<usize>().ok()?.checked_sub(fraction.len())?;
    Some(format!("{whole}{fraction}{}", "0".repeat(zeros)))
}

/// The canonical literal of a text.
fn literal(text: &[u32]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for unit in text {
        let _ = match (*unit, char::from_u32(*unit)) {
            (_, Some(c @ ('"' | '\\'))) => write!(out, "\\{c}"),
            (_, Some(c @ ' '..='~')) => write!(out, "{c}"),
            (8, _) => write!(out, "\\b"),
            (9, _) => write!(out, "\\t"),
            (10, _) => write!(out, "\\n"),
            (12, _) => write!(out, "\\f"),
            (13, _) => write!(out, "\\r"),
            (unit @ 0x1_0000.., _) => {
                let offset = unit - 0x1_0000;
                write!(out, "\\u{:04x}\\u{:04x}", 0xd800 + (offset >> 10), 0xdc00 + (offset & 0x3ff))
            }
            (unit, _) => write!(out, "\\u{unit:04x}"),
        };
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Json;
    use crate::ledger::canonical::text_of;

    /// The first reading of `stored`.
    fn canonical(stored: &str) -> Result<String, String> {
        find(stored, |_| true).map(|found| found.unwrap().details)
    }

    #[test]
    fn valid_new_input_keeps_its_canonical_text() {
        let vectors: serde_json::Value =
            serde_json::from_str(include_str!("../../../tests/vectors/audit_chain_v1.json")).unwrap();
        for entry in vectors["entries"].as_array().unwrap() {
            let stored = entry["input"]["details"].to_string();
            let Ok(details) = Json::parse(stored.as_bytes()) else { continue };
            assert_eq!(canonical(&stored), Ok(text_of(&details)), "{stored}");
        }
    }

    #[test]
    fn numbers_of_any_size_and_any_depth_are_kept() {
        for (stored, expected) in [
            (
                r#"{"b" : 123456789012345678901234567890 , "a":-9223372036854775809}"#,
                r#"{"a":-9223372036854775809,"b":123456789012345678901234567890}"#,
            ),
            (r#"{"a":1,"a":2}"#, r#"{"a":2}"#),
            (r#"{"x":-0,"y":[1e2,1E-7,[],{}]}"#, r#"{"x":0,"y":[100.0,1e-07,[],{}]}"#),
            (r#"{"é":"\ud83d\ude00\ud800\/"}"#, r#"{"\u00e9":"\ud83d\ude00\ud800/"}"#),
            (r#"{"\uffff":1,"😀":2}"#, r#"{"\uffff":1,"\ud83d\ude00":2}"#),
        ] {
            assert_eq!(canonical(stored).as_deref(), Ok(expected));
        }
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(5000), "]".repeat(5000));
        assert_eq!(canonical(&deep), Ok(deep));
        for stored in [
            "",
            "[]",
            "{",
            r#"{"a":NaN}"#,
            r#"{"a":-Infinity}"#,
            r#"{"a":1e999}"#,
            r#"{"a":1}x"#,
            r#"{"a" 1}"#,
            r#"{"a":"\x"}"#,
            r#"{"a":1,}"#,
        ] {
            assert!(canonical(stored).is_err(), "{stored}");
        }
    }

    #[test]
    fn numbers_whose_kind_jsonb_lost_are_read_both_ways() {
        // The double 1e+16, the integer beside it, and a negative zero.
        let stored = r#"{"a":10000000000000000,"b":10000000000000000,"c":0.0,"d":12345678901234567890}"#;
        let hashed = r#"{"a":1e+16,"b":10000000000000000,"c":-0.0,"d":12345678901234567890}"#;
        let found = find(stored, |details| details == hashed).unwrap().unwrap();
        assert_eq!((found.details.as_str(), found.former_numbers), (hashed, false));
        assert_eq!(find(stored, |_| false), Ok(None));
        let many = format!("{{\"a\":[{}]}}", vec!["10000000000000000"; 40].join(","));
        let doubles = many.replace("10000000000000000", "1e+16");
        assert_eq!(find(&many, |details| details == doubles).unwrap().unwrap().details, doubles);
    }

    #[test]
    fn numbers_in_the_former_form_are_found() {
        let stored = r#"{"at":1767322800123456.2}"#;
        let former = r#"{"at":1767322800123456.3}"#;
        let found = find(stored, |details| details == former).unwrap().unwrap();
        assert_eq!((found.details.as_str(), found.former_numbers), (former, true));
    }
}
