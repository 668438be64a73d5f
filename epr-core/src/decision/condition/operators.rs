//! The operators and functions on values.
//!
//! Owns order, arithmetic and functions as the language defines them. One operation reads [`MAX_SEARCH_BYTES`] bytes of
//! a text at most, so that no input makes it slow. Must never look at the program.

use super::clock::{Clock, Line, holds};
use super::equality::{are_equal, contains, order_of_numbers};
use super::network::{self, Network};
use super::outcome::ErrorKind;
use super::program::Function;
use super::syntax::Operator;
use super::time_text;
use super::value::Value;

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
        Value::Map(map) => map.len()?,
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
