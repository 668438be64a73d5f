//! Log lines: their severity and their form.

use std::str::FromStr;

use super::reader::Reader;
use super::variable::{Section, UnknownWord, Variable, find_word};

const LEVEL_ALLOWED: &str = "DEBUG, INFO, WARNING, ERROR, CRITICAL";

const LEVEL: Variable = Variable::text(
    "EPR_LOG_LEVEL",
    "INFO",
    LEVEL_ALLOWED,
    "Least severity that is logged. `FATAL` and `NOTSET` of the older service are accepted, too.",
);
const JSON: Variable = Variable::flag("EPR_LOG_JSON", true, "One JSON object a line; `false`: plain text.");
const SQL_ECHO: Variable = Variable::flag("EPR_SQL_ECHO", false, "Log every SQL statement, without its values.");

pub(super) const SECTION: Section = Section { title: "Logs", variables: &[LEVEL, JSON, SQL_ECHO] };

/// A least severity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Debug,
    /// Normal operation.
    #[default]
    Info,
    /// Possible problems.
    Warning,
    /// Failures.
    Error,
}

impl FromStr for Level {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let words = [
            ("DEBUG", Self::Debug),
            ("TRACE", Self::Debug),
            ("NOTSET", Self::Debug),
            ("INFO", Self::Info),
            ("WARNING", Self::Warning),
            ("WARN", Self::Warning),
            ("ERROR", Self::Error),
            ("CRITICAL", Self::Error),
            ("FATAL", Self::Error),
        ];
        find_word(text, &words, LEVEL_ALLOWED)
    }
}

/// Log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggingSettings {
    /// The least severity that is logged.
    pub level: Level,
    /// One JSON object a line, or plain text.
    pub json: bool,
    /// Whether SQL statements are logged, without the values bound to them.
    pub sql_echo: bool,
}

impl LoggingSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            level: reader.value(&LEVEL, |given| given.parse().ok()).unwrap_or_default(),
            json: reader.flag(&JSON),
            sql_echo: reader.flag(&SQL_ECHO),
        }
    }
}
