//! The moment that a question is about: now, or one of the past.
//!
//! Owns how a request names it. Must never know how history is stored.

use super::fields::{self, Fields, Problem, Reading};
use super::json::Json;
use super::revision::Revision;
use super::time::Timestamp;

/// The moment that a question is about. Without both members it is the present one.
///
/// - `revision`: the registry after that entry; windows and `now` are compared with the time of the entry.
/// - `at`: the registry as it was at that time; windows and `now` are compared with it.
/// - both: the registry after the entry of `revision`; windows and `now` are compared with `at`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Moment {
    /// The time that windows are compared with, and that names the state of the registry unless `revision` does.
    pub at: Option<Timestamp>,
    /// The state of the registry.
    pub revision: Option<Revision>,
}

impl Moment {
    /// The names of the query parameters and members.
    pub const MEMBERS: [&str; 2] = ["at", "revision"];

    /// The present.
    pub const NOW: Self = Self { at: None, revision: None };

    /// The registry as it was at a time.
    #[must_use]
    pub fn at(at: Timestamp) -> Self {
        Self { at: Some(at), revision: None }
    }

    /// The registry after an entry.
    #[must_use]
    pub fn revision(revision: Revision) -> Self {
        Self { at: None, revision: Some(revision) }
    }

    /// Whether it is the present.
    #[must_use]
    pub fn is_now(&self) -> bool {
        *self == Self::NOW
    }

    /// The time with which the present registry is asked about: a later one than `now`, or `now` itself. `None` for a
    /// moment of the past.
    #[must_use]
    pub fn of_present(&self, now: Timestamp) -> Option<Timestamp> {
        self.at.filter(|at| self.revision.is_none() && *at >= now)
    }

    /// Reads the members `at` and `revision`. Every failing one is reported.
    pub fn read(fields: &mut Fields<'_>) -> Self {
        Self { at: fields.optional("at", fields::timestamp), revision: fields.optional("revision", revision) }
    }
}

impl From<Option<Timestamp>> for Moment {
    fn from(at: Option<Timestamp>) -> Self {
        Self { at, revision: None }
    }
}

/// Reads the text form of a revision.
///
/// # Errors
/// It is none.
pub fn revision(value: &Json) -> Reading<Revision> {
    let text = value.as_text().ok_or_else(|| vec![Problem::new("string_type", "Input should be a valid string")])?;
    text.parse().map_err(|error: super::revision::RevisionError| vec![Problem::new("revision", error.to_string())])
}

/// The moment of a past answer: a state of the registry, and the time that windows were compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PastMoment {
    /// The state of the registry.
    pub revision: Revision,
    /// The time.
    pub at: Timestamp,
}

/// The state of the registry that a page of a list is read at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum PageMoment {
    /// The newest one.
    #[default]
    Present,
    /// That of the first page of its list.
    Pinned(PastMoment),
    /// One that the request names; the present time decides whether a time is one of the past.
    Asked(Moment, Timestamp),
}

/// Why a moment cannot be asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAskable {
    /// The revision belongs to another ledger.
    #[error(
        "The revision belongs to another incarnation of this ledger (a takeover or a restored backup began a new one); \
         the present revision is {present}"
    )]
    OtherIncarnation {
        /// The present revision.
        present: Revision,
    },
    /// The ledger has not come so far.
    #[error("The ledger has not reached this revision; the present one is {present}")]
    Unreached {
        /// The present revision.
        present: Revision,
    },
    /// The registry was empty, or its history is not known.
    #[error("The registry has no history before its first revision, {}, of {}", .first.revision, .first.at)]
    BeforeFirst {
        /// The first moment that can be asked.
        first: PastMoment,
    },
    /// There is no entry yet.
    #[error("The registry is empty and has no history yet")]
    NoHistory,
    /// The tables of history lack entries.
    #[error(
        "The history of the registry is complete up to revision {complete_to} only; if nothing is completing it, run \
         `epr history complete`"
    )]
    Incomplete {
        /// The last revision that can be asked.
        complete_to: Revision,
    },
}
