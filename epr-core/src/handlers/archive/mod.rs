//! Archives of the ledger: bundles of entries below a published checkpoint, written to a place and read back.
//!
//! Writing and checking delete no entry; `drop` deletes those that a whole archive has. Must never write the manifest
//! of a bundle before every file of it was read back and verified, and must never archive an entry that no published
//! checkpoint covers.

mod age;
mod check;
mod drop;
mod entries;
pub(crate) mod lines;
mod write;

use serde::Serialize;

pub(crate) use self::check::check;
pub(crate) use self::drop::drop_archived;
pub use self::drop::{DropOptions, Dropped};
pub(crate) use self::write::write;
use crate::domain::Incarnation;
use crate::engine::Engines;
use crate::engine::ledger_tree::LedgerTree;
use crate::error::{Error, Result, chain};
use crate::ledger::archive::{
    ArchiveError, ArchiveFormat, ArchivedFile, Bundle, FORMAT_FILE, MAX_FORMAT_BYTES, MAX_MANIFEST_BYTES, Manifest,
};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::{Note, NoteError, VerifierKey};
use crate::publish::ledger_target::{LedgerTarget, TargetError};

/// What to archive, and where.
pub struct ArchiveOptions<'a> {
    /// The place of the archive.
    pub target: &'a dyn LedgerTarget,
    /// The place at which checkpoints are published.
    pub published: &'a dyn LedgerTarget,
    /// The last entry that may be archived; default: the last published one.
    pub to_sequence: Option<i64>,
    /// Only entries that a checkpoint of at least this age covers, in days.
    pub older_than_days: Option<u32>,
    /// The entries of a bundle in a new archive.
    pub bundle_entries: Option<u64>,
    /// Keys that signed checkpoints of this ledger before those of this process; others are ignored.
    pub former_keys: &'a [VerifierKey],
}

/// What was archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Archived {
    /// The incarnation of the ledger, which is the folder of the archive.
    pub incarnation: String,
    /// The number of bundles with a manifest before the run.
    pub bundles_before: u64,
    /// The number of bundles that were written.
    pub bundles_written: u64,
    /// The last archived entry; 0 if there is none.
    pub archived_to: u64,
    /// The number of entries of the published checkpoint.
    pub published: u64,
    /// The number of compressed bytes that were read back from the new bundles.
    pub bytes: u64,
}

/// Which archive to read back, and with what to compare it.
pub struct ArchiveCheckOptions<'a> {
    /// The place of the archive.
    pub target: &'a dyn LedgerTarget,
    /// The place at which checkpoints are published, with the last of which the archive is compared.
    pub published: Option<&'a dyn LedgerTarget>,
    /// The last entry that the archive must contain.
    pub to_sequence: Option<i64>,
    /// Keys that signed checkpoints of this ledger before those of this process; others are ignored.
    pub former_keys: &'a [VerifierKey],
}

/// The result of reading an archive back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchiveCheck {
    /// Whether everything that was read agrees.
    pub valid: bool,
    /// The number of whole bundles before the end or the first finding.
    pub bundles: u64,
    /// The number of their entries.
    pub entries: u64,
    /// The root of the tree over these entries in hex.
    pub root: String,
    /// The number of bundles whose checkpoint has the signature of a known key: all that were read, or 0 without keys.
    pub signatures: u64,
    /// The number of entries of the published checkpoint with which the archive was compared.
    pub published: Option<u64>,
    /// The first finding.
    pub finding: Option<ArchiveFinding>,
}

/// A file of an archive that disagrees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{file}: {why}")]
pub struct ArchiveFinding {
    /// The path of the file below the place of the archive.
    pub file: String,
    /// What is wrong with it.
    pub why: String,
}

impl ArchiveFinding {
    fn new(file: impl Into<String>, why: impl Into<String>) -> Self {
        Self { file: file.into(), why: why.into() }
    }
}

impl From<TargetError> for Error {
    fn from(error: TargetError) -> Self {
        Self::Refused(chain(&error))
    }
}

/// The archive of one incarnation at a place.
struct Archive<'a> {
    engines: &'a Engines,
    target: &'a dyn LedgerTarget,
    incarnation: Incarnation,
    /// The keys of this process and the former ones; `None` if this process has no key and no former one is given.
    keys: Option<Vec<VerifierKey>>,
}

/// What was looked for, or what is wrong with the archive.
type Found<T> = std::result::Result<T, ArchiveFinding>;

/// A file that was read, or why it cannot be one of an archive.
type Parsed<T> = std::result::Result<T, ArchiveError>;

impl<'a> Archive<'a> {
    async fn open(engines: &'a Engines, target: &'a dyn LedgerTarget, former_keys: &[VerifierKey]) -> Result<Self> {
        let incarnation = engines.store().registry_state().await?.revision.incarnation;
        let mut keys = former_keys.to_vec();
        if let Some(signing) = &engines.core.settings.signing {
            keys.extend(signing.keys.verifier_keys(&signing.origin_of(incarnation)).await?);
        }
        Ok(Self { engines, target, incarnation, keys: Some(keys).filter(|keys| !keys.is_empty()) })
    }

    fn path(&self, file: &str) -> String {
        format!("{}/{file}", self.incarnation)
    }

    fn tree(&self, size: u64) -> LedgerTree<'_> {
        LedgerTree { store: self.engines.store(), incarnation: self.incarnation, size }
    }

    /// Whether the origin of a checkpoint names this incarnation.
    fn is_origin(&self, origin: &str) -> bool {
        let named = origin.rsplit('/').next().and_then(|id| id.parse().ok()).map(Incarnation);
        named == Some(self.incarnation)
    }

    /// Reads a file: one byte more than `limit` shows that it is too large.
    async fn read(&self, file: &str, limit: u64) -> Result<Option<Vec<u8>>> {
        Ok(self.target.read_at_most(&self.path(file), limit.saturating_add(1)).await?)
    }

    /// The format of the archive, if there is one here.
    async fn format(&self) -> Result<Option<Parsed<ArchiveFormat>>> {
        Ok(self.read(FORMAT_FILE, MAX_FORMAT_BYTES).await?.map(|bytes| ArchiveFormat::read(&bytes)))
    }

    async fn manifest(&self, bundle: Bundle) -> Result<Option<Parsed<Manifest>>> {
        let bytes = self.read(&bundle.manifest_path(), MAX_MANIFEST_BYTES).await?;
        Ok(bytes.map(|bytes| Manifest::read(&bytes)))
    }

    /// Reads a file and compares it with its checksum.
    async fn file(&self, path: &str, expected: &ArchivedFile) -> Result<Found<Vec<u8>>> {
        let finding = |why: String| Ok(Err(ArchiveFinding::new(self.path(path), why)));
        let Some(content) = self.read(path, expected.bytes).await? else { return finding("it is missing".to_owned()) };
        let ArchivedFile { bytes, sha256, .. } = ArchivedFile::of(&expected.name, &content);
        if bytes > expected.bytes {
            return finding(format!("it has more than the {} bytes that its manifest says", expected.bytes));
        }
        if (bytes, &sha256) != (expected.bytes, &expected.sha256) {
            let (stated, stated_sha256) = (expected.bytes, &expected.sha256);
            return finding(format!(
                "it has {bytes} bytes and the SHA-256 {sha256}, but its manifest says {stated} and {stated_sha256}"
            ));
        }
        Ok(Ok(content))
    }

    /// Whether a known key signed the checkpoint, and none has a wrong signature; `None` without keys. A key that was
    /// added or replaced has not signed the checkpoints before.
    fn is_signed(&self, note: &Note) -> Option<bool> {
        let keys = self.keys.as_ref()?;
        let verified = keys.iter().map(|key| Checkpoint::verified(note, key));
        let known: Vec<_> = verified.filter(|verified| !matches!(verified, Err(NoteError::Unsigned(_)))).collect();
        Some(!known.is_empty() && known.iter().all(std::result::Result::is_ok))
    }
}
