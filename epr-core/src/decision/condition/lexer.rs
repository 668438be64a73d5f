//! The tokens of an expression.
//!
//! Owns names, symbols, numbers, comments and white space. Offsets are in bytes. Must never know what a name means.

use super::literal::{self, Number};
use super::syntax::Rejected;

/// One token, and where it is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: Kind,
    /// The offset of the first byte.
    pub(super) start: usize,
    /// The offset behind the last byte.
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind {
    Name(String),
    /// A whole number without its sign; at most 2^63, of which only the negative fits.
    Int(u64),
    Double(f64),
    Text(String),
    /// An operator or a bracket.
    Symbol(&'static str),
    End,
}

/// The symbols of the dialect; the longer ones first.
const SYMBOLS: [&str; 24] = [
    "&&", "||", "==", "!=", "<=", ">=", "!", "<", ">", "+", "-", "*", "/", "%", "?", ":", "(", ")", "[", "]", "{", "}",
    ",", ".",
];

/// Splits `text` into tokens; the last one is [`Kind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, Rejected> {
    let mut found = Vec::new();
    let mut at = 0;
    loop {
        at = skip_space(text, at);
        let token = next(text, at)?;
        at = token.end;
        let is_last = token.kind == Kind::End;
        found.push(token);
        if is_last {
            return Ok(found);
        }
    }
}

/// The offset behind white space and comments.
fn skip_space(text: &str, mut at: usize) -> usize {
    loop {
        let rest = rest(text, at);
        let trimmed = rest.trim_start_matches(['\t', '\n', '\x0c', '\r', ' ']);
        at += rest.len() - trimmed.len();
        if !trimmed.starts_with("//") {
            return at;
        }
        at += trimmed.find(['\n', '\r']).unwrap_or(trimmed.len());
    }
}

pub(super) fn rest(text: &str, at: usize) -> &str {
    text.get(at..).unwrap_or_default()
}

fn next(text: &str, start: usize) -> Result<Token, Rejected> {
    let rest = rest(text, start);
    let token = |kind, length| Ok(Token { kind, start, end: start + length });
    let Some(first) = rest.chars().next() else {
        return token(Kind::End, 0);
    };
    if let Some(string) = literal::string(rest, start)? {
        return token(Kind::Text(string.text), string.bytes);
    }
    if first.is_ascii_alphabetic() || first == '_' {
        let length = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        return token(Kind::Name(rest.get(..length).unwrap_or_default().to_owned()), length);
    }
    let mut characters = rest.chars().skip(1);
    if first.is_ascii_digit() || first == '.' && characters.next().is_some_and(|second| second.is_ascii_digit()) {
        let (number, length) = literal::number(rest, start)?;
        return match number {
            Number::Int(number) => token(Kind::Int(number), length),
            Number::Double(number) => token(Kind::Double(number), length),
        };
    }
    match SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol)) {
        Some(symbol) => token(Kind::Symbol(symbol), symbol.len()),
        None => Err(Rejected::new(start, unknown(first))),
    }
}

fn unknown(first: char) -> String {
    match first {
        '=' => "`=` is no operator; write `==` to compare".to_owned(),
        '&' | '|' => format!("`{first}` is no operator; write `{first}{first}`"),
        '`' => "quoted names are not part of the dialect; write `[\"a name\"]` after its parent".to_owned(),
        '\'' | '"' => "the string is not closed; end it with the quote that it begins with".to_owned(),
        _ => format!("the character {first:?} has no meaning here; remove it or put it into a string"),
    }
}
