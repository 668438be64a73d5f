//! What does not fit when the tables of an older implementation are taken over.

use std::fmt;

use serde::Serialize;

use super::StoreError;

/// A value of an older table that EPR cannot store as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Misfit {
    /// The older table.
    pub table: &'static str,
    /// What a row of it is.
    #[serde(skip)]
    pub what: &'static str,
    /// The row's key.
    pub id: String,
    /// The column.
    pub column: String,
    /// Its value, or the start of it; `None` when it has none.
    pub value: Option<String>,
    /// What is wrong with it.
    pub problem: String,
    /// What takeover makes of it, or what to do first.
    pub remedy: String,
    /// What the remedy changes in decisions.
    pub decisions: String,
    /// Whether nothing is taken over while it is there.
    pub blocks: bool,
}

impl fmt::Display for Misfit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}, {} {}: {}: {}", self.table, self.what, self.id, self.column, self.problem)
    }
}

/// Most misfits that are kept; of more there is a count.
const MAX_KEPT: usize = 10_000;
/// Most misfits that an error names.
const MAX_NAMED: usize = 20;

/// Everything that a takeover found.
#[derive(Debug, Default)]
pub struct TakeoverReport {
    /// At most [`MAX_KEPT`] misfits, in the order of the tables.
    pub misfits: Vec<Misfit>,
    /// How many block the takeover.
    pub blocking: usize,
    /// How many there are.
    pub count: usize,
}

impl TakeoverReport {
    /// Adds a misfit.
    pub(super) fn add(&mut self, misfit: Misfit) {
        self.count += 1;
        self.blocking += usize::from(misfit.blocks);
        if self.misfits.len() < MAX_KEPT {
            self.misfits.push(misfit);
        }
    }

    /// Refuses the takeover if something blocks it, and names it.
    pub(super) fn refuse_if_blocked(&self) -> Result<(), StoreError> {
        if self.blocking == 0 {
            return Ok(());
        }
        let mut named: Vec<String> =
            self.misfits.iter().filter(|misfit| misfit.blocks).take(MAX_NAMED).map(ToString::to_string).collect();
        if self.blocking > named.len() {
            named.push(format!("and {} more", self.blocking - named.len()));
        }
        named.push("`epr migrate --plan` lists everything, with what to do".to_owned());
        Err(StoreError::NotAdopted(named.join("\n")))
    }
}
