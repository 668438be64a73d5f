//! Literals: numbers, and strings with their escapes.
//!
//! Owns the text of a literal and its value. Must never know the expression around it.

use super::syntax::Rejected;

/// A string literal: its value, and its length in the expression.
pub(super) struct StringLiteral {
    pub(super) text: String,
    pub(super) bytes: usize,
}

/// Reads the string at the head of `rest`, which begins at `start`; `None` if there is none.
pub(super) fn string(rest: &str, start: usize) -> Result<Option<StringLiteral>, Rejected> {
    let head = rest.as_bytes().get(..rest.len().min(3)).unwrap_or_default();
    let Some(quote_at) = head.iter().position(|byte| matches!(byte, b'"' | b'\'')) else {
        return Ok(None);
    };
    let (prefix, after) = rest.split_at_checked(quote_at).unwrap_or_default();
    let prefix = prefix.to_ascii_lowercase();
    if !matches!(prefix.as_str(), "" | "r" | "b" | "br" | "rb") {
        return Ok(None);
    }
    if prefix.contains('b') {
        let reason = "bytes are not part of the dialect; write a string without the prefix `b`";
        return Err(Rejected::new(start, reason));
    }
    let quote = ["\"\"\"", "'''", "\"", "'"].into_iter().find(|quote| after.starts_with(quote)).unwrap_or("'");
    let mut reader = StringReader { rest, at: quote_at + quote.len(), start, text: String::new() };
    reader.read(quote, prefix == "r")?;
    Ok(Some(StringLiteral { text: reader.text, bytes: reader.at }))
}

struct StringReader<'a> {
    rest: &'a str,
    /// The offset of the next byte in `rest`.
    at: usize,
    /// The offset of `rest` in the expression.
    start: usize,
    text: String,
}

impl StringReader<'_> {
    fn read(&mut self, quote: &str, is_raw: bool) -> Result<(), Rejected> {
        loop {
            let rest = self.rest.get(self.at..).unwrap_or_default();
            if rest.starts_with(quote) {
                self.at += quote.len();
                return Ok(());
            }
            let Some(character) = rest.chars().next() else {
                let reason = format!("the string is not closed; end it with {quote}");
                return Err(Rejected::new(self.start, reason));
            };
            match character {
                '\n' | '\r' if quote.len() == 1 => {
                    let reason = "a string ends on its line; write \\n, or put it between three quotes";
                    return Err(Rejected::new(self.start + self.at, reason));
                }
                '\\' if !is_raw => self.escape()?,
                _ => self.take(character),
            }
        }
    }

    fn take(&mut self, character: char) {
        self.at += character.len_utf8();
        self.text.push(character);
    }

    /// Reads an escape, which begins with the backslash at the present offset.
    fn escape(&mut self) -> Result<(), Rejected> {
        let escape = self.rest.get(self.at + 1..).unwrap_or_default();
        let kind = escape.chars().next().unwrap_or('\0');
        let (digits, radix) = match kind {
            'x' | 'X' => (2, 16),
            'u' => (4, 16),
            'U' => (8, 16),
            '0'..='3' => (3, 8),
            _ => (0, 0),
        };
        let (value, length) = if digits == 0 {
            (simple_escape(kind), 2)
        } else {
            let begin = usize::from(radix == 16);
            let code = escape.get(begin..begin + digits).filter(|code| code.bytes().all(|b| b.is_ascii_hexdigit()));
            let code = code.and_then(|code| u32::from_str_radix(code, radix).ok());
            (code.and_then(char::from_u32), 1 + begin + digits)
        };
        let Some(value) = value else {
            let reason = "the escape is not valid; write \\\\ for a backslash, or \\n, \\t, \\\", \\', \\x41, \\u20ac";
            return Err(Rejected::new(self.start + self.at, reason));
        };
        self.at += length;
        self.text.push(value);
        Ok(())
    }
}

fn simple_escape(kind: char) -> Option<char> {
    Some(match kind {
        'a' => '\x07',
        'b' => '\x08',
        'f' => '\x0c',
        'n' => '\n',
        'r' => '\r',
        't' => '\t',
        'v' => '\x0b',
        '\\' | '?' | '"' | '\'' | '`' => kind,
        _ => return None,
    })
}

/// The value of a number literal.
pub(super) enum Number {
    /// A whole number without its sign; at most 2^63, of which only the negative fits.
    Int(u64),
    Double(f64),
}

/// Reads the number at the head of `rest`, which begins at `start`: the value, and its length.
pub(super) fn number(rest: &str, start: usize) -> Result<(Number, usize), Rejected> {
    let (digits, value) = match rest.strip_prefix("0x") {
        Some(hex) => {
            let length = hex.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(hex.len());
            (2 + length, u64::from_str_radix(hex.get(..length).unwrap_or_default(), 16).ok().map(Number::Int))
        }
        None => decimal(rest),
    };
    let text = rest.get(..digits).unwrap_or_default();
    match rest.get(digits..).and_then(|after| after.chars().next()) {
        Some('u' | 'U') => {
            let reason = format!("unsigned integers are not part of the dialect; write {text}");
            return Err(Rejected::new(start, reason));
        }
        Some(next) if next.is_ascii_alphanumeric() || next == '_' => {
            let reason = format!("the number {text} is followed by {next:?}; put a space or an operator between them");
            return Err(Rejected::new(start, reason));
        }
        _ => {}
    }
    let value = value.filter(|value| match value {
        Number::Int(number) => *number <= i64::MIN.unsigned_abs(),
        Number::Double(number) => number.is_finite(),
    });
    let reason = || format!("the number {text} is out of the range of its type, int of 64 bits or double");
    value.map(|value| (value, digits)).ok_or_else(|| Rejected::new(start, reason()))
}

/// The length and the value of a decimal number.
fn decimal(rest: &str) -> (usize, Option<Number>) {
    let run = |from: usize| {
        let digits = rest.get(from..).unwrap_or_default();
        digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len())
    };
    let byte = |at: usize| rest.as_bytes().get(at).copied().unwrap_or(b' ');
    let whole = run(0);
    let mut length = whole;
    if byte(length) == b'.' && byte(length + 1).is_ascii_digit() {
        length += 1 + run(length + 1);
    }
    if matches!(byte(length), b'e' | b'E') {
        let sign = usize::from(matches!(byte(length + 1), b'+' | b'-'));
        let digits = run(length + 1 + sign);
        if digits > 0 {
            length += 1 + sign + digits;
        }
    }
    let text = rest.get(..length).unwrap_or_default();
    if length == whole {
        (length, text.parse().ok().map(Number::Int))
    } else {
        (length, text.parse().ok().map(Number::Double))
    }
}
