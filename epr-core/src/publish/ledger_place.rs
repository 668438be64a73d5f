//! The addresses at which the ledger can be published. Must never call what is there.

use std::path::PathBuf;
use std::sync::Arc;

#[cfg(feature = "publish")]
use super::ledger_s3::{LedgerBucket, Retention};
use super::ledger_target::{LedgerFolder, LedgerTarget};
#[cfg(feature = "publish")]
use crate::settings::AwsSettings;

/// The address of a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LedgerPlace {
    /// A folder.
    Folder(PathBuf),
    /// A bucket of S3, and the beginning of every key in it.
    #[cfg(feature = "publish")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// The beginning of every key, without a slash at its end; may be empty.
        prefix: String,
    },
}

impl LedgerPlace {
    /// The addresses in words.
    pub const ALLOWED: &'static str = "the path of a folder, or s3://bucket/prefix";

    /// Reads an address.
    #[must_use]
    pub fn parse(given: &str) -> Option<Self> {
        #[cfg(feature = "publish")]
        if let Some(place) = given.strip_prefix("s3://") {
            let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
            let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
            let prefix = prefix.trim_matches('/').to_owned();
            return (!bucket.is_empty() && bucket.chars().all(valid))
                .then(|| Self::Bucket { bucket: bucket.to_owned(), prefix });
        }
        let path = given.strip_prefix("file://").unwrap_or(given);
        (!path.is_empty() && !path.contains("://")).then(|| Self::Folder(path.into()))
    }

    /// Opens the target. `retention` is for objects in a bucket that has Object Lock without a default retention.
    #[cfg(feature = "publish")]
    #[must_use]
    pub fn open(&self, aws: &AwsSettings, retention: Option<Retention>) -> Arc<dyn LedgerTarget> {
        match self {
            Self::Folder(path) => Arc::new(LedgerFolder(path.clone())),
            Self::Bucket { bucket, prefix } => Arc::new(LedgerBucket::new(aws, bucket, prefix, retention)),
        }
    }

    /// Opens the target.
    #[cfg(not(feature = "publish"))]
    #[must_use]
    pub fn open(&self) -> Arc<dyn LedgerTarget> {
        let Self::Folder(path) = self;
        Arc::new(LedgerFolder(path.clone()))
    }
}
