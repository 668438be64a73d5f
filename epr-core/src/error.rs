//! The handlers' errors, split by what a caller does about them. Public text and cause are kept apart.

use crate::domain::Invalid;
use crate::domain::fields::Problem;
use crate::store::{ConnectFailure, StoreError};

/// What a handler gives.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a use case did not succeed. `Display` is what the caller may read; the cause is for the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The input fails validation: correct the fields named.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The input is well formed but does not fit what is registered: correct it.
    #[error("{0}")]
    Refused(String),
    /// What the call is about does not exist.
    #[error("{0}")]
    NotFound(String),
    /// Something else already holds the name.
    #[error("{0}")]
    Conflict(String),
    /// A dependency is down: try again later.
    #[error("The service is temporarily unavailable")]
    Unavailable(#[source] StoreError),
    /// A list or a scan has to wait or to end, because others need the database: narrow it, or try again later.
    #[error("{0}")]
    Busy(&'static str),
    /// A fault on this side: report it.
    #[error("Internal server error")]
    Internal(#[source] StoreError),
}

impl Error {
    /// Whether the same call may succeed later without being changed.
    #[must_use]
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Busy(_))
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
    fn from(fault: StoreError) -> Self {
        match fault {
            // Contention has been retried by then; the next attempt of the caller meets another moment.
            StoreError::Unavailable(_) | StoreError::Contention(_) | StoreError::Ledger(_) => Self::Unavailable(fault),
            StoreError::Busy(why) => Self::Busy(why),
            StoreError::MissingReference
            | StoreError::Corrupt { .. }
            | StoreError::SchemaTooNew { .. }
            | StoreError::SchemaTooOld { .. }
            | StoreError::Migration(_)
            | StoreError::NotAdopted(_)
            | StoreError::NotHandedBack(_)
            | StoreError::Connection(_)
            | StoreError::Unsuitable(_)
            | StoreError::Backend(_) => Self::Internal(fault),
        }
    }
}

/// An error with all its causes on one line, for the log. A cause that the error above it already quotes is not repeated: the database
/// driver's errors end with the text of their cause.
#[must_use]
pub fn chain(fault: &dyn std::error::Error) -> String {
    let mut line = fault.to_string();
    let mut next = fault.source();
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
    enum Fault {
        #[error("the file cannot be read")]
        Plain(#[source] std::io::Error),
        #[error("the file cannot be read: {0}")]
        Quoting(#[source] std::io::Error),
        #[error("the start failed")]
        Above(#[source] Box<Fault>),
    }

    #[test]
    fn a_cause_is_said_once() {
        let cause = || std::io::Error::other("no room");
        for fault in [Fault::Plain(cause()), Fault::Quoting(cause())] {
            assert_eq!(chain(&fault), "the file cannot be read: no room");
            assert_eq!(chain(&Fault::Above(Box::new(fault))), "the start failed: the file cannot be read: no room");
        }
    }
}
