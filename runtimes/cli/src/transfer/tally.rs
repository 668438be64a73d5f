//! The counts of an import, and their sentence.

use serde::Serialize;
use serde_json::Value;

use super::plan::Change;
use crate::output::count;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tally {
    pub(super) created: u64,
    pub(super) changed: u64,
    pub(super) unchanged: u64,
}

impl Tally {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn add(&mut self, change: Change) {
        match change {
            Change::Create => self.created += 1,
            Change::Update => self.changed += 1,
            Change::Nothing => self.unchanged += 1,
        }
    }
}

/// The counts of all kinds of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Tallies {
    /// Left out while there are none, as in files of earlier versions.
    #[serde(skip_serializing_if = "Tally::is_empty")]
    pub(super) principals: Tally,
    pub(super) roles: Tally,
    pub(super) assignments: Tally,
}

impl Tallies {
    /// How many objects are created or changed.
    pub(super) fn changes(&self) -> u64 {
        [self.principals, self.roles, self.assignments].iter().map(|tally| tally.created + tally.changed).sum()
    }

    /// `report` with the counts as further members.
    pub(super) fn beside(&self, mut report: Value) -> Value {
        if let (Value::Object(members), Ok(Value::Object(tallies))) = (&mut report, serde_json::to_value(self)) {
            members.extend(tallies);
        }
        report
    }

    /// `2 roles created, 1 changed, 5 unchanged; 10 assignments created, 0 changed, 3 unchanged`; principals first, if
    /// there are any.
    pub(super) fn sentence(&self) -> String {
        let of = |tally: Tally, one, many| {
            let Tally { created, changed, unchanged } = tally;
            format!("{} created, {changed} changed, {unchanged} unchanged", count(created, one, many))
        };
        let rest = [of(self.roles, "role", "roles"), of(self.assignments, "assignment", "assignments")].join("; ");
        if self.principals.is_empty() {
            return rest;
        }
        format!("{}; {rest}", of(self.principals, "principal", "principals"))
    }
}
