//! The problems that a takeover finds in the tables of an older implementation.

use std::fmt;

use serde::Serialize;

use super::super::StoreError;

/// A value of an older table that EPR cannot store as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TakeoverProblem {
    /// The older table.
    pub table: &'static str,
    /// The name of one row of the table, for example `assignment`.
    #[serde(skip)]
    pub row_kind: &'static str,
    /// The key of the row.
    pub id: String,
    /// The column.
    pub column: String,
    /// The value, or its beginning; `None` when the column is null.
    pub value: Option<String>,
    /// The error in the value.
    pub problem: String,
    /// The value that the takeover stores instead, or the action that an operator must take first.
    pub remedy: String,
    /// The effect of the remedy on decisions.
    pub decisions: String,
    /// Whether the problem prevents the takeover.
    pub blocks: bool,
}

impl fmt::Display for TakeoverProblem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {} {}: {}: {}", self.table, self.row_kind, self.id, self.column, self.problem)
    }
}

/// The most problems that a report keeps; the others are only counted.
const MAX_KEPT: usize = 10_000;
/// The most problems that an error names.
const MAX_NAMED: usize = 20;

/// Everything that a takeover found.
#[derive(Debug, Default)]
pub struct TakeoverReport {
    /// At most 10,000 problems, in the order of the tables.
    pub problems: Vec<TakeoverProblem>,
    /// The number of problems that prevent the takeover.
    pub blocking: usize,
    /// The number of all problems.
    pub count: usize,
}

impl TakeoverReport {
    /// Adds a problem.
    pub(in super::super) fn add(&mut self, problem: TakeoverProblem) {
        self.count += 1;
        self.blocking += usize::from(problem.blocks);
        if self.problems.len() < MAX_KEPT {
            self.problems.push(problem);
        }
    }

    /// Returns an error that names the blocking problems, if there are any.
    pub(in super::super) fn refuse_if_blocked(&self) -> Result<(), StoreError> {
        if self.blocking == 0 {
            return Ok(());
        }
        let mut named: Vec<String> =
            self.problems.iter().filter(|problem| problem.blocks).take(MAX_NAMED).map(ToString::to_string).collect();
        if self.blocking > named.len() {
            named.push(format!("and {} more", self.blocking - named.len()));
        }
        named.push("`epr migrate --plan` lists everything, with what to do".to_owned());
        Err(StoreError::NotAdopted(named.join("\n")))
    }
}
