//! Principals, roles and assignments in a file, written by `epr export` and applied by `epr import`. `epr-transfer`
//! reads the records and compares them with the registry.

pub(crate) mod export;
pub(crate) mod import;

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

impl From<Format> for epr_transfer::input::Format {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Csv => Self::Csv,
        }
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
