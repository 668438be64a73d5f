//! The addresses at which the ledger can be published. Must never call what is there.

use std::path::{Path, PathBuf};
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

impl std::fmt::Display for LedgerPlace {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Folder(path) => write!(out, "{}", std::path::absolute(path).as_ref().unwrap_or(path).display()),
            #[cfg(feature = "publish")]
            Self::Bucket { bucket, prefix } if prefix.is_empty() => write!(out, "s3://{bucket}"),
            #[cfg(feature = "publish")]
            Self::Bucket { bucket, prefix } => write!(out, "s3://{bucket}/{prefix}"),
        }
    }
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

    /// Whether what is written to one of the places is also at the other one: they are the same, or one is within the
    /// other.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        let contains = |outer: &Path, inner: &Path| inner.starts_with(outer);
        match (self, other) {
            (Self::Folder(one), Self::Folder(other)) => {
                let (one, other) = (resolved(one), resolved(other));
                contains(&one, &other) || contains(&other, &one)
            }
            #[cfg(feature = "publish")]
            (Self::Bucket { bucket: one, prefix: a }, Self::Bucket { bucket: other, prefix: b }) => {
                let (a, b) = (Path::new(a), Path::new(b));
                one == other && (contains(a, b) || contains(b, a))
            }
            #[cfg(feature = "publish")]
            _ => false,
        }
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

/// The path without links, as far as it exists.
fn resolved(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for ancestor in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (ancestor.canonicalize(), path.strip_prefix(ancestor)) {
            return real.join(rest);
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlap(one: &str, other: &str) -> bool {
        let [one, other] = [one, other].map(|place| LedgerPlace::parse(place).unwrap());
        assert_eq!(one.overlaps(&other), other.overlaps(&one), "{one:?} {other:?}");
        one.overlaps(&other)
    }

    #[test]
    fn a_folder_overlaps_itself_by_any_name_and_what_is_within_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("published");
        std::fs::create_dir(&path).unwrap();
        std::os::unix::fs::symlink(&path, folder.path().join("link")).unwrap();
        let published = path.to_str().unwrap();
        for other in ["published", "published/", "published/archive", "link", "link/archive", "."] {
            assert!(overlap(published, folder.path().join(other).to_str().unwrap()), "{other}");
        }
        assert!(overlap(published, &format!("file://{published}")));
        for other in ["archive", "published-2"] {
            assert!(!overlap(published, folder.path().join(other).to_str().unwrap()), "{other}");
        }
    }

    #[cfg(feature = "publish")]
    #[test]
    fn a_bucket_overlaps_itself_by_whole_parts_of_its_keys() {
        for (one, other, overlaps) in [
            ("s3://a/ledger", "s3://a/ledger/", true),
            ("s3://a/ledger", "s3://a/ledger/archive", true),
            ("s3://a", "s3://a/archive", true),
            ("s3://a/ledger", "s3://a/ledger-archive", false),
            ("s3://a/ledger", "s3://b/ledger", false),
            ("s3://a/ledger", "/a/ledger", false),
        ] {
            assert_eq!(overlap(one, other), overlaps, "{one} {other}");
        }
    }
}
