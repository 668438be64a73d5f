//! Entries that were dropped from the database, read from their archive (`EPR_LEDGER_ARCHIVE_URL`).
//!
//! Must never answer as if an entry that was dropped did not exist.

use std::sync::Arc;

use crate::engine::Engines;
use crate::engine::archived_entries::{ArchivedEntries, DamagedArchive};
use crate::error::{Error, Result};
use crate::store::LedgerBorder;

/// Why a reader of the ledger has no entry.
pub(crate) enum ReadFailure {
    /// The archive is there, but does not have the entry: the ledger does not hold.
    Damaged(DamagedArchive),
    /// The database or the archive could not be read.
    Unread(Error),
}

impl From<DamagedArchive> for ReadFailure {
    fn from(damaged: DamagedArchive) -> Self {
        Self::Damaged(damaged)
    }
}

impl From<Error> for ReadFailure {
    fn from(error: Error) -> Self {
        Self::Unread(error)
    }
}

impl From<DamagedArchive> for Error {
    fn from(damaged: DamagedArchive) -> Self {
        Self::Archived(damaged.to_string())
    }
}

impl From<ReadFailure> for Error {
    fn from(failure: ReadFailure) -> Self {
        match failure {
            ReadFailure::Damaged(damaged) => damaged.into(),
            ReadFailure::Unread(error) => error,
        }
    }
}

/// What a read of the archive returns.
type Read<T> = std::result::Result<T, ReadFailure>;

/// The error of a reader that needs entries which were dropped, and that has no archive.
pub(crate) fn not_here(border: &LedgerBorder) -> Error {
    let LedgerBorder { sequence, archive, incarnation, .. } = border;
    Error::Archived(format!(
        "Entries up to {sequence} were dropped from the database and are archived at {archive}/{incarnation}/archive: \
         set EPR_LEDGER_ARCHIVE_URL to {archive}, or to the place to which the archive was moved"
    ))
}

/// Whether this process can read the archive.
pub(crate) fn is_known(engines: &Engines) -> bool {
    #[cfg(feature = "proofs")]
    return engines.core.settings.archive.is_some();
    #[cfg(not(feature = "proofs"))]
    return {
        let _ = engines;
        false
    };
}

/// Reads whether the archive reaches the border, as far as the manifest of the bundle there says. Returns the border;
/// `None` if no entry was ever dropped.
pub(crate) async fn reach(engines: &Engines) -> Result<Option<i64>> {
    let Some(border) = engines.store().ledger_border().await? else { return Ok(None) };
    #[cfg(feature = "proofs")]
    if let Some(target) = engines.core.settings.archive.as_deref() {
        file::described(target, &border.incarnation.to_string(), border.sequence).await?;
        return Ok(Some(border.sequence));
    }
    Err(not_here(&border))
}

/// The entries of the file that has the entry with this sequence, which is not after `border`. The file agrees with its
/// manifest; whether an entry is the one that was dropped is what [`ArchivedEntries::with_fields`] says.
#[cfg(not(feature = "proofs"))]
pub(crate) async fn entries_with(_: &Engines, border: &LedgerBorder, _: i64) -> Read<Arc<ArchivedEntries>> {
    Err(not_here(border).into())
}

/// The entries of the file that has the entry with this sequence, which is not after `border`. The file agrees with its
/// manifest; whether an entry is the one that was dropped is what [`ArchivedEntries::with_fields`] says.
#[cfg(feature = "proofs")]
pub(crate) async fn entries_with(
    engines: &Engines,
    border: &LedgerBorder,
    sequence: i64,
) -> Read<Arc<ArchivedEntries>> {
    let Some(target) = engines.core.settings.archive.as_deref() else { return Err(not_here(border).into()) };
    let folder = border.incarnation.to_string();
    if let Some(known) = engines.archived.known(&folder, sequence) {
        return Ok(known);
    }
    // Another reader may have read the file meanwhile.
    let _turn = engines.archived.turn().await;
    if let Some(known) = engines.archived.known(&folder, sequence) {
        return Ok(known);
    }
    let entries = Arc::new(file::read(target, &folder, sequence).await?);
    // A reader that goes on after the last entry of a file would read this one for ever.
    if sequence < entries.first || entries.last() < sequence {
        return Err(entries.damaged(sequence, "it does not have the entry").into());
    }
    engines.archived.keep(folder, &entries);
    Ok(entries)
}

#[cfg(feature = "proofs")]
mod file {
    use super::{ArchivedEntries, DamagedArchive, Read};
    use crate::error::{Error, chain};
    use crate::handlers::archive::lines::read_lines;
    use crate::ledger::archive::{
        ArchiveFormat, ArchivedFile, Bundle, FORMAT_FILE, MAX_FORMAT_BYTES, MAX_MANIFEST_BYTES, Manifest,
    };
    use crate::publish::ledger_target::LedgerTarget;

    fn unread(path: &str, why: &str) -> Error {
        Error::Archived(format!("The archive of EPR_LEDGER_ARCHIVE_URL cannot be read: {path}: {why}"))
    }

    /// The files of an archive that lead to an entry.
    struct Files<'a> {
        target: &'a dyn LedgerTarget,
        folder: &'a str,
        sequence: i64,
    }

    impl Files<'_> {
        fn damaged(&self, file: &str, why: impl Into<String>) -> DamagedArchive {
            DamagedArchive { sequence: self.sequence, file: format!("{}/{file}", self.folder), why: why.into() }
        }

        async fn bytes(&self, file: &str, limit: u64) -> Result<Option<Vec<u8>>, Error> {
            let path = format!("{}/{file}", self.folder);
            let read = self.target.read_at_most(&path, limit.saturating_add(1)).await;
            read.map_err(|error| unread(&path, &chain(&error)))
        }

        /// A file that every archive has which reaches the entry.
        async fn present(&self, file: &str, limit: u64) -> Read<Vec<u8>> {
            Ok(self.bytes(file, limit).await?.ok_or_else(|| self.damaged(file, "it does not exist"))?)
        }

        async fn manifest(&self) -> Read<(Bundle, Manifest)> {
            let format = self.bytes(FORMAT_FILE, MAX_FORMAT_BYTES).await?;
            // Without its first file there is no archive, as in a place that is not the one of the archive.
            let format =
                format.ok_or_else(|| unread(&format!("{}/{FORMAT_FILE}", self.folder), "it does not exist"))?;
            let format = ArchiveFormat::read(&format).map_err(|error| self.damaged(FORMAT_FILE, error.to_string()))?;
            let bundle = format.bundle((wanted(self.sequence) - 1) / format.bundle_entries);
            let path = bundle.manifest_path();
            let manifest = Manifest::read(&self.present(&path, MAX_MANIFEST_BYTES).await?);
            let checked = manifest.and_then(|manifest| manifest.check(&format, bundle).map(|_| manifest));
            Ok((bundle, checked.map_err(|error| self.damaged(&path, error.to_string()))?))
        }
    }

    fn wanted(sequence: i64) -> u64 {
        u64::try_from(sequence).unwrap_or(1).max(1)
    }

    /// Reads the manifest of the bundle that has the entry.
    pub(super) async fn described(target: &dyn LedgerTarget, folder: &str, sequence: i64) -> Read<()> {
        Files { target, folder, sequence }.manifest().await.map(drop)
    }

    pub(super) async fn read(target: &dyn LedgerTarget, folder: &str, sequence: i64) -> Read<ArchivedEntries> {
        let files = Files { target, folder, sequence };
        let (bundle, manifest) = files.manifest().await?;
        let file = manifest.entry_files().take_while(|(first, _)| *first <= wanted(sequence)).last();
        let (first, file) =
            file.ok_or_else(|| files.damaged(&bundle.manifest_path(), "no file begins before the entry"))?;
        let path = bundle.path(&file.name);
        let content = files.present(&path, file.bytes).await?;
        if ArchivedFile::of(&file.name, &content) != *file {
            return Err(files.damaged(&path, "its bytes are not those that its manifest says").into());
        }
        let texts = tokio::task::spawn_blocking(move || {
            let mut texts = Vec::new();
            read_lines(&content, first, |line| {
                texts.push(line.canonical);
                Ok(())
            })
            .map(|()| texts)
        });
        let texts = texts.await.map_err(|error| unread(&path, &error.to_string()))?;
        let texts = texts.map_err(|why| files.damaged(&path, why))?;
        let first = i64::try_from(first).unwrap_or(i64::MAX);
        Ok(ArchivedEntries { file: format!("{folder}/{path}"), first, texts })
    }
}
