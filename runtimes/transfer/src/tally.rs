//! The counts of an import, and their sentence.

use serde::Serialize;
use serde_json::Value;

use crate::plan::Change;
use crate::text::count;

/// The counts of one kind of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Objects that are created.
    pub created: u64,
    /// Objects that are changed.
    pub changed: u64,
    /// Objects that stay as they are.
    pub unchanged: u64,
}

impl Tally {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Counts one record.
    pub fn add(&mut self, change: Change) {
        match change {
            Change::Create => self.created += 1,
            Change::Update => self.changed += 1,
            Change::Nothing => self.unchanged += 1,
        }
    }
}

/// The counts of all kinds of records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tallies {
    /// Of principals. Left out while there are none, as in files of earlier versions.
    #[serde(skip_serializing_if = "Tally::is_empty")]
    pub principals: Tally,
    /// Of roles.
    pub roles: Tally,
    /// Of assignments.
    pub assignments: Tally,
}

impl Tallies {
    /// How many objects are created or changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        [self.principals, self.roles, self.assignments].iter().map(|tally| tally.created + tally.changed).sum()
    }

    /// `report` with the counts as further members.
    #[must_use]
    pub fn beside(&self, mut report: Value) -> Value {
        if let (Value::Object(members), Ok(Value::Object(tallies))) = (&mut report, serde_json::to_value(self)) {
            members.extend(tallies);
        }
        report
    }

    /// `2 roles created, 1 changed, 5 unchanged; 10 assignments created, 0 changed, 3 unchanged`; principals first, if
    /// there are any.
    #[must_use]
    pub fn sentence(&self) -> String {
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
