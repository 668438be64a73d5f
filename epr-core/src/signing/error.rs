//! Why no checkpoint could be signed.

use crate::error::Error;
use crate::ledger::checkpoint::CheckpointError;
use crate::ledger::note::{KeyError, NoteError};
use crate::store::StoreError;

/// No checkpoint could be signed.
#[derive(Debug, thiserror::Error)]
pub enum SigningError {
    /// The key library failed.
    #[error("the key could not sign")]
    Failed,
    /// KMS failed, or has another key than the setting needs.
    #[error("the KMS key {arn}: {why}")]
    Kms {
        /// The ARN of the key.
        arn: String,
        /// The problem.
        why: String,
    },
    /// The signature is not one of the key.
    #[error("the key made a signature that its public key does not verify: {0}")]
    Wrong(#[source] NoteError),
    /// The origin is not one.
    #[error(transparent)]
    Origin(#[from] CheckpointError),
    /// The origin is no key name.
    #[error(transparent)]
    Name(#[from] KeyError),
}

impl From<SigningError> for Error {
    fn from(error: SigningError) -> Self {
        match error {
            // KMS may answer later.
            SigningError::Kms { .. } => Self::Unavailable(StoreError::Dependency(Box::new(error))),
            _ => Self::Internal(StoreError::corrupt("EPR_LEDGER_KEY", error)),
        }
    }
}
