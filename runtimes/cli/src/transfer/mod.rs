//! Roles and assignments in a file: out with `epr export`, in with `epr import`.
//!
//! A file can be brought into another installation: roles are known by their names, entities by type and name (and by
//! their id where that exists).

pub(crate) mod export;
mod file;
pub(crate) mod import;
mod plan;
mod record;
mod tally;
mod work;

use std::path::Path;

use clap::ValueEnum;

/// How a file is written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line
    Json,
    /// A table with a heading, as spreadsheets take it
    Csv,
}

impl Format {
    /// The one asked for, or the one that the file's name ends in.
    fn of(asked: Option<Self>, path: Option<&Path>) -> Self {
        let ending = path.and_then(Path::extension).and_then(|ending| ending.to_str());
        asked.unwrap_or(match ending {
            Some(ending) if ending.eq_ignore_ascii_case("csv") => Self::Csv,
            _ => Self::Json,
        })
    }
}

/// One half of what a file can hold.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Roles with their actions
    Roles,
    /// Who holds which role where
    Assignments,
}
