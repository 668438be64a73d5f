//! The values of an evaluation: literals, and views of the inputs.
//!
//! Owns the conversion of JSON and of parameters. Values borrow: an evaluation copies no text. Must never apply an
//! operator.

use std::net::IpAddr;
use std::rc::Rc;

use super::clock::Line;
use super::outcome::ErrorKind;
use super::{network, time_text};
use crate::domain::{Json, JsonObject, ParameterType};

/// The largest number of items, nested ones included, that one operation looks at.
pub(super) const MAX_ITEMS: usize = 1_000;

#[derive(Debug, Clone)]
pub(super) enum Value<'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'a str),
    Timestamp(Line),
    Duration(Line),
    Ip(IpAddr),
    List(List<'a>),
    Map(Map<'a>),
}

#[derive(Debug, Clone)]
pub(super) enum List<'a> {
    Json(&'a [Json]),
    Literal(Rc<[Value<'a>]>),
}

#[derive(Debug, Clone)]
pub(super) enum Map<'a> {
    Json(&'a JsonObject),
    /// The members of both; of two with the same name the first object's, unless it is null: callers write `null` for
    /// what they do not know, which must not hide what is known.
    Overlaid(&'a JsonObject, &'a JsonObject),
    Literal(Rc<[(Value<'a>, Value<'a>)]>),
}

/// Reads a JSON value. Integers are ints, other numbers doubles; an integer that does not fit an int is an overflow.
pub(super) fn from_json(json: &Json) -> Result<Value<'_>, ErrorKind> {
    Ok(match json {
        Json::Null => Value::Null,
        Json::Bool(value) => Value::Bool(*value),
        Json::Int(value) => Value::Int(*value),
        Json::UInt(_) => return Err(ErrorKind::Overflow),
        Json::Float(value) => Value::Double(*value),
        Json::Text(text) => Value::Text(text),
        Json::List(items) => Value::List(List::Json(items)),
        Json::Object(members) => Value::Map(Map::Json(members)),
    })
}

/// Reads a parameter of the context by its declared type; `None` if the value is not one of that type.
pub(super) fn parameter(json: &Json, declared: ParameterType) -> Option<Value<'_>> {
    Some(match (declared, json) {
        (ParameterType::Bool, Json::Bool(value)) => Value::Bool(*value),
        (ParameterType::Int, Json::Int(value)) => Value::Int(*value),
        (ParameterType::Double, Json::Float(value)) => Value::Double(*value),
        // Many senders write the double 5.0 as 5.
        #[expect(clippy::cast_precision_loss, reason = "the nearest double, as a JSON reader of doubles takes it")]
        (ParameterType::Double, Json::Int(value)) => Value::Double(*value as f64),
        #[expect(clippy::cast_precision_loss, reason = "the nearest double, as a JSON reader of doubles takes it")]
        (ParameterType::Double, Json::UInt(value)) => Value::Double(*value as f64),
        (ParameterType::String, Json::Text(text)) => Value::Text(text),
        (ParameterType::Timestamp, Json::Text(text)) => Value::Timestamp(Line::fixed(time_text::timestamp(text)?)),
        (ParameterType::Duration, Json::Text(text)) => Value::Duration(Line::fixed(time_text::duration(text)?.into())),
        (ParameterType::Ip, Json::Text(text)) => Value::Ip(network::address(text)?),
        (ParameterType::StringList, Json::List(items)) if items.iter().all(|item| item.as_text().is_some()) => {
            Value::List(List::Json(items))
        }
        _ => return None,
    })
}

impl<'a> List<'a> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(items) => items.len(),
            Self::Literal(items) => items.len(),
        }
    }

    /// The item at `index`, if the list has it.
    pub(super) fn get(&self, index: usize) -> Option<Result<Value<'a>, ErrorKind>> {
        match self {
            Self::Json(items) => items.get(index).map(from_json),
            Self::Literal(items) => items.get(index).cloned().map(Ok),
        }
    }
}

impl<'a> Map<'a> {
    /// The number of members. Two objects over one another are counted up to [`MAX_ITEMS`] members.
    pub(super) fn len(&self) -> Result<usize, ErrorKind> {
        Ok(match self {
            Self::Json(members) => members.len(),
            Self::Overlaid(over, under) if over.is_empty() => under.len(),
            Self::Overlaid(over, under) if over.len() + under.len() > MAX_ITEMS => return Err(ErrorKind::TooLarge),
            Self::Overlaid(over, under) => under.len() + over.keys().filter(|key| !under.contains_key(key)).count(),
            Self::Literal(entries) => entries.len(),
        })
    }

    /// The value under a string key.
    pub(super) fn member(&self, key: &str) -> Option<Result<Value<'a>, ErrorKind>> {
        match self {
            Self::Json(members) => members.get(key).map(from_json),
            Self::Overlaid(over, under) => overlaid(over.get(key), under.get(key)).map(from_json),
            Self::Literal(entries) => {
                let is_it = |found: &Value<'_>| matches!(found, Value::Text(text) if *text == key);
                entries.iter().find(|(found, _)| is_it(found)).map(|(_, value)| Ok(value.clone()))
            }
        }
    }

    /// The value under a key of any type; a double finds the int that equals it.
    pub(super) fn get(&self, key: &Value<'_>) -> Option<Result<Value<'a>, ErrorKind>> {
        match (key, self) {
            (Value::Text(key), _) => self.member(key),
            (_, Self::Literal(entries)) => {
                entries.iter().find(|(found, _)| is_same_key(found, key)).map(|(_, value)| Ok(value.clone()))
            }
            _ => None,
        }
    }

    /// Calls `visit` with each key and value, until it returns an error.
    pub(super) fn try_for_each<E>(
        &self,
        mut visit: impl FnMut(&Value<'a>, Result<Value<'a>, ErrorKind>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut member = |(key, value): (&'a String, &'a Json)| visit(&Value::Text(key), from_json(value));
        match self {
            Self::Json(members) => members.iter().try_for_each(member),
            Self::Overlaid(over, under) => {
                let counting = |sent, key: &String| overlaid(Some(sent), under.get(key)).unwrap_or(sent);
                over.iter().map(|(key, sent)| (key, counting(sent, key))).try_for_each(&mut member)?;
                under.iter().filter(|(key, _)| !over.contains_key(key)).try_for_each(member)
            }
            Self::Literal(entries) => entries.iter().try_for_each(|(key, value)| visit(key, Ok(value.clone()))),
        }
    }
}

/// Of two members with the same name, the one that counts.
fn overlaid<'a>(over: Option<&'a Json>, under: Option<&'a Json>) -> Option<&'a Json> {
    match (over, under) {
        (None | Some(Json::Null), Some(under)) => Some(under),
        (over, _) => over,
    }
}

/// Whether two values are the same key of a map.
pub(super) fn is_same_key(one: &Value<'_>, other: &Value<'_>) -> bool {
    match (one, other) {
        (Value::Bool(one), Value::Bool(other)) => one == other,
        (Value::Int(one), Value::Int(other)) => one == other,
        (Value::Int(int), Value::Double(double)) | (Value::Double(double), Value::Int(int)) => {
            whole(*double) == Some(*int)
        }
        (Value::Text(one), Value::Text(other)) => one == other,
        _ => false,
    }
}

/// The int that equals `number`, if there is one.
pub(super) fn whole(number: f64) -> Option<i64> {
    // -2^63 is a double and an int; 2^63 is the first double that is none.
    let fits = (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0).contains(&number);
    #[expect(clippy::cast_possible_truncation, reason = "within the range of i64, and without a fraction")]
    (fits && number.fract() == 0.0).then_some(number as i64)
}
