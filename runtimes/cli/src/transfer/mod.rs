//! Principals, roles and assignments in a file, written by `epr export` and applied by `epr import`.
//!
//! A file can be imported into another installation: roles are identified by name, entities by type and name, or by
//! id where the id exists; principals by type and id, or by type and external id.

pub(crate) mod export;
mod file;
pub(crate) mod import;
mod plan;
mod principal;
mod record;
mod run;
mod tally;

use std::path::Path;

use clap::ValueEnum;

/// The format of a file.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object per line
    Json,
    /// A table with a header row, for spreadsheets
    Csv,
}

impl Format {
    /// The given format, or the one of the file's extension.
    fn of(given: Option<Self>, path: Option<&Path>) -> Self {
        let ending = path.and_then(Path::extension).and_then(|ending| ending.to_str());
        given.unwrap_or(match ending {
            Some(ending) if ending.eq_ignore_ascii_case("csv") => Self::Csv,
            _ => Self::Json,
        })
    }
}

/// One of the kinds of records.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Registered principals, with their personal fields
    Principals,
    /// Roles with their permissions
    Roles,
    /// Assignments
    Assignments,
}
