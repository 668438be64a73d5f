//! Dropping entries that are archived: the archive is read back whole and verified before the first deletion, and each
//! bundle once more before its entries are deleted.
//!
//! Must never delete an entry that the archive does not have with the same hash, that no published checkpoint of the
//! wanted age covers, or without the setting that allows it.

use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::entries::BundleReader;
use super::write::{Covering, last_admitted};
use super::{Archive, ArchiveCheckOptions, ArchiveFinding, ArchiveOptions, Found};
use crate::call::Call;
use crate::engine::Engines;
use crate::engine::ledger_tree::{signed, unsigned};
use crate::error::{Error, Result};
use crate::handlers::record::{self, EntriesDropped};
use crate::ledger::archive::{ArchiveFormat, Bundle, FORMAT_FILE, StatedRoots, hex, read_hex};
use crate::ledger::chain::Draft;
use crate::ledger::merkle::Hash;
use crate::ledger::note::VerifierKey;
use crate::publish::ledger_target::LedgerTarget;
use crate::store::{DropStep, StepDropped};

/// The entries of one transaction.
const STEP: usize = 4096;
/// The longest pause between two of them.
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// What to drop.
pub struct DropOptions<'a> {
    /// The place of the archive.
    pub target: &'a dyn LedgerTarget,
    /// The place of the archive as text, for the ledger and for readers.
    pub place: &'a str,
    /// The place at which checkpoints are published.
    pub published: &'a dyn LedgerTarget,
    /// The last entry that may be dropped.
    pub to_sequence: Option<i64>,
    /// Only entries that a checkpoint of at least this age covers, in days: `EPR_LEDGER_RETENTION_DAYS`.
    pub retention_days: u32,
    /// Keys that signed checkpoints of this ledger before those of this process; others are ignored.
    pub former_keys: &'a [VerifierKey],
    /// Whether to drop; otherwise nothing is changed.
    pub confirmed: bool,
}

/// What was dropped, or would be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Whether entries were dropped.
    pub confirmed: bool,
    /// The incarnation whose folder in the archive has the entries.
    pub incarnation: String,
    /// The first entry of the range.
    pub first: u64,
    /// The last entry of the range; before `first` if there is nothing to drop.
    pub last: u64,
    /// The number of entries that were deleted; the others of the range are about the registry and stay.
    pub deleted: u64,
    /// The number of entries that are archived.
    pub archived: u64,
    /// The number of entries of the published checkpoint.
    pub published: u64,
    /// Why nothing is dropped: the archive does not hold.
    pub finding: Option<ArchiveFinding>,
}

/// Drops entries that are archived, published and old enough.
pub(crate) async fn drop_archived(
    engines: &Engines,
    call: &Call,
    options: &DropOptions<'_>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Dropped> {
    let archive = Archive::open(engines, options.target, options.former_keys).await?;
    if archive.keys.is_none() {
        return Err(Error::Refused(
            "Entries are dropped only from below a checkpoint whose signature is verified: set EPR_LEDGER_KEY"
                .to_owned(),
        ));
    }
    // Reading the archive can take hours.
    if options.confirmed {
        let missing = engines.store().missing_drop_privileges().await?;
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(Error::Refused(format!(
                "The database user lacks {missing}: entries are dropped by the role that owns the tables"
            )));
        }
    }
    let check = ArchiveCheckOptions {
        target: options.target,
        published: Some(options.published),
        to_sequence: None,
        former_keys: options.former_keys,
    };
    let checked = super::check(engines, &check, progress).await?;
    let border = engines.store().ledger_border().await?;
    let before = border.as_ref().map_or(0, |border| unsigned(border.sequence));
    let mut dropped = Dropped {
        confirmed: false,
        incarnation: archive.incarnation.to_string(),
        first: before + 1,
        last: before,
        deleted: 0,
        archived: checked.entries,
        published: checked.published.unwrap_or(0),
        finding: checked.finding,
    };
    if !checked.valid {
        return Ok(dropped);
    }
    let Some(Ok(format)) = archive.format().await? else { return Err(changed(FORMAT_FILE)) };
    let admitted = admitted(engines, &archive, options).await?;
    let bundles = format.bundles_within(admitted.min(checked.entries));
    dropped.last = before.max(bundles * format.bundle_entries);
    if dropped.last == before || !options.confirmed {
        return Ok(dropped);
    }
    let mut run = Run { archive, format, call, options, published: dropped.published, border: before, deleted: 0 };
    for number in before / run.format.bundle_entries..bundles {
        run.bundle(run.format.bundle(number)).await?;
        progress(run.border - before, dropped.last - before);
    }
    Ok(Dropped { confirmed: true, deleted: run.deleted, ..dropped })
}

/// The last entry that a published checkpoint of the wanted age covers, and that the options admit.
async fn admitted(engines: &Engines, archive: &Archive<'_>, options: &DropOptions<'_>) -> Result<u64> {
    let covering = Covering::read(archive, options.published).await?;
    let admitting = ArchiveOptions {
        target: options.target,
        published: options.published,
        to_sequence: options.to_sequence,
        older_than_days: Some(options.retention_days),
        bundle_entries: None,
        former_keys: options.former_keys,
    };
    last_admitted(engines, &covering, &admitting).await
}

fn changed(file: &str) -> Error {
    Error::Refused(format!("{file} of the archive has changed since it was verified: nothing more is dropped"))
}

/// A run that deletes.
struct Run<'a> {
    archive: Archive<'a>,
    format: ArchiveFormat,
    options: &'a DropOptions<'a>,
    call: &'a Call,
    /// The number of entries of the published checkpoint.
    published: u64,
    /// The border, as this run has moved it.
    border: u64,
    deleted: u64,
}

impl Run<'_> {
    async fn bundle(&mut self, bundle: Bundle) -> Result<()> {
        let (hashes, root) = self.read(bundle).await?.map_err(|finding| Error::Refused(finding.to_string()))?;
        // An interrupted run has ended within the bundle.
        let done = usize::try_from((self.border + 1).saturating_sub(bundle.first)).unwrap_or(usize::MAX);
        let mut steps = hashes.get(done..).unwrap_or_default().chunks(STEP).peekable();
        while let Some(step) = steps.next() {
            let begun = Instant::now();
            let about = steps.peek().is_none().then(|| self.entry(bundle, &root, step)).transpose()?.flatten();
            self.step(step, about).await?;
            // Half of the time belongs to those who append.
            sleep(begun.elapsed().min(MAX_PAUSE)).await;
        }
        Ok(())
    }

    /// The entry about a bundle whose last entries are in `step`.
    fn entry(&self, bundle: Bundle, root: &Hash, step: &[Hash]) -> Result<Option<Draft>> {
        let Some(last) = step.last() else { return Ok(None) };
        let about = EntriesDropped {
            first: signed(bundle.first),
            last: signed(self.border + u64::try_from(step.len()).unwrap_or(0)),
            entry_hash: &hex(last),
            root: &hex(root),
            archive: self.options.place,
            incarnation: self.archive.incarnation,
            published: self.published,
            retention_days: self.options.retention_days,
        };
        record::entries_dropped(self.call, self.archive.engines.now(), &about).map(Some)
    }

    /// The hashes of the entries of a bundle, which is verified again, and the root of the tree up to its end.
    async fn read(&self, bundle: Bundle) -> Result<Found<(Vec<Hash>, Hash)>> {
        let path = bundle.manifest_path();
        let finding = |file: &str, why: String| Ok(Err(ArchiveFinding::new(self.archive.path(file), why)));
        let Some(Ok(manifest)) = self.archive.manifest(bundle).await? else { return Err(changed(&path)) };
        let checked = match manifest.check(&self.format, bundle) {
            Ok(checked) => checked,
            Err(error) => return finding(&path, error.to_string()),
        };
        if self.archive.is_signed(&checked.note) != Some(true) {
            return finding(&path, "its checkpoint has no valid signature of a known key".to_owned());
        }
        let mut reader = BundleReader::after(bundle, &manifest.previous_hash, checked.before);
        let mut hashes = Vec::new();
        for (named, file) in manifest.entry_files() {
            let path = bundle.path(&file.name);
            let content = match self.archive.file(&path, file).await? {
                Ok(content) => content,
                Err(found) => return Ok(Err(found)),
            };
            match reader.read(named, &content, &StatedRoots::default()) {
                Ok(read) => hashes.extend(read.iter().filter_map(|hash| read_hex(hash))),
                Err(why) => return finding(&path, why),
            }
        }
        if !reader.is_whole() || reader.tree().root() != checked.root {
            return finding(&path, "its entries have another root than it says".to_owned());
        }
        Ok(Ok((hashes, checked.root)))
    }

    /// Drops consecutive entries, and appends the entry about them, in one transaction.
    async fn step(&mut self, archived: &[Hash], about: Option<Draft>) -> Result<()> {
        let engines = self.archive.engines;
        let (incarnation, now) = (self.archive.incarnation, engines.now());
        let after = signed(self.border);
        let step = DropStep { after, archived, archive: self.options.place, incarnation, now };
        let mut tx = engines.store().begin().await?;
        match tx.drop_entries(&step).await? {
            StepDropped::Dropped(deleted) => {
                if let Some(about) = about {
                    tx.append(&[about]).await?;
                }
                tx.commit().await?;
                self.deleted += deleted;
            }
            StepDropped::Moved(border) => {
                return Err(Error::Conflict(format!(
                    "Another process drops entries: the border is at {border}, where this one expected {after}"
                )));
            }
            StepDropped::Differs(sequence) => {
                return Err(Error::Refused(format!(
                    "Entry {sequence} of the database is missing or is not the archived one: nothing more is dropped"
                )));
            }
        }
        self.border += u64::try_from(archived.len()).unwrap_or(0);
        Ok(())
    }
}
