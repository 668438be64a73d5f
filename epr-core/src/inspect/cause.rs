//! The cause of an error, for a finding.

use crate::Error;
use crate::error::chain;

/// The cause of an error, which its public sentence hides.
pub(super) fn cause(error: &Error) -> String {
    match error {
        Error::Internal(cause) | Error::Unavailable(cause) => chain(cause),
        other => chain(other),
    }
}
