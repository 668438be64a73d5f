//! The handlers' errors, split by what a caller does about them. Public text and cause are kept apart.

use crate::domain::fields::Problem;
use crate::domain::{Invalid, NotAskable};
use crate::store::{ConnectFailure, StoreError};

/// The result of a use case.
pub type Result<T> = std::result::Result<T, Error>;

/// The error of a use case. Its `Display` is for the caller; its cause is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input fails validation: correct the fields named.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The input is well formed but does not fit what is registered: correct it.
    #[error("{0}")]
    Refused(String),
    /// The subject of the call does not exist.
    #[error("{0}")]
    NotFound(String),
    /// The name is already in use.
    #[error("{0}")]
    Conflict(String),
    /// A dependency is unavailable: try again later.
    #[error("The service is temporarily unavailable")]
    Unavailable(#[source] StoreError),
    /// A list or a scan had to wait too long for the database, or was ended for other calls: narrow it, or try again
    /// later.
    #[error("{0}")]
    Busy(&'static str),
    /// A moment of the past cannot be asked before history is complete: the sentence says up to where it is.
    #[error("{0}")]
    HistoryIncomplete(String),
    /// Entries were dropped from the database, and their archive is not set or cannot be read: the sentence says which
    /// entries, and what to set.
    #[error("{0}")]
    Archived(String),
    /// An error of this program or its database: report it.
    #[error("Internal server error")]
    Internal(#[source] StoreError),
}

impl Error {
    /// Whether the same call may succeed later.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy(_) | Self::HistoryIncomplete(_) | Self::Archived(_))
    }

    /// One failing field of the body.
    pub(crate) fn field(name: &'static str, problem: Problem) -> Self {
        Self::Invalid(Invalid::one("body", Some(name), problem))
    }
}

impl From<ConnectFailure> for Error {
    fn from(unreached: ConnectFailure) -> Self {
        Self::Unavailable(StoreError::Unavailable(Box::new(unreached)))
    }
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        match error {
            // Contention has been retried by now; a later attempt of the caller may succeed.
            StoreError::Unavailable(_)
            | StoreError::Dependency(_)
            | StoreError::Contention(_)
            | StoreError::Ledger(_) => Self::Unavailable(error),
            StoreError::Busy(why) => Self::Busy(why),
            StoreError::NotAskable(NotAskable::Incomplete { .. }) => Self::HistoryIncomplete(error.to_string()),
            StoreError::NotAskable(NotAskable::OtherIncarnation { .. }) => Self::Conflict(error.to_string()),
            StoreError::NotAskable(_) | StoreError::TooLarge(_) => Self::Refused(error.to_string()),
            StoreError::MissingReference
            | StoreError::Corrupt { .. }
            | StoreError::SchemaTooNew { .. }
            | StoreError::SchemaTooOld { .. }
            | StoreError::Migration(_)
            | StoreError::NotAdopted(_)
            | StoreError::NotHandedBack(_)
            | StoreError::Connection(_)
            | StoreError::Unsuitable(_)
            | StoreError::Backend(_) => Self::Internal(error),
        }
    }
}

/// An error with all its causes on one line, for the log. A cause that the error above it already quotes is not
/// repeated: the database driver's errors end with the text of their cause.
#[must_use]
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.ends_with(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[derive(Debug, thiserror::Error)]
    enum Failure {
        #[error("the file cannot be read")]
        Plain(#[source] std::io::Error),
        #[error("the file cannot be read: {0}")]
        Quoting(#[source] std::io::Error),
        #[error("the start failed")]
        Above(#[source] Box<Failure>),
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || std::io::Error::other("no room");
        for failure in [Failure::Plain(cause()), Failure::Quoting(cause())] {
            assert_eq!(chain(&failure), "the file cannot be read: no room");
            assert_eq!(chain(&Failure::Above(Box::new(failure))), "the start failed: the file cannot be read: no room");
        }
    }
}
