//! The types of the dialect, and which types an operator takes.
//!
//! Owns what can be known before an evaluation. Must never see a value.

use std::fmt;

use super::syntax::Operator;
use crate::domain::ParameterType;

/// The type of an expression, as far as it is known when it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Type {
    /// Known only when it is evaluated: attributes, properties, and what is made of them.
    Dyn,
    Null,
    Bool,
    Int,
    Double,
    Text,
    Timestamp,
    Duration,
    Ip,
    /// A list of items of a type.
    List(&'static Type),
    Map,
}

impl From<ParameterType> for Type {
    fn from(declared: ParameterType) -> Self {
        match declared {
            ParameterType::Bool => Self::Bool,
            ParameterType::Int => Self::Int,
            ParameterType::Double => Self::Double,
            ParameterType::String => Self::Text,
            ParameterType::Timestamp => Self::Timestamp,
            ParameterType::Duration => Self::Duration,
            ParameterType::Ip => Self::Ip,
            ParameterType::StringList => Self::List(&Self::Text),
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dyn => out.write_str("dyn"),
            Self::Null => out.write_str("null"),
            Self::Bool => out.write_str("bool"),
            Self::Int => out.write_str("int"),
            Self::Double => out.write_str("double"),
            Self::Text => out.write_str("string"),
            Self::Timestamp => out.write_str("timestamp"),
            Self::Duration => out.write_str("duration"),
            Self::Ip => out.write_str("ip"),
            Self::List(item) => write!(out, "list<{item}>"),
            Self::Map => out.write_str("map"),
        }
    }
}

impl Type {
    /// The type of a list of such items. The items of inner lists are not tracked.
    pub(super) fn list_of(self) -> Self {
        Self::List(match self {
            Self::Null => &Self::Null,
            Self::Bool => &Self::Bool,
            Self::Int => &Self::Int,
            Self::Double => &Self::Double,
            Self::Text => &Self::Text,
            Self::Timestamp => &Self::Timestamp,
            Self::Duration => &Self::Duration,
            Self::Ip => &Self::Ip,
            Self::Map => &Self::Map,
            Self::Dyn | Self::List(_) => &Self::Dyn,
        })
    }

    /// The type of what is of one type or the other.
    pub(super) fn or(self, other: Self) -> Self {
        if self == other { self } else { Self::Dyn }
    }

    /// Whether a value of this type can be one of `wanted`.
    pub(super) fn may_be(self, wanted: Self) -> bool {
        match (self, wanted) {
            (Self::List(one), Self::List(other)) => one.is_comparable(*other),
            _ => self == wanted || self == Self::Dyn || wanted == Self::Dyn,
        }
    }

    /// Whether a value of this type can equal one of `other`.
    pub(super) fn is_comparable(self, other: Self) -> bool {
        self.may_be(other) || matches!((self, other), (Self::Int, Self::Double) | (Self::Double, Self::Int))
    }
}

type Overload = (Type, Type, Type);

const ADD: &[Overload] = &[
    (Type::Int, Type::Int, Type::Int),
    (Type::Double, Type::Double, Type::Double),
    (Type::Timestamp, Type::Duration, Type::Timestamp),
    (Type::Duration, Type::Timestamp, Type::Timestamp),
    (Type::Duration, Type::Duration, Type::Duration),
];

const SUBTRACT: &[Overload] = &[
    (Type::Int, Type::Int, Type::Int),
    (Type::Double, Type::Double, Type::Double),
    (Type::Timestamp, Type::Timestamp, Type::Duration),
    (Type::Timestamp, Type::Duration, Type::Timestamp),
    (Type::Duration, Type::Duration, Type::Duration),
];

const MULTIPLY: &[Overload] = &[(Type::Int, Type::Int, Type::Int), (Type::Double, Type::Double, Type::Double)];

const REMAINDER: &[Overload] = &[(Type::Int, Type::Int, Type::Int)];

const COMPARE: &[Overload] = &[
    (Type::Bool, Type::Bool, Type::Bool),
    (Type::Int, Type::Int, Type::Bool),
    (Type::Int, Type::Double, Type::Bool),
    (Type::Double, Type::Int, Type::Bool),
    (Type::Double, Type::Double, Type::Bool),
    (Type::Text, Type::Text, Type::Bool),
    (Type::Timestamp, Type::Timestamp, Type::Bool),
    (Type::Duration, Type::Duration, Type::Bool),
];

/// The type of `left operator right`; `None` if it has no meaning.
pub(super) fn result(operator: Operator, left: Type, right: Type) -> Option<Type> {
    let overloads = match operator {
        Operator::Equal | Operator::NotEqual => return left.is_comparable(right).then_some(Type::Bool),
        Operator::In => return contains(right, left).then_some(Type::Bool),
        Operator::Less | Operator::LessOrEqual | Operator::Greater | Operator::GreaterOrEqual => COMPARE,
        Operator::Add => ADD,
        Operator::Subtract => SUBTRACT,
        Operator::Multiply | Operator::Divide => MULTIPLY,
        Operator::Remainder => REMAINDER,
    };
    let mut results = overloads.iter().filter(|(l, r, _)| left.may_be(*l) && right.may_be(*r)).map(|(.., t)| *t);
    let first = results.next()?;
    Some(results.fold(first, Type::or))
}

/// Whether a value of the type `item` can be in `container`.
fn contains(container: Type, item: Type) -> bool {
    match container {
        Type::List(of) => of.is_comparable(item),
        Type::Map => is_key(item),
        _ => container == Type::Dyn,
    }
}

/// The type of `base[index]`; `None` if it has no meaning.
pub(super) fn item(base: Type, index: Type) -> Option<Type> {
    match base {
        Type::List(item) => index.may_be(Type::Int).then_some(*item),
        Type::Map => is_key(index).then_some(Type::Dyn),
        _ => (base == Type::Dyn && is_key(index)).then_some(Type::Dyn),
    }
}

/// Whether a map can have keys of this type. A double finds the integer that equals it.
fn is_key(index: Type) -> bool {
    matches!(index, Type::Dyn | Type::Bool | Type::Int | Type::Double | Type::Text)
}
