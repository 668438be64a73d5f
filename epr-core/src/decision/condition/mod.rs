//! Conditions in the dialect `epr-cel-1`, a frozen subset of the Common Expression Language.
//!
//! Owns the language: parsing, static checks, evaluation. Pure: must never read a clock (`now` is an input) or know how
//! conditions are stored or who asks.

mod check;
mod clock;
mod evaluate;
mod functions;
mod lexer;
mod literal;
mod names;
mod network;
mod operators;
mod outcome;
mod parser;
mod program;
mod syntax;
#[cfg(test)]
mod tests;
mod time_text;
mod types;
mod value;
mod written;

use std::ops::Range;
use std::sync::Arc;

use uuid::Uuid;

use crate::domain::condition::{MAX_EXPRESSION_BYTES, MAX_PARAMETERS};
use crate::domain::{Condition, JsonObject, Timestamp};

pub use outcome::{ErrorKind, Evaluation, EvaluationError, Outcome};
pub use written::check;

/// A condition that has been parsed and checked. A clone is cheap.
#[derive(Debug, Clone)]
pub struct Compiled(Arc<program::Program>);

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
        let text = &condition.expression;
        let checked = if text.len() > MAX_EXPRESSION_BYTES {
            let reason = format!("the expression has {} bytes; the most is {MAX_EXPRESSION_BYTES}", text.len());
            Err(syntax::Rejected::new(0, reason))
        } else if condition.parameters.len() > MAX_PARAMETERS {
            let count = condition.parameters.len();
            let reason = format!("the condition has {count} parameters; the most is {MAX_PARAMETERS}");
            Err(syntax::Rejected::new(0, reason))
        } else {
            parser::parse(text).and_then(|expression| check::check(condition, &expression))
        };
        match checked {
            Ok(program) => Ok(Self(Arc::new(program))),
            Err(rejected) => Err(CompileError { position: characters(text, rejected.at), reason: rejected.reason }),
        }
    }

    /// The condition as it was written.
    #[must_use]
    pub fn source(&self) -> &Condition {
        &self.0.source
    }

    /// What the expression reads.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.0.reads
    }

    /// Evaluates the expression.
    #[must_use]
    pub fn evaluate(&self, inputs: &Inputs<'_>) -> Evaluation {
        evaluate::evaluate(&self.0, &self.0.root, inputs)
    }

    /// Evaluates each operand of the outermost `&&` or `||`; the whole expression if it has neither.
    #[must_use]
    pub fn parts(&self, inputs: &Inputs<'_>) -> Vec<Part> {
        let text = &self.0.source.expression;
        let part = |bytes: Range<usize>, node| Part {
            text: text.get(bytes).unwrap_or_default().to_owned(),
            value: evaluate::evaluate(&self.0, node, inputs).outcome,
        };
        match &self.0.root {
            program::Node::Logic { operands, .. } => {
                self.0.operands.iter().zip(operands).map(|(bytes, node)| part(bytes.clone(), node)).collect()
            }
            root => vec![part(0..text.len(), root)],
        }
    }
}

/// The number of characters before the byte `at`.
fn characters(text: &str, at: usize) -> usize {
    text.char_indices().take_while(|(start, _)| *start < at).count()
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Compiled {}
