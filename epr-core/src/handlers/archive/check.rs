//! Reading an archive back: every file of every bundle, the chain and the tree over them, and the entries of the
//! database. Must never take anything from a manifest without computing it.

use super::entries::BundleReader;
use super::{Archive, ArchiveCheck, ArchiveCheckOptions, ArchiveFinding, Found, Parsed};
use crate::engine::Engines;
use crate::engine::ledger_tree::{signed, unsigned};
use crate::engine::publication::{self, PublicationError};
use crate::error::{Error, Result};
use crate::ledger::GENESIS_HASH;
use crate::ledger::archive::{
    ArchiveFormat, ArchivedFile, Bundle, FORMAT_FILE, Manifest, StatedRoots, TILES_NAME, hex,
};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::{Frontier, consistency_ranges, verify_consistency};
use crate::ledger::note::Note;

/// Hashes of entries that are read from the database at a time.
const PAGE: usize = 8192;
/// Why the signatures of a checkpoint are not accepted.
const UNSIGNED: &str = "no valid signature of EPR_LEDGER_KEY or of a former key";

/// Reads the archive of the present incarnation, and compares it with the database.
pub(crate) async fn check(
    engines: &Engines,
    options: &ArchiveCheckOptions<'_>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<ArchiveCheck> {
    let archive = Archive::open(engines, options.target, options.former_keys).await?;
    let Some(format) = archive.format().await? else {
        let path = archive.path(FORMAT_FILE);
        return Err(Error::NotFound(format!("There is no archive of this ledger: {path} does not exist")));
    };
    let mut checking = Checking {
        archive,
        before: Frontier::new(),
        previous_hash: GENESIS_HASH.to_owned(),
        bundles: 0,
        stated: StatedRoots::default(),
        signatures: 0,
        published: None,
    };
    let finding = match format {
        Ok(format) => checking.all(&format, options, progress).await?.err(),
        Err(error) => Some(checking.finding(FORMAT_FILE, error.to_string())),
    };
    Ok(ArchiveCheck {
        valid: finding.is_none(),
        bundles: checking.bundles,
        entries: checking.before.size(),
        root: hex(&checking.before.root()),
        signatures: checking.signatures,
        published: checking.published,
        finding,
    })
}

struct Checking<'a> {
    archive: Archive<'a>,
    /// The tree over the entries of the bundles that agree.
    before: Frontier,
    /// The hash of the last of these entries.
    previous_hash: String,
    bundles: u64,
    /// The roots that the checkpoints of the manifests state.
    stated: StatedRoots,
    signatures: u64,
    published: Option<u64>,
}

impl Checking<'_> {
    async fn all(
        &mut self,
        format: &ArchiveFormat,
        options: &ArchiveCheckOptions<'_>,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Found<()>> {
        if !self.archive.is_origin(&format.origin) {
            let why = format!("it is the archive of another ledger, {}", format.origin);
            return Ok(Err(self.finding(FORMAT_FILE, why)));
        }
        let published = match self.published(options).await? {
            Ok(published) => published,
            Err(finding) => return Ok(Err(finding)),
        };
        let head = unsigned(self.archive.engines.store().registry_state().await?.head);
        loop {
            let bundle = format.bundle(self.bundles);
            let Some(manifest) = self.archive.manifest(bundle).await? else { break };
            if let Err(finding) = self.bundle(format, bundle, manifest).await? {
                return Ok(Err(finding));
            }
            self.bundles += 1;
            progress(self.before.size(), format.bundles_within(head) * format.bundle_entries);
        }
        // A bundle that is missing is not the end if there is a later one.
        let path = format.bundle(self.bundles).manifest_path();
        let size = published.as_ref().map_or(0, |(_, checkpoint)| checkpoint.size);
        let largest = head.max(size).max(self.stated.largest());
        for later in (self.bundles + 1..=format.bundles_within(largest)).map(|number| format.bundle(number)) {
            if self.archive.manifest(later).await?.is_some() {
                let why = format!("it is missing, but entry {} is archived", later.first);
                return Ok(Err(self.finding(&path, why)));
            }
        }
        let last = self.before.size();
        if let Some(wanted) = options.to_sequence.map(unsigned).filter(|wanted| *wanted > last) {
            return Ok(Err(self.finding(&path, format!("entry {wanted} is not archived: the archive ends at {last}"))));
        }
        if let Err(finding) = self.compare_later_roots().await? {
            return Ok(Err(finding));
        }
        // What was dropped from the database is nowhere else.
        let border = self.archive.engines.store().ledger_border().await?;
        let border = border.filter(|border| border.incarnation == self.archive.incarnation);
        if let Some(border) = border.filter(|border| unsigned(border.sequence) > last) {
            let why = format!(
                "entries up to {} were dropped from the database, but the archive ends at {last}",
                border.sequence
            );
            return Ok(Err(self.finding(&path, why)));
        }
        match published {
            Some((note, checkpoint)) => self.compare_with_published(&note, &checkpoint).await,
            None => Ok(Ok(())),
        }
    }

    /// The published checkpoint; `None` if no place of publication is known.
    async fn published(&self, options: &ArchiveCheckOptions<'_>) -> Result<Found<Option<(Note, Checkpoint)>>> {
        let Some(target) = options.published else { return Ok(Ok(None)) };
        match publication::published(target, self.archive.incarnation).await {
            Ok(Some(published)) => Ok(Ok(Some(published))),
            Ok(None) => {
                Ok(Err(self.finding("checkpoint", "it is not published, although only published entries are archived")))
            }
            Err(PublicationError::Inconsistent(why)) => Ok(Err(self.finding("checkpoint", why))),
            Err(error) => Err(error.into()),
        }
    }

    fn finding(&self, file: &str, why: impl Into<String>) -> ArchiveFinding {
        ArchiveFinding::new(self.archive.path(file), why)
    }

    async fn bundle(
        &mut self,
        format: &ArchiveFormat,
        bundle: Bundle,
        manifest: Parsed<Manifest>,
    ) -> Result<Found<()>> {
        let path = bundle.manifest_path();
        let checked = manifest.and_then(|manifest| Ok((manifest.check(format, bundle)?, manifest)));
        let (checked, manifest) = match checked {
            Ok(checked) => checked,
            Err(error) => return Ok(Err(self.finding(&path, error.to_string()))),
        };
        if checked.before != self.before || manifest.previous_hash != self.previous_hash {
            return Ok(Err(self.finding(&path, "it does not follow the bundle before it")));
        }
        match self.archive.is_signed(&checked.note) {
            Some(false) => return Ok(Err(self.finding(&path, format!("its checkpoint has {UNSIGNED}")))),
            signed => self.signatures += u64::from(signed == Some(true)),
        }
        if !self.stated.add(&checked.checkpoint) {
            let size = checked.checkpoint.size;
            let why = format!("its checkpoint of {size} entries has another root than that of a bundle before it");
            return Ok(Err(self.finding(&path, why)));
        }
        let mut reader = BundleReader::after(bundle, &self.previous_hash, checked.before);
        for (named, file) in manifest.entry_files() {
            let (first, path) = (reader.next(), bundle.path(&file.name));
            let content = match self.file(&path, file).await? {
                Ok(content) => content,
                Err(finding) => return Ok(Err(finding)),
            };
            let hashes = match reader.read(named, &content, &self.stated) {
                Ok(hashes) => hashes,
                Err(why) => return Ok(Err(self.finding(&path, why))),
            };
            if let Err(finding) = self.compare_with_database(&path, first, &hashes).await? {
                return Ok(Err(finding));
            }
        }
        if !reader.is_whole() {
            return Ok(Err(self.finding(&path, format!("entry {} is in none of its files", reader.next()))));
        }
        if reader.tree().root() != checked.root || reader.last_hash() != manifest.entry_hash {
            return Ok(Err(self.finding(&path, "its entries have another root or another last hash than it says")));
        }
        if let Some(file) = manifest.tiles_file() {
            let path = bundle.path(TILES_NAME);
            match self.file(&path, file).await? {
                Ok(content) if content == reader.tree().tiles() => {}
                Ok(_) => return Ok(Err(self.finding(&path, "its hashes differ from the entries"))),
                Err(finding) => return Ok(Err(finding)),
            }
        }
        (self.previous_hash, self.before) = reader.into_end();
        Ok(Ok(()))
    }

    /// Reads a file and compares it with its checksum.
    async fn file(&self, path: &str, expected: &ArchivedFile) -> Result<Found<Vec<u8>>> {
        self.archive.file(path, expected).await
    }

    /// Compares the hashes of archived entries from `first` on with those of the database.
    async fn compare_with_database(&self, path: &str, first: u64, hashes: &[String]) -> Result<Found<()>> {
        let store = self.archive.engines.store();
        let mut sequence = first;
        for page in hashes.chunks(PAGE) {
            let last = sequence + u64::try_from(page.len()).unwrap_or(0) - 1;
            let stored = store.entry_hashes(signed(sequence), signed(last)).await?;
            let mut stored = stored.iter();
            for archived in page {
                match stored.next() {
                    Some(entry) if unsigned(entry.sequence) == sequence && entry.entry_hash == *archived => {}
                    Some(entry) if unsigned(entry.sequence) == sequence => {
                        let there = &entry.entry_hash;
                        let why = format!("entry {sequence} has the hash {archived}, but {there} is in the database");
                        return Ok(Err(self.finding(path, why)));
                    }
                    _ => {
                        let why = format!("entry {sequence} is archived, but is not in the database");
                        return Ok(Err(self.finding(path, why)));
                    }
                }
                sequence += 1;
            }
        }
        Ok(Ok(()))
    }

    /// Compares the checkpoints of the manifests over more entries than are archived with the tree of the database.
    async fn compare_later_roots(&self) -> Result<Found<()>> {
        let newest = self.archive.engines.store().last_checkpoint(self.archive.incarnation).await?;
        let newest = newest.map_or(0, |newest| unsigned(newest.size));
        for (size, root) in self.stated.after(self.before.size()) {
            if size > newest {
                let why = format!(
                    "a manifest has a checkpoint of {size} entries, but the newest of the database has {newest}"
                );
                return Ok(Err(self.finding("archive", why)));
            }
            if self.archive.tree(size).root().await? != root {
                let why = format!("a manifest has a checkpoint of {size} entries with another root than the database");
                return Ok(Err(self.finding("archive", why)));
            }
        }
        Ok(Ok(()))
    }

    /// The database must contain what is published, and its tree must begin with the archived entries.
    async fn compare_with_published(&mut self, note: &Note, checkpoint: &Checkpoint) -> Result<Found<()>> {
        let (store, incarnation) = (self.archive.engines.store(), self.archive.incarnation);
        let (size, archived) = (checkpoint.size, self.before.size());
        let finding = |why: String| Ok(Err(self.finding("checkpoint", why)));
        if self.archive.is_signed(note) == Some(false) {
            return finding(format!("the published checkpoint has {UNSIGNED}"));
        }
        let newest = store.last_checkpoint(incarnation).await?;
        match publication::compare_published(store, incarnation, checkpoint, newest.as_ref()).await {
            Ok(()) => {}
            Err(PublicationError::Inconsistent(why)) => return finding(why),
            Err(error) => return Err(error.into()),
        }
        let Some(ranges) = consistency_ranges(archived, size) else {
            return finding(format!("the published checkpoint covers {size} entries, but {archived} are archived"));
        };
        let path = self.archive.tree(size).path(&ranges).await?;
        if let Err(error) = verify_consistency((archived, &self.before.root()), (size, &checkpoint.root), &path) {
            return finding(format!("the archived entries do not lead to the published checkpoint: {error}"));
        }
        self.published = Some(size);
        Ok(Ok(()))
    }
}
