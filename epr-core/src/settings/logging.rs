//! What is logged, and how.

use super::source::{Reader, plain};

/// The least severity that is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Everything.
    Debug,
    /// What happened.
    Info,
    /// What looks wrong.
    Warning,
    /// What failed.
    Error,
}

/// `EPR_LOG_LEVEL`, `EPR_LOG_JSON`, `EPR_SQL_ECHO`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LoggingSettings {
    /// The least severity that is logged.
    pub level: Level,
    /// One JSON object a line, or plain text.
    pub json: bool,
    /// Whether SQL statements are logged (without the values bound to them).
    pub sql_echo: bool,
}

impl LoggingSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            level: reader.value(
                "EPR_LOG_LEVEL",
                Level::Info,
                "DEBUG, INFO, WARNING, ERROR, CRITICAL",
                plain,
                |given| match given.to_ascii_uppercase().as_str() {
                    "DEBUG" | "TRACE" | "NOTSET" => Some(Level::Debug),
                    "INFO" => Some(Level::Info),
                    "WARNING" | "WARN" => Some(Level::Warning),
                    "ERROR" | "CRITICAL" | "FATAL" => Some(Level::Error),
                    _ => None,
                },
            ),
            json: reader.flag("EPR_LOG_JSON", true),
            sql_echo: reader.flag("EPR_SQL_ECHO", false),
        }
    }
}
