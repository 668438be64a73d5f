//! A condition that is ready to be evaluated.
//!
//! Owns the way from text to outcome. Must never know the language.

use std::ops::Range;
use std::sync::Arc;

use super::evaluate::evaluate;
use super::inputs::{Inputs, Reads};
use super::outcome::{Evaluation, Outcome};
use super::program::{Node, Program};
use super::syntax::{Rejected, characters};
use super::{check, parser};
use crate::domain::Condition;
use crate::domain::condition::{MAX_EXPRESSION_BYTES, MAX_PARAMETERS};

/// A condition that has been parsed and checked. A clone is cheap.
#[derive(Debug, Clone)]
pub struct Compiled(Arc<Program>);

/// The reason why an expression cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at position {position}: {reason}")]
pub struct CompileError {
    /// The position in the expression, in characters from 0.
    pub position: usize,
    /// A sentence that says what is wrong and what to do.
    pub reason: String,
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
            Err(Rejected::new(0, reason))
        } else if condition.parameters.len() > MAX_PARAMETERS {
            let count = condition.parameters.len();
            let reason = format!("the condition has {count} parameters; the most is {MAX_PARAMETERS}");
            Err(Rejected::new(0, reason))
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

    /// The inputs that the expression reads.
    #[must_use]
    pub fn reads(&self) -> Reads {
        self.0.reads
    }

    /// Evaluates the expression.
    #[must_use]
    pub fn evaluate(&self, inputs: &Inputs<'_>) -> Evaluation {
        evaluate(&self.0, &self.0.root, inputs)
    }

    /// Evaluates each operand of the outermost `&&` or `||`; the whole expression if it has neither.
    #[must_use]
    pub fn parts(&self, inputs: &Inputs<'_>) -> Vec<Part> {
        let text = &self.0.source.expression;
        let part = |bytes: Range<usize>, node| Part {
            text: text.get(bytes).unwrap_or_default().to_owned(),
            value: evaluate(&self.0, node, inputs).outcome,
        };
        match &self.0.root {
            Node::Logic { operands, .. } => {
                self.0.operands.iter().zip(operands).map(|(bytes, node)| part(bytes.clone(), node)).collect()
            }
            root => vec![part(0..text.len(), root)],
        }
    }
}

impl PartialEq for Compiled {
    fn eq(&self, other: &Self) -> bool {
        self.source() == other.source()
    }
}

impl Eq for Compiled {}
