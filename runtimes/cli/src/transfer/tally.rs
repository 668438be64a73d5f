//! The counts of an import, and their sentence.

use serde::Serialize;

use super::plan::Change;
use crate::output::count;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) created: u64,
    pub(super) changed: u64,
    pub(super) unchanged: u64,
}

impl Tally {
    pub(super) fn add(&mut self, change: Change) {
        match change {
            Change::Create => self.created += 1,
            Change::Update => self.changed += 1,
            Change::Nothing => self.unchanged += 1,
        }
    }
}

/// The counts of both kinds of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tallies {
    pub(super) roles: Tally,
    pub(super) assignments: Tally,
}

impl Tallies {
    /// `2 roles created, 1 changed, 5 unchanged; 10 assignments created, 0 changed, 3 unchanged`
    pub(super) fn sentence(&self) -> String {
        let of = |tally: Tally, one, many| {
            let Tally { created, changed, unchanged } = tally;
            format!("{} created, {changed} changed, {unchanged} unchanged", count(created, one, many))
        };
        let roles = of(self.roles, "role", "roles");
        format!("{roles}; {}", of(self.assignments, "assignment", "assignments"))
    }
}
