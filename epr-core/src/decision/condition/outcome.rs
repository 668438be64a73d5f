//! The outcomes of evaluating a condition.
//!
//! Owns the outcomes, the kinds of errors and their sentences. Must never evaluate.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::input::declare::words;
use crate::domain::{ParameterType, Timestamp};

/// The result of one evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Evaluation {
    /// The outcome of the expression.
    pub outcome: Outcome,
    /// The first moment after `now` at which the outcome can differ only because time has passed; never before it.
    /// `None`: time alone does not change the outcome.
    pub until: Option<Timestamp>,
}

/// The outcome of an expression. Only `True` lets an assignment apply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The condition holds.
    True,
    /// The condition does not hold.
    False,
    /// The result depends on names that are absent, for example `context.amount`.
    Missing(BTreeSet<String>),
    /// The expression failed, for example with a division by zero.
    Error(EvaluationError),
    /// The context has declared parameters with values of other types: the names, and the declared types. This is an
    /// error of the caller.
    WrongType(BTreeMap<String, ParameterType>),
}

words! {
    /// The kind of an error of an evaluation.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
    pub enum ErrorKind: "kind of evaluation error" {
        /// An operator or function has no meaning for the types of its operands.
        NoSuchOverload = "no_such_overload",
        /// A number, timestamp or duration left the range of its type.
        Overflow = "overflow",
        /// An integer was divided by zero.
        DivisionByZero = "division_by_zero",
        /// A map literal does not have the key.
        NoSuchKey = "no_such_key",
        /// A list does not have the index.
        IndexOutOfBounds = "index_out_of_bounds",
        /// A map literal has a key twice.
        DuplicateKey = "duplicate_key",
        /// A text is no timestamp, duration, address or network.
        InvalidText = "invalid_text",
        /// A value is too large for the operation.
        TooLarge = "too_large",
    }
}

/// The error of an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EvaluationError {
    /// The kind.
    pub kind: ErrorKind,
    /// The position of the failing operator or function in the expression, in characters from 0.
    pub position: usize,
}

impl std::error::Error for EvaluationError {}

impl fmt::Display for EvaluationError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.kind {
            ErrorKind::NoSuchOverload => "the operation is not defined for values of these types",
            ErrorKind::Overflow => "the result is out of the range of its type",
            ErrorKind::DivisionByZero => "an integer is divided by zero",
            ErrorKind::NoSuchKey => "the map has no such key",
            ErrorKind::IndexOutOfBounds => "the list has no such index",
            ErrorKind::DuplicateKey => "the map has a key twice",
            ErrorKind::InvalidText => "the text is no valid timestamp, duration, address or network",
            ErrorKind::TooLarge => "the value is too large for this operation",
        };
        write!(out, "at position {}: {what}", self.position)
    }
}
