//! Equality and membership.
//!
//! Owns which values are equal. Values of the inputs are compared where they are, without a conversion. One operation
//! looks at [`MAX_ITEMS`] items at most, so that no input makes it slow. Must never look at the program.

use std::cmp::Ordering;

use super::clock::Clock;
use super::outcome::ErrorKind;
use super::syntax::Operator;
use super::value::{List, MAX_ITEMS, Map, Value, from_json};
use crate::domain::{Json, JsonObject};

/// The number of items as which a member counts that is looked up by its key.
const KEY_ITEMS: usize = 8;

/// `left == right`
pub(super) fn are_equal(clock: &Clock, left: &Value<'_>, right: &Value<'_>) -> Result<bool, ErrorKind> {
    // The two values themselves are one.
    let mut budget = MAX_ITEMS + 1;
    equal(clock, left, right, &mut budget)
}

/// Equality. Values of different types are not equal, except for an int and a double of the same number.
fn equal(clock: &Clock, left: &Value<'_>, right: &Value<'_>, budget: &mut usize) -> Result<bool, ErrorKind> {
    *budget = budget.checked_sub(1).ok_or(ErrorKind::TooLarge)?;
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(left), Value::Bool(right)) => left == right,
        (Value::Text(left), Value::Text(right)) => left == right,
        (Value::Ip(left), Value::Ip(right)) => left == right,
        (Value::Timestamp(left), Value::Timestamp(right)) | (Value::Duration(left), Value::Duration(right)) => {
            clock.compare(Operator::Equal, *left, *right)
        }
        (Value::List(List::Json(left)), Value::List(List::Json(right))) => equal_json_lists(left, right, budget)?,
        (Value::Map(Map::Json(left)), Value::Map(Map::Json(right))) => equal_json_maps(left, right, budget)?,
        (Value::List(left), Value::List(right)) => equal_lists(clock, left, right, budget)?,
        (Value::Map(left), Value::Map(right)) => equal_maps(clock, left, right, budget)?,
        _ => order_of_numbers(left, right) == Some(Ordering::Equal),
    })
}

/// [`equal`] for a value of the inputs, which is compared where it is.
fn equals_json(clock: &Clock, left: &Value<'_>, right: &Json, budget: &mut usize) -> Result<bool, ErrorKind> {
    *budget = budget.checked_sub(1).ok_or(ErrorKind::TooLarge)?;
    Ok(match (left, right) {
        (_, Json::UInt(_)) => return Err(ErrorKind::Overflow),
        (Value::List(List::Json(left)), Json::List(right)) => return equal_json_lists(left, right, budget),
        (Value::Map(Map::Json(left)), Json::Object(right)) => return equal_json_maps(left, right, budget),
        (Value::List(_) | Value::Map(_), Json::List(_) | Json::Object(_)) => {
            return equal(clock, left, &from_json(right)?, budget);
        }
        (Value::Null, Json::Null) => true,
        (Value::Bool(left), Json::Bool(right)) => left == right,
        (Value::Int(left), Json::Int(right)) => left == right,
        (Value::Double(left), Json::Float(right)) => left.partial_cmp(right) == Some(Ordering::Equal),
        (Value::Int(left), Json::Float(right)) => int_to_double(*left, *right) == Some(Ordering::Equal),
        (Value::Double(left), Json::Int(right)) => int_to_double(*right, *left) == Some(Ordering::Equal),
        (Value::Text(left), Json::Text(right)) => *left == right.as_str(),
        _ => false,
    })
}

/// [`equal`] for two values of the inputs.
fn equal_json(left: &Json, right: &Json, budget: &mut usize) -> Result<bool, ErrorKind> {
    *budget = budget.checked_sub(1).ok_or(ErrorKind::TooLarge)?;
    Ok(match (left, right) {
        (Json::UInt(_), _) | (_, Json::UInt(_)) => return Err(ErrorKind::Overflow),
        (Json::List(left), Json::List(right)) => return equal_json_lists(left, right, budget),
        (Json::Object(left), Json::Object(right)) => return equal_json_maps(left, right, budget),
        (Json::Int(int), Json::Float(double)) | (Json::Float(double), Json::Int(int)) => {
            int_to_double(*int, *double) == Some(Ordering::Equal)
        }
        _ => left == right,
    })
}

fn equal_json_lists(left: &[Json], right: &[Json], budget: &mut usize) -> Result<bool, ErrorKind> {
    if left.len() != right.len() {
        return Ok(false);
    }
    all_equal(left.iter().zip(right), budget)
}

fn equal_json_maps(left: &JsonObject, right: &JsonObject, budget: &mut usize) -> Result<bool, ErrorKind> {
    if left.len() == right.len() && left.len() > *budget {
        return Err(ErrorKind::TooLarge);
    }
    // Both are sorted by key.
    if left.len() != right.len() || left.keys().ne(right.keys()) {
        return Ok(false);
    }
    all_equal(left.values().zip(right.values()), budget)
}

/// Whether all pairs are equal. A pair that differs decides, whatever fails beside it.
fn all_equal<'a>(pairs: impl Iterator<Item = (&'a Json, &'a Json)>, budget: &mut usize) -> Result<bool, ErrorKind> {
    let mut found = Ok(true);
    for (left, right) in pairs {
        match equal_json(left, right, budget) {
            Ok(true) => {}
            Ok(false) => return Ok(false),
            Err(ErrorKind::TooLarge) => return Err(ErrorKind::TooLarge),
            Err(error) => found = Err(error),
        }
    }
    found
}

fn equal_lists(clock: &Clock, left: &List<'_>, right: &List<'_>, budget: &mut usize) -> Result<bool, ErrorKind> {
    if left.len() != right.len() {
        return Ok(false);
    }
    let mut found = Ok(true);
    for index in 0..left.len() {
        if let (Some(left), Some(right)) = (left.get(index), right.get(index)) {
            match left.and_then(|left| equal(clock, &left, &right?, budget)) {
                Ok(true) => {}
                Ok(false) => return Ok(false),
                // Another pair can still decide that the lists differ, but not after the budget is used up.
                Err(ErrorKind::TooLarge) => return Err(ErrorKind::TooLarge),
                Err(error) => found = Err(error),
            }
        }
    }
    found
}

fn equal_maps(clock: &Clock, left: &Map<'_>, right: &Map<'_>, budget: &mut usize) -> Result<bool, ErrorKind> {
    if left.len()? != right.len()? {
        return Ok(false);
    }
    let mut error = None;
    let differs = left.try_for_each(|key, value| {
        let Some(other) = right.get(key) else {
            return Err(Ok(false));
        };
        *budget = budget.checked_sub(KEY_ITEMS).ok_or(ErrorKind::TooLarge).map_err(Err)?;
        match value.and_then(|value| equal(clock, &value, &other?, budget)) {
            Ok(true) => Ok(()),
            Ok(false) => Err(Ok(false)),
            Err(ErrorKind::TooLarge) => Err(Err(ErrorKind::TooLarge)),
            Err(kind) => {
                error = Some(kind);
                Ok(())
            }
        }
    });
    match differs {
        Ok(()) => error.map_or(Ok(true), Err),
        Err(decided) => decided,
    }
}

/// `item in container`
pub(super) fn contains(clock: &Clock, container: &Value<'_>, item: &Value<'_>) -> Result<bool, ErrorKind> {
    match container {
        Value::List(list) => {
            let mut budget = MAX_ITEMS;
            let mut found = Ok(false);
            for index in 0..list.len() {
                let same = match list {
                    List::Json(items) => items
                        .get(index)
                        .map_or(Err(ErrorKind::IndexOutOfBounds), |json| equals_json(clock, item, json, &mut budget)),
                    List::Literal(items) => items
                        .get(index)
                        .map_or(Err(ErrorKind::IndexOutOfBounds), |other| equal(clock, item, other, &mut budget)),
                };
                match same {
                    Ok(true) => return Ok(true),
                    Ok(false) => {}
                    Err(ErrorKind::TooLarge) => return Err(ErrorKind::TooLarge),
                    Err(error) => found = Err(error),
                }
            }
            found
        }
        Value::Map(map) => Ok(map.get(item).is_some()),
        _ => Err(ErrorKind::NoSuchOverload),
    }
}

/// The order of two numbers on one continuous number line; `None` if one is no number.
pub(super) fn order_of_numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Double(left), Value::Double(right)) => left.partial_cmp(right),
        (Value::Int(int), Value::Double(double)) => int_to_double(*int, *double),
        (Value::Double(double), Value::Int(int)) => int_to_double(*int, *double).map(Ordering::reverse),
        _ => None,
    }
}

/// The order of an int relative to a double, without rounding the int.
fn int_to_double(int: i64, double: f64) -> Option<Ordering> {
    if double.is_nan() {
        None
    } else if double >= 9_223_372_036_854_775_808.0 {
        Some(Ordering::Less)
    } else if double < -9_223_372_036_854_775_808.0 {
        Some(Ordering::Greater)
    } else {
        #[expect(clippy::cast_possible_truncation, reason = "within the range of i64, and without a fraction")]
        let whole = double.trunc() as i64;
        int.cmp(&whole).then_with(|| 0.0.partial_cmp(&double.fract()).unwrap_or(Ordering::Equal)).into()
    }
}
