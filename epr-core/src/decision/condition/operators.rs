//! The operators and functions on values.
//!
//! Owns equality, order, arithmetic and membership as the language defines them. One operation touches at most
//! [`MAX_ITEMS`] items and [`MAX_SEARCH_BYTES`] bytes, so that no input makes an evaluation slow. Must never look at
//! the program.

use std::cmp::Ordering;

use super::clock::{Clock, Line, holds};
use super::network::{self, Network};
use super::outcome::ErrorKind;
use super::program::Function;
use super::syntax::Operator;
use super::time_text;
use super::value::{List, Map, Value};

/// The largest number of items, nested ones included, that one operation compares.
pub(super) const MAX_ITEMS: usize = 1_000;

/// The longest text in which `contains` searches and whose characters `size` counts, in bytes.
pub(super) const MAX_SEARCH_BYTES: usize = 16 * 1024;

type Applied<'a> = Result<Value<'a>, ErrorKind>;

/// `left operator right`
pub(super) fn binary<'a>(clock: &Clock, operator: Operator, left: &Value<'a>, right: &Value<'a>) -> Applied<'a> {
    match operator {
        Operator::Equal => are_equal(clock, left, right).map(Value::Bool),
        Operator::NotEqual => are_equal(clock, left, right).map(|equal| Value::Bool(!equal)),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => {
            compare(clock, operator, left, right).map(Value::Bool)
        }
        Operator::In => contains(clock, right, left).map(Value::Bool),
        Operator::Add | Operator::Subtract => match (left, right) {
            (Value::Timestamp(_) | Value::Duration(_), Value::Timestamp(_) | Value::Duration(_)) => {
                times(clock, operator, left, right)
            }
            _ => numbers(operator, left, right),
        },
        _ => numbers(operator, left, right),
    }
}

fn are_equal(clock: &Clock, left: &Value<'_>, right: &Value<'_>) -> Result<bool, ErrorKind> {
    let mut budget = MAX_ITEMS;
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
        (Value::List(left), Value::List(right)) => equal_lists(clock, left, right, budget)?,
        (Value::Map(left), Value::Map(right)) => equal_maps(clock, left, right, budget)?,
        _ => order_of_numbers(left, right) == Some(Ordering::Equal),
    })
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
    if left.len() != right.len() {
        return Ok(false);
    }
    let mut error = None;
    let differs = left.try_for_each(|key, value| {
        let Some(other) = right.get(key) else {
            return Err(Ok(false));
        };
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

fn compare(clock: &Clock, operator: Operator, left: &Value<'_>, right: &Value<'_>) -> Result<bool, ErrorKind> {
    let order = match (left, right) {
        (Value::Bool(left), Value::Bool(right)) => left.cmp(right),
        (Value::Text(left), Value::Text(right)) => left.cmp(right),
        (Value::Timestamp(left), Value::Timestamp(right)) | (Value::Duration(left), Value::Duration(right)) => {
            return Ok(clock.compare(operator, *left, *right));
        }
        (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
            // Nothing is in order with a value that is not a number.
            return Ok(order_of_numbers(left, right).is_some_and(|order| holds(operator, order)));
        }
        _ => return Err(ErrorKind::NoSuchOverload),
    };
    Ok(holds(operator, order))
}

/// The order of two numbers on one continuous number line; `None` if one is no number.
fn order_of_numbers(left: &Value<'_>, right: &Value<'_>) -> Option<Ordering> {
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

fn numbers<'a>(operator: Operator, left: &Value<'a>, right: &Value<'a>) -> Applied<'a> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => ints(operator, *left, *right).map(Value::Int),
        (Value::Double(left), Value::Double(right)) => Ok(Value::Double(match operator {
            Operator::Add => left + right,
            Operator::Subtract => left - right,
            Operator::Multiply => left * right,
            Operator::Divide => left / right,
            _ => return Err(ErrorKind::NoSuchOverload),
        })),
        _ => Err(ErrorKind::NoSuchOverload),
    }
}

fn ints(operator: Operator, left: i64, right: i64) -> Result<i64, ErrorKind> {
    let result = match operator {
        Operator::Add => left.checked_add(right),
        Operator::Subtract => left.checked_sub(right),
        Operator::Multiply => left.checked_mul(right),
        Operator::Divide | Operator::Remainder if right == 0 => return Err(ErrorKind::DivisionByZero),
        Operator::Divide => left.checked_div(right),
        Operator::Remainder => left.checked_rem(right),
        _ => return Err(ErrorKind::NoSuchOverload),
    };
    result.ok_or(ErrorKind::Overflow)
}

fn times<'a>(clock: &Clock, operator: Operator, left: &Value<'a>, right: &Value<'a>) -> Applied<'a> {
    let is_sum = operator == Operator::Add;
    let joined = |left: &Line, right: &Line| {
        let sign = if is_sum { 1 } else { -1 };
        Line {
            nanos: left.nanos + sign * right.nanos,
            slope: left.slope + if is_sum { right.slope } else { -right.slope },
        }
    };
    match (left, right) {
        (Value::Duration(left), Value::Duration(right)) => clock.duration(joined(left, right)).map(Value::Duration),
        (Value::Timestamp(left), Value::Duration(right)) => clock.timestamp(joined(left, right)).map(Value::Timestamp),
        (Value::Duration(left), Value::Timestamp(right)) if is_sum => {
            clock.timestamp(joined(left, right)).map(Value::Timestamp)
        }
        (Value::Timestamp(left), Value::Timestamp(right)) if !is_sum => {
            clock.duration(joined(left, right)).map(Value::Duration)
        }
        _ => Err(ErrorKind::NoSuchOverload),
    }
}

/// `item in container`
fn contains(clock: &Clock, container: &Value<'_>, item: &Value<'_>) -> Result<bool, ErrorKind> {
    match container {
        Value::List(list) => {
            let mut budget = MAX_ITEMS;
            let mut found = Ok(false);
            for index in 0..list.len() {
                let other = list.get(index).unwrap_or(Err(ErrorKind::IndexOutOfBounds));
                match other.and_then(|other| equal(clock, item, &other, &mut budget)) {
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

/// `-value`
pub(super) fn negate<'a>(value: &Value<'a>) -> Applied<'a> {
    match value {
        Value::Int(value) => value.checked_neg().map(Value::Int).ok_or(ErrorKind::Overflow),
        Value::Double(value) => Ok(Value::Double(-value)),
        _ => Err(ErrorKind::NoSuchOverload),
    }
}

/// A function of one argument.
pub(super) fn call_one<'a>(clock: &Clock, function: Function, argument: &Value<'a>) -> Applied<'a> {
    Ok(match (function, argument) {
        (Function::Timestamp, Value::Text(text)) => {
            Value::Timestamp(Line::fixed(time_text::timestamp(text).ok_or(ErrorKind::InvalidText)?))
        }
        (Function::Timestamp, Value::Int(seconds)) => {
            Value::Timestamp(clock.timestamp(Line::fixed(i128::from(*seconds) * 1_000_000_000))?)
        }
        (Function::Duration, Value::Text(text)) => {
            Value::Duration(Line::fixed(time_text::duration(text).ok_or(ErrorKind::InvalidText)?.into()))
        }
        (Function::Ip, Value::Text(text)) => Value::Ip(network::address(text).ok_or(ErrorKind::InvalidText)?),
        (Function::Timestamp, Value::Timestamp(_))
        | (Function::Duration, Value::Duration(_))
        | (Function::Ip, Value::Ip(_)) => argument.clone(),
        (Function::InNetwork(network), Value::Ip(address)) => Value::Bool(network.contains(*address)),
        (Function::Size, _) => Value::Int(size(argument)?),
        _ => return Err(ErrorKind::NoSuchOverload),
    })
}

fn size(value: &Value<'_>) -> Result<i64, ErrorKind> {
    let size = match value {
        Value::Text(text) => searchable(text)?.chars().count(),
        Value::List(list) => list.len(),
        Value::Map(map) => map.len(),
        _ => return Err(ErrorKind::NoSuchOverload),
    };
    i64::try_from(size).map_err(|_| ErrorKind::Overflow)
}

/// A function of two arguments.
pub(super) fn call_two<'a>(function: Function, first: &Value<'a>, second: &Value<'a>) -> Applied<'a> {
    let (Value::Text(second), found) = (second, first) else {
        return Err(ErrorKind::NoSuchOverload);
    };
    Ok(Value::Bool(match (function, found) {
        (Function::StartsWith, Value::Text(text)) => text.starts_with(second),
        (Function::EndsWith, Value::Text(text)) => text.ends_with(second),
        (Function::Contains, Value::Text(text)) => searchable(text)?.contains(second),
        (Function::InCidr, Value::Ip(address)) => {
            Network::parse(second).ok_or(ErrorKind::InvalidText)?.contains(*address)
        }
        _ => return Err(ErrorKind::NoSuchOverload),
    }))
}

fn searchable(text: &str) -> Result<&str, ErrorKind> {
    if text.len() <= MAX_SEARCH_BYTES { Ok(text) } else { Err(ErrorKind::TooLarge) }
}
