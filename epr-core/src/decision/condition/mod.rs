//! Conditions in the dialect `epr-cel-1`, a frozen subset of the Common Expression Language.
//!
//! Owns the language: parsing, static checks, evaluation. Pure: must never read a clock (`now` is an input) or know how
//! conditions are stored or who asks.

mod outcome;

use std::sync::Arc;

use uuid::Uuid;

use crate::domain::{Condition, JsonObject, Timestamp};

pub use outcome::{ErrorKind, Evaluation, EvaluationError, Outcome};

/// A condition that has been parsed and checked. A clone is cheap.
#[derive(Debug, Clone)]
pub struct Compiled(Arc<Condition>);

/// The reason why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at position {position}: {reason}")]
pub struct CompileError {
    /// The position in the expression, in characters from 0.
    pub position: usize,
    /// A sentence that says what is wrong and what to do.
    pub reason: String,
}

/// What an expression reads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, each of which a caller asks for by its name")]
pub struct Reads {
    /// A parameter.
    pub context: bool,
    /// The present time.
    pub now: bool,
    /// The external id of the principal.
    pub principal_external_id: bool,
    /// The stored attributes of the principal, also as a part of `effective`.
    pub principal_attributes: bool,
    /// The properties that the caller states about the principal, also as a part of `effective`.
    pub principal_properties: bool,
    /// The external id of the resource.
    pub resource_external_id: bool,
    /// The stored attributes of the resource, also as a part of `effective`.
    pub resource_attributes: bool,
    /// The properties that the caller states about the resource, also as a part of `effective`.
    pub resource_properties: bool,
    /// The properties that the caller states about the action.
    pub action_properties: bool,
}

/// The values that an evaluation can read.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The context of the question.
    pub context: &'a JsonObject,
    /// The principal of the question.
    pub principal: &'a Described,
    /// The resource of the question.
    pub resource: &'a Described,
    /// The action of the question.
    pub action: &'a str,
    /// The present time.
    pub now: Timestamp,
}

/// A principal or a resource, as an expression sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Described {
    /// Its id.
    pub id: Uuid,
    /// The principal type or entity type.
    pub kind: String,
    /// Its external id, if it has one.
    pub external_id: Option<String>,
    /// The stored attributes.
    pub attributes: JsonObject,
    /// What the caller states about it; empty for callers that may not.
    pub properties: JsonObject,
}

impl Described {
    /// A principal or a resource without external id, attributes and properties.
    #[must_use]
    pub fn new(id: Uuid, kind: impl Into<String>) -> Self {
        let (attributes, properties) = (JsonObject::new(), JsonObject::new());
        Self { id, kind: kind.into(), external_id: None, attributes, properties }
    }
}

/// An operand of the outermost `&&` or `||` of an expression, with its outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The text of the operand.
    pub text: String,
    /// What the operand alone ends with.
    pub value: Outcome,
}

impl Compiled {
    /// Parses and checks `condition`.
    ///
    /// # Errors
    /// The first problem of the expression.
    pub fn new(condition: &Condition) -> Result<Self, CompileError> {
        Ok(Self(Arc::new(condition.clone())))
    }

    /// The condition as it was written.
    #[must_use]
    pub fn source(&self) -> &Condition {
        &self.0
    }

    /// What the expression reads.
    #[must_use]
    pub fn reads(&self) -> Reads {
        Reads::default()
    }

    /// Evaluates the expression.
    #[must_use]
    pub fn evaluate(&self, _inputs: &Inputs<'_>) -> Evaluation {
        let error = EvaluationError { kind: ErrorKind::NoSuchOverload, position: 0 };
        Evaluation { outcome: Outcome::Error(error), until: None }
    }

    /// Evaluates each operand of the outermost `&&` or `||`; the whole expression if it has neither.
    #[must_use]
    pub fn parts(&self, inputs: &Inputs<'_>) -> Vec<Part> {
        vec![Part { text: self.0.expression.clone(), value: self.evaluate(inputs).outcome }]
    }
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Compiled {}
