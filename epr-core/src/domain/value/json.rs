//! JSON that is kept exactly or rejected.
//!
//! Owns the in-memory value of everything free-form (attributes, ledger details, event payloads). Must never accept a
//! document that it could not write again: `serde_json::Value` keeps the last of two equal keys and turns integers
//! beyond 64 bits into doubles, and a ledger that hashes such a value has recorded something that was never sent.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserializer, Serialize, Serializer};

/// The deepest nesting of lists and objects. A document that is deeper is rejected.
pub const MAX_DEPTH: usize = 64;

/// The largest number of values (scalars, lists and objects) in one document from outside. Each takes up to 100 bytes
/// of memory however short its text is, so that the size of a document does not bound the memory that it needs.
pub const MAX_VALUES: usize = 100_000;

pub use super::json_object::{Members, Object};

/// The members of a JSON object.
pub type JsonObject = Object<Json>;

/// One JSON value. Integers of 64 bits and doubles are distinct, because their text differs (`1` and `1.0`).
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer that fits `i64`.
    Int(i64),
    /// An integer above `i64::MAX` that fits `u64`.
    UInt(u64),
    /// A finite double: written with a fraction or an exponent.
    Float(f64),
    /// A string of Unicode scalar values.
    Text(String),
    /// A list.
    List(Vec<Json>),
    /// An object without duplicate keys.
    Object(JsonObject),
}

/// The problem of a document: a sentence for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct JsonError(String);

impl Json {
    /// Reads one document from outside.
    ///
    /// # Errors
    /// Those of [`Json::parse`], or more than [`MAX_VALUES`] values.
    pub fn parse_bounded(bytes: &[u8]) -> Result<Self, JsonError> {
        Self::read(bytes, MAX_VALUES)
    }

    /// Reads one document with any number of values: a stored one, or an operator's file.
    ///
    /// # Errors
    /// Not UTF-8, not JSON, a duplicate key, an integer beyond 64 bits, a number beyond the range of a double, or
    /// nesting deeper than [`MAX_DEPTH`].
    pub fn parse(bytes: &[u8]) -> Result<Self, JsonError> {
        Self::read(bytes, usize::MAX)
    }

    fn read(bytes: &[u8], values: usize) -> Result<Self, JsonError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| JsonError(format!("the text is not valid UTF-8 from byte {}", error.valid_up_to())))?;
        refuse_inexact_numbers(text)?;
        let mut reader = serde_json::Deserializer::from_str(text);
        let left = Cell::new(values);
        let value = ValueSeed { depth: 0, left: &left }.deserialize(&mut reader).map_err(sentence)?;
        reader.end().map_err(sentence)?;
        Ok(value)
    }

    /// The text under this value, if it is a string.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The members, if this is an object.
    #[must_use]
    pub fn as_object(&self) -> Option<&JsonObject> {
        match self {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    /// Checks the bounds of [`Json::parse`] for a value that was built in memory.
    ///
    /// # Errors
    /// Deeper than `depth` levels, or a number that is not finite.
    pub fn check(&self, depth: usize) -> Result<(), JsonError> {
        let deeper = || {
            depth
                .checked_sub(1)
                .ok_or_else(|| JsonError(format!("lists and objects are nested deeper than {MAX_DEPTH} levels")))
        };
        match self {
            Self::Float(number) if !number.is_finite() => Err(JsonError(format!("the number {number} is not finite"))),
            Self::List(items) => deeper().and_then(|depth| items.iter().try_for_each(|item| item.check(depth))),
            Self::Object(members) => {
                deeper().and_then(|depth| members.values().try_for_each(|value| value.check(depth)))
            }
            _ => Ok(()),
        }
    }

    /// Whether any string or key contains U+0000, which PostgreSQL's text cannot.
    #[must_use]
    pub fn holds_nul(&self) -> bool {
        match self {
            Self::Text(text) => text.contains('\0'),
            Self::List(items) => items.iter().any(Self::holds_nul),
            Self::Object(members) => members.iter().any(|(key, value)| key.contains('\0') || value.holds_nul()),
            _ => false,
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for Json {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<uuid::Uuid> for Json {
    fn from(id: uuid::Uuid) -> Self {
        Self::Text(id.to_string())
    }
}

impl<T: Into<Json>> From<Option<T>> for Json {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<T: Into<Json>> From<Vec<T>> for Json {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl From<JsonObject> for Json {
    fn from(members: JsonObject) -> Self {
        Self::Object(members)
    }
}

/// An object from names and values.
#[must_use]
pub fn object<const N: usize>(members: [(&str, Json); N]) -> JsonObject {
    members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

impl fmt::Display for Json {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => out.serialize_unit(),
            Self::Bool(value) => out.serialize_bool(*value),
            Self::Int(value) => out.serialize_i64(*value),
            Self::UInt(value) => out.serialize_u64(*value),
            Self::Float(value) => out.serialize_f64(*value),
            Self::Text(text) => out.serialize_str(text),
            Self::List(items) => {
                let mut list = out.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Self::Object(members) => members.serialize(out),
        }
    }
}

/// `serde_json` hands an integer beyond 64 bits (and `-0`) to the visitor as a double, and what is too small for a
/// double as 0, so they are found in the text.
fn refuse_inexact_numbers(text: &str) -> Result<(), JsonError> {
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        let token = rest.get(start..).unwrap_or_default();
        let length =
            if token.starts_with('"') { string_length(token.as_bytes()) } else { number_length(token.as_bytes()) };
        let (token, after) = token.split_at(length);
        if !token.starts_with('"') && token.contains(['.', 'e', 'E']) {
            let mantissa = token.split(['e', 'E']).next().unwrap_or_default();
            if token.parse() == Ok(0.0_f64) && mantissa.bytes().any(|b| matches!(b, b'1'..=b'9')) {
                return Err(JsonError(format!("the number `{}` is too small to be kept", shortened(token))));
            }
        } else if !token.starts_with('"') {
            let exact = token != "-0" && (token.parse::<i64>().is_ok() || token.parse::<u64>().is_ok());
            // The reader that follows reports a token that is not a number, with its position.
            if !exact && token.trim_start_matches('-').bytes().all(|b| b.is_ascii_digit()) && token != "-" {
                let shown = shortened(token);
                return Err(JsonError(format!("the integer `{shown}` cannot be kept exactly in 64 bits")));
            }
        }
        rest = after;
    }
    Ok(())
}

/// A number literal or a key, for a message.
fn shortened(token: &str) -> Cow<'_, str> {
    match token.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", token.get(..end).unwrap_or_default()).into(),
        None => token.into(),
    }
}

/// Bytes of the string literal at the head of `text`, quotes included; all of it if it is not closed.
pub(crate) fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Bytes of the number literal at the head of `text`; at least one.
pub(crate) fn number_length(text: &[u8]) -> usize {
    text.iter().position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).unwrap_or(text.len()).max(1)
}

#[allow(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn sentence(error: serde_json::Error) -> JsonError {
    JsonError(error.to_string())
}

struct ValueSeed<'a> {
    depth: usize,
    /// The number of further values that the document may have.
    left: &'a Cell<usize>,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        let Some(left) = self.left.get().checked_sub(1) else {
            return Err(D::Error::custom(format_args!("the document has more than {MAX_VALUES} values")));
        };
        self.left.set(left);
        reader.deserialize_any(ValueVisitor(self))
    }
}

struct ValueVisitor<'a>(ValueSeed<'a>);

impl<'a> ValueVisitor<'a> {
    fn deeper<E: serde::de::Error>(&self) -> Result<ValueSeed<'a>, E> {
        if self.0.depth >= MAX_DEPTH {
            return Err(E::custom(format_args!("lists and objects are nested deeper than {MAX_DEPTH} levels")));
        }
        Ok(ValueSeed { depth: self.0.depth + 1, left: self.0.left })
    }
}

impl<'de> Visitor<'de> for ValueVisitor<'_> {
    type Value = Json;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(i64::try_from(value).map_or(Json::UInt(value), Json::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::Text(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Json, E> {
        Ok(Json::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = list.next_element_seed(self.deeper()?)? {
            reserve_one(&mut items);
            items.push(item);
        }
        items.shrink_to_fit();
        Ok(Json::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members = Vec::new();
        while let Some(key) = map.next_key::<String>()? {
            let value = map.next_value_seed(self.deeper()?)?;
            reserve_one(&mut members);
            members.push((key, value));
        }
        JsonObject::from_distinct(members)
            .map(Json::Object)
            .map_err(|key| A::Error::custom(format_args!("the key `{}` stands twice in one object", shortened(&key))))
    }
}

/// Makes room for exactly one first item, where a vector would make room for four: most small lists and objects have
/// one.
fn reserve_one<T>(items: &mut Vec<T>) {
    if items.capacity() == 0 {
        items.reserve_exact(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(text: &str) -> String {
        Json::parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn keeps_integers_and_doubles_apart() {
        let read =
            Json::parse(br#"[1, 1.0, -9223372036854775808, 18446744073709551615, 1e2, "12345678901234567890123"]"#);
        assert_eq!(
            read.unwrap(),
            Json::List(vec![
                Json::Int(1),
                Json::Float(1.0),
                Json::Int(i64::MIN),
                Json::UInt(u64::MAX),
                Json::Float(100.0),
                Json::Text("12345678901234567890123".into()),
            ])
        );
    }

    #[test]
    fn refuses_what_it_could_not_give_back() {
        assert!(error("[18446744073709551616]").contains("cannot be kept exactly"));
        assert!(error("-9223372036854775809").contains("cannot be kept exactly"));
        assert!(error(r#"{"a\"": -0}"#).contains("cannot be kept exactly"));
        assert!(error(r#"{"a": 1, "\u0061": 2}"#).contains("stands twice"));
        assert!(error("1e400").contains("out of range"));
        assert!(error("[1e-400]").contains("too small"));
        assert!(Json::parse(b"[0.0, -0.0, 0e5, 5e-324]").is_ok());
        assert!(error("NaN").contains("expected"));
        assert!(error(r#""\ud800""#).contains("surrogate") || error(r#""\ud800""#).contains("escape"));
        assert!(Json::parse(b"\"\xff\"").unwrap_err().to_string().contains("UTF-8"));
        assert!(error("").contains("EOF"));
        assert!(error("{} {}").contains("trailing"));
    }

    #[test]
    fn doubles_come_back_to_the_last_bit() {
        for text in
            ["0.9452706955539223", "8.41e21", "2.2250738585072014e-308", "123456789.12345679", "9007199254740993.5"]
        {
            let Json::Float(read) = Json::parse(text.as_bytes()).unwrap() else { panic!("{text} is no double") };
            assert_eq!(read.to_bits(), text.parse::<f64>().unwrap().to_bits(), "{text}");
        }
    }

    #[test]
    fn bounds_the_number_of_values_of_what_comes_from_outside() {
        let list = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(Json::parse_bounded(list(MAX_VALUES).as_bytes()).is_ok());
        let more = list(MAX_VALUES + 1);
        let why = Json::parse_bounded(more.as_bytes()).unwrap_err().to_string();
        assert!(why.contains("more than 100000 values"), "{why}");
        assert!(Json::parse(more.as_bytes()).is_ok());
        // The document of the report: objects count, too.
        let objects = format!("{{\"x\":[{}0]}}", "{\"\":0},".repeat(MAX_VALUES / 2));
        assert!(Json::parse_bounded(objects.as_bytes()).is_err());
        let deep = format!("[{}0]", "[[]],".repeat(MAX_VALUES / 2));
        assert!(Json::parse_bounded(deep.as_bytes()).is_err());
    }

    #[test]
    fn bounds_the_depth() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(Json::parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(error(&nested(MAX_DEPTH + 2)).contains("nested deeper"));
        assert!(Json::parse("[".repeat(10_000).as_bytes()).is_err());
    }
}
