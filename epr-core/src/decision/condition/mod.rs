//! Conditions in the dialect `epr-cel-1`, a frozen subset of the Common Expression Language.
//!
//! Owns the language: parsing, static checks, evaluation. Pure: must never read a clock (`now` is an input) or know how
//! conditions are stored or who asks.

mod check;
mod clock;
mod compiled;
mod equality;
mod evaluate;
mod functions;
mod inputs;
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

pub use compiled::{CompileError, Compiled, Part};
pub use inputs::{Described, Inputs, Properties, Reads, Sent};
pub use outcome::{ErrorKind, Evaluation, EvaluationError, Outcome};
pub use written::check;
