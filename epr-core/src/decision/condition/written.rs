//! Conditions as callers write them: whether they compile.
//!
//! Owns the problem that a caller sees. Must never evaluate.

use super::Compiled;
use crate::domain::Condition;
use crate::domain::fields::Problem;

/// Checks that `condition` compiles.
///
/// # Errors
/// The first problem of the expression, under `expression`: its position and the reason.
pub fn check(condition: &Condition) -> Result<(), Problem> {
    match Compiled::new(condition) {
        Ok(_) => Ok(()),
        Err(error) => {
            let problem = Problem::new("condition_invalid", format!("The expression cannot be used {error}"));
            Err(problem.under("expression"))
        }
    }
}
