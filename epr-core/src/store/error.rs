//! Errors of the store, by what the caller can do about them.

use crate::domain::NotAskable;

/// A failed storage call.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database cannot be reached or does not answer in time.
    #[error("the database is not available")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Another service that the call needs cannot be reached or refuses.
    #[error("another service is not available")]
    Dependency(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A list or a scan has to wait or to end, because others need the database.
    #[error("{0}")]
    Busy(&'static str),
    /// The transaction lost against another one and may be tried again from the start.
    #[error("the transaction was in conflict with another one")]
    Contention(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A reference to a row that is not there.
    #[error("a referenced row does not exist")]
    MissingReference,
    /// A row has a value that this program could not have written.
    #[error("the stored {what} cannot be read: {why}")]
    Corrupt {
        /// Which column or row.
        what: &'static str,
        /// The error in the value.
        why: String,
    },
    /// The schema is newer than this program, and does not admit it.
    #[error(
        "the database schema is at version {applied}, this program knows versions up to {known}, and {}: run a newer \
         program, or restore the database that belongs to this one", admitted(*.oldest_program)
    )]
    SchemaTooNew {
        /// Newest migration applied.
        applied: i64,
        /// Newest migration known.
        known: i64,
        /// The oldest program that the schema admits, by the newest migration that it knows; `None` if it does not say.
        oldest_program: Option<i64>,
    },
    /// The schema is older than this program, and migrations are turned off.
    #[error(
        "the database schema is at version {applied}, this program needs version {known}: run `epr migrate`, \
         or set RUN_MIGRATIONS=true"
    )]
    SchemaTooOld {
        /// Newest migration applied.
        applied: i64,
        /// Newest migration known.
        known: i64,
    },
    /// A migration differs from the one that was applied, or failed.
    #[error("the database schema could not be brought up to date: {0}")]
    Migration(String),
    /// The ledger's entry could not be written, and so nothing was.
    #[error("the ledger could not be written")]
    Ledger(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The tables of an older implementation could not be taken over; nothing was changed.
    #[error("the tables of the older implementation were not taken over, and nothing was changed: {0}")]
    NotAdopted(String),
    /// The database could not be given back to an older implementation; nothing was changed.
    #[error("the database was not handed back, and nothing was changed: {0}")]
    NotHandedBack(String),
    /// The connection cannot be set up as the settings say.
    #[error("the connection to PostgreSQL cannot be set up: {0}")]
    Connection(String),
    /// The database cannot be used as it is: its encoding, a missing right, another application's tables, a pooler's
    /// mode.
    #[error("{0}")]
    Unsuitable(String),
    /// A call would need more memory than it may have.
    #[error("{0}")]
    TooLarge(&'static str),
    /// A moment of the past cannot be asked.
    #[error(transparent)]
    NotAskable(#[from] NotAskable),
    /// Anything else: a error of this program or of the database.
    #[error("the database refused a statement")]
    Backend(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The programs that a newer schema admits.
fn admitted(oldest_program: Option<i64>) -> String {
    match oldest_program {
        Some(oldest) => format!("the schema admits only programs that know version {oldest}"),
        None => "the schema does not say that older programs can run on it".to_owned(),
    }
}

/// Why no connection to the database could be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {why}")]
pub struct ConnectFailure {
    /// One word.
    pub reason: &'static str,
    /// The message of the driver.
    pub why: String,
    /// Whether the error lasts: the server's certificate is not valid, or the server has no TLS.
    pub lasting: bool,
}

impl StoreError {
    /// Whether one of several items in a batch can be the cause, rather than the connection to the database.
    pub(crate) fn may_be_about_one(&self) -> bool {
        matches!(self, Self::Backend(_) | Self::Corrupt { .. })
    }

    /// The error of a column that cannot be read.
    #[allow(clippy::needless_pass_by_value, reason = "errors are given away where they are made")]
    pub(crate) fn corrupt(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Corrupt { what, why: why.to_string() }
    }
}
