//! The checked form of an expression, as the evaluator walks it.
//!
//! Owns the nodes and the fixed names that an expression can read. Must never evaluate.

use std::net::IpAddr;
use std::ops::Range;

use super::inputs::{Described, Inputs, Reads};
use super::network::Network;
use super::syntax::Operator;
use crate::domain::{Condition, JsonObject};

/// A checked expression.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) source: Condition,
    pub(super) root: Node,
    pub(super) reads: Reads,
    /// The bytes of each operand of the outermost `&&` or `||`; empty without one.
    pub(super) operands: Box<[Range<usize>]>,
}

/// A node; `at` is the offset of its operator in bytes.
#[derive(Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Box<str>),
    /// Nanoseconds since 1970.
    Timestamp(i128),
    /// Nanoseconds.
    Duration(i64),
    Ip(IpAddr),
    Now,
    /// A parameter by its position in the order of their names.
    Parameter(usize),
    Field(Field),
    Select {
        base: Box<Node>,
        key: Box<str>,
        at: usize,
    },
    Index {
        base: Box<Node>,
        index: Box<Node>,
        at: usize,
    },
    HasParameter(usize),
    HasField(Field),
    Has {
        base: Box<Node>,
        key: Box<str>,
        at: usize,
    },
    List(Box<[Node]>),
    Map {
        entries: Box<[(Node, Node)]>,
        at: usize,
    },
    Not {
        operand: Box<Node>,
        at: usize,
    },
    Negate {
        operand: Box<Node>,
        at: usize,
    },
    /// `&&` (`absorbing` is `false`) or `||` (`absorbing` is `true`).
    Logic {
        absorbing: bool,
        operands: Box<[Node]>,
        at: usize,
    },
    Choice {
        nodes: Box<(Node, Node, Node)>,
        at: usize,
    },
    Binary {
        operator: Operator,
        nodes: Box<(Node, Node)>,
        at: usize,
    },
    Call {
        function: Function,
        arguments: Box<[Node]>,
        at: usize,
    },
}

/// A function of the dialect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Function {
    Timestamp,
    Duration,
    Ip,
    Size,
    StartsWith,
    EndsWith,
    Contains,
    /// `inCidr` with a network that is known only when it is evaluated.
    InCidr,
    /// `inCidr` with a literal network.
    InNetwork(Network),
}

/// One of the two described sides of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Principal,
    Resource,
}

/// A fixed name of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Id(Side),
    Type(Side),
    ExternalId(Side),
    Attributes(Side),
    Properties(Side),
    Effective(Side),
    ActionName,
    ActionProperties,
}

impl Field {
    /// The names under `principal` and `resource`.
    pub(super) const OF_SIDE: [&str; 6] = ["id", "type", "external_id", "attributes", "properties", "effective"];

    /// The names under `action`.
    pub(super) const OF_ACTION: [&str; 2] = ["name", "properties"];

    /// The field `name` of `principal` or `resource`.
    pub(super) fn of_side(side: Side, name: &str) -> Option<Self> {
        Some(match name {
            "id" => Self::Id(side),
            "type" => Self::Type(side),
            "external_id" => Self::ExternalId(side),
            "attributes" => Self::Attributes(side),
            "properties" => Self::Properties(side),
            "effective" => Self::Effective(side),
            _ => return None,
        })
    }

    /// The field `name` of `action`.
    pub(super) fn of_action(name: &str) -> Option<Self> {
        Some(match name {
            "name" => Self::ActionName,
            "properties" => Self::ActionProperties,
            _ => return None,
        })
    }

    /// Whether the field is an object of free-form members.
    pub(super) fn is_object(self) -> bool {
        matches!(self, Self::Attributes(_) | Self::Properties(_) | Self::Effective(_) | Self::ActionProperties)
    }

    /// The name as an expression writes it.
    pub(super) fn name(self) -> String {
        let (root, member) = match self {
            Self::Id(side) => (side.root(), "id"),
            Self::Type(side) => (side.root(), "type"),
            Self::ExternalId(side) => (side.root(), "external_id"),
            Self::Attributes(side) => (side.root(), "attributes"),
            Self::Properties(side) => (side.root(), "properties"),
            Self::Effective(side) => (side.root(), "effective"),
            Self::ActionName => ("action", "name"),
            Self::ActionProperties => ("action", "properties"),
        };
        format!("{root}.{member}")
    }

    /// Notes what a read of this field depends on.
    pub(super) fn note(self, reads: &mut Reads) {
        match self {
            Self::ExternalId(Side::Principal) => reads.principal_external_id = true,
            Self::ExternalId(Side::Resource) => reads.resource_external_id = true,
            Self::Attributes(Side::Principal) => reads.principal_attributes = true,
            Self::Attributes(Side::Resource) => reads.resource_attributes = true,
            Self::Properties(Side::Principal) => reads.principal_properties = true,
            Self::Properties(Side::Resource) => reads.resource_properties = true,
            Self::Effective(side) => {
                Self::Attributes(side).note(reads);
                Self::Properties(side).note(reads);
            }
            Self::ActionProperties => reads.action_properties = true,
            Self::Id(Side::Resource) | Self::Type(Side::Resource) => reads.resource_identity = true,
            Self::Id(Side::Principal) | Self::Type(Side::Principal) | Self::ActionName => {}
        }
    }
}

impl Side {
    fn root(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::Resource => "resource",
        }
    }

    pub(super) fn of<'a>(self, inputs: &Inputs<'a>) -> &'a Described {
        match self {
            Self::Principal => inputs.principal,
            Self::Resource => inputs.resource,
        }
    }

    pub(super) fn properties<'a>(self, inputs: &Inputs<'a>) -> &'a JsonObject {
        match self {
            Self::Principal => inputs.properties.principal,
            Self::Resource => inputs.properties.resource,
        }
    }
}
