//! Writing bundles: entries and tiles first, then, when they were read back, the manifest. What an interrupted run left
//! is completed by the next one, and a bundle without its manifest is written again.
//!
//! Must never put a file before its entries lead to the published checkpoint: the place may keep it for years.

use std::io;

use super::age::Age;
use super::entries::{BundleReader, EntriesFile};
use super::{Archive, ArchiveOptions, Archived};
use crate::domain::{Incarnation, Timestamp};
use crate::engine::Engines;
use crate::engine::ledger_tree::{signed, unsigned};
use crate::engine::publication;
use crate::error::{Error, Result};
use crate::handlers::audit;
use crate::ledger::GENESIS_HASH;
use crate::ledger::archive::{
    ArchiveError, ArchiveFormat, ArchivedFile, Bundle, DEFAULT_BUNDLE_ENTRIES, FORMAT, FORMAT_FILE, MAX_FILE_BYTES,
    Manifest, StatedRoots, TILES_NAME, entries_name, hex, subtree_ranges,
};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::{Frontier, Hash, consistency_ranges, verify_consistency};
use crate::ledger::tile::{FULL_WIDTH, read_hashes, write_hashes};
use crate::publish::ledger_target::LedgerTarget;
use crate::store::{ScanRange, StoreError, StoredCheckpoint};

/// Microseconds of a day.
const DAY_MICROS: i64 = 86_400_000_000;

/// Archives every whole bundle that the options admit and that has no manifest yet.
pub(crate) async fn write(
    engines: &Engines,
    options: &ArchiveOptions<'_>,
    progress: &mut (dyn FnMut(u64, u64) + Send),
) -> Result<Archived> {
    let archive = Archive::open(engines, options.target, options.former_keys).await?;
    let covering = Covering::read(&archive, options.published).await?;
    let up_to = last_admitted(engines, &covering, options).await?;
    let format = format_of(&archive, &covering, options.bundle_entries).await?;
    let head = unsigned(engines.store().registry_state().await?.head);
    let mut writing = Writing { archive, covering, format, bytes: 0 };
    let missing = writing.missing(head).await?;
    let due: Vec<u64> =
        missing.iter().copied().filter(|number| *number < writing.format.bundles_within(up_to)).collect();
    let (entries, mut written) = (writing.format.bundle_entries, 0);
    if !due.is_empty() {
        writing.begin().await?;
    }
    for number in &due {
        writing.bundle(writing.format.bundle(*number)).await?;
        written += 1;
        progress(written * entries, u64::try_from(due.len()).unwrap_or(u64::MAX) * entries);
    }
    let published = writing.covering.checkpoint.size;
    let whole = writing.format.bundles_within(published);
    let gap = missing.iter().find(|number| !due.contains(number)).copied().unwrap_or(whole);
    Ok(Archived {
        incarnation: writing.archive.incarnation.to_string(),
        bundles_before: whole - u64::try_from(missing.len()).unwrap_or(u64::MAX),
        bundles_written: written,
        archived_to: gap * entries,
        published,
        bytes: writing.bytes,
    })
}

/// The published checkpoint, below which entries are archived.
pub(super) struct Covering {
    text: String,
    checkpoint: Checkpoint,
    newest: StoredCheckpoint,
}

impl Covering {
    /// Reads the checkpoint. It must be one that this ledger has signed, and the entries must still lead to it.
    pub(super) async fn read(archive: &Archive<'_>, published: &dyn LedgerTarget) -> Result<Self> {
        let (store, incarnation) = (archive.engines.store(), archive.incarnation);
        let Some((note, checkpoint)) = publication::published(published, incarnation).await? else {
            return Err(Error::Refused(format!(
                "Nothing of the incarnation {incarnation} is published, and only entries below a published checkpoint \
                 are archived: set EPR_LEDGER_PUBLISH_URL, or run `epr audit publish`"
            )));
        };
        // After what is published: another process signs and publishes meanwhile.
        let newest = store.last_checkpoint(incarnation).await?;
        publication::compare_published(store, incarnation, &checkpoint, newest.as_ref()).await?;
        let stored = store.checkpoints(incarnation, signed(checkpoint.size) - 1, 1).await?.pop();
        let stored = stored.and_then(|stored| publication::text_of(Some(stored.note.as_bytes())));
        let (Some(newest), true) = (newest, stored.as_ref() == Some(&note.text)) else {
            let size = checkpoint.size;
            return Err(Error::Refused(format!(
                "The published checkpoint of {size} entries is not one that this database has signed"
            )));
        };
        if archive.is_signed(&note) == Some(false) {
            return Err(Error::Refused(
                "The published checkpoint has no valid signature of EPR_LEDGER_KEY or of a former key".to_owned(),
            ));
        }
        Ok(Self { text: note.to_string(), checkpoint, newest })
    }
}

/// The last entry that the options admit: published, old enough, and not after the one that it names.
pub(super) async fn last_admitted(engines: &Engines, covering: &Covering, options: &ArchiveOptions<'_>) -> Result<u64> {
    let published = covering.checkpoint.size;
    let mut last = published;
    if let Some(named) = options.to_sequence.map(unsigned) {
        if named > published {
            return Err(Error::Refused(format!(
                "Entry {named} is not archived: the published checkpoint covers the entries up to {published}"
            )));
        }
        last = named;
    }
    if let Some(days) = options.older_than_days {
        let moment = engines.now().unix_micros().saturating_sub(i64::from(days).saturating_mul(DAY_MICROS));
        last = match Timestamp::from_unix_micros(moment) {
            Ok(moment) => last.min(as_old_as(engines, covering.newest.incarnation, moment).await?),
            Err(_) => 0,
        };
    }
    Ok(last)
}

/// The number of entries that checkpoints show to be as old as `moment`. The times of the entries themselves are what
/// their sources claim.
async fn as_old_as(engines: &Engines, incarnation: Incarnation, moment: Timestamp) -> Result<u64> {
    const PAGE: u32 = 10_000;
    let (mut age, mut after) = (Age::new(moment, engines.now()), 0);
    loop {
        let page = engines.store().signing_times(incarnation, after, PAGE).await?;
        let is_last = page.len() < usize::try_from(PAGE).unwrap_or(usize::MAX);
        after = page.last().map_or(after, |(size, _)| *size);
        let goes_on = page.into_iter().all(|(size, signed_at)| age.see(size, signed_at));
        if is_last || !goes_on {
            return Ok(unsigned(age.entries));
        }
    }
}

/// The format of the archive, or that of a new one.
async fn format_of(archive: &Archive<'_>, covering: &Covering, entries: Option<u64>) -> Result<ArchiveFormat> {
    let refused = |error: ArchiveError| Error::Refused(format!("{}: {error}", archive.path(FORMAT_FILE)));
    let origin = covering.checkpoint.origin();
    let wanted = ArchiveFormat::new(origin, entries.unwrap_or(DEFAULT_BUNDLE_ENTRIES));
    let wanted = wanted.map_err(|error| Error::Refused(error.to_string()))?;
    let Some(format) = archive.format().await? else { return Ok(wanted) };
    let format = format.map_err(refused)?;
    if format.origin != origin {
        return Err(Error::Refused(format!(
            "The archive is that of {}, not of {origin}: name another place",
            format.origin
        )));
    }
    match entries {
        Some(entries) if entries != format.bundle_entries => Err(Error::Refused(format!(
            "The archive has bundles of {} entries, and not of {entries}: omit --bundle-entries",
            format.bundle_entries
        ))),
        _ => Ok(format),
    }
}

fn unread(archive: &Archive<'_>, file: &str) -> Error {
    Error::Refused(format!("{} was written, but cannot be read back", archive.path(file)))
}

/// A process that writes the bundles that are missing.
struct Writing<'a> {
    archive: Archive<'a>,
    covering: Covering,
    format: ArchiveFormat,
    bytes: u64,
}

impl Writing<'_> {
    /// The numbers of the published bundles without a manifest. Every other one must be of this ledger. `head` is the
    /// last entry of the database.
    async fn missing(&self, head: u64) -> Result<Vec<u64>> {
        let published = self.covering.checkpoint.size;
        let mut missing = Vec::new();
        // One more than there can be.
        for number in 0..=self.format.bundles_within(published.max(head)) {
            let bundle = self.format.bundle(number);
            match self.archive.manifest(bundle).await? {
                Some(_) if bundle.last > published => {
                    return Err(Error::Refused(format!(
                        "{} is archived, but the published checkpoint covers the entries up to {published}",
                        self.archive.path(&bundle.manifest_path())
                    )));
                }
                Some(Ok(manifest)) => self.accept(bundle, &manifest).await?,
                Some(Err(error)) => return Err(self.refused(&bundle.manifest_path(), &error.to_string())),
                None if bundle.last <= published => missing.push(number),
                None => {}
            }
        }
        Ok(missing)
    }

    /// Writes the format of a new archive.
    async fn begin(&self) -> Result<()> {
        let mut text = serde_json::to_vec(&self.format).unwrap_or_default();
        text.push(b'\n');
        self.archive.target.put_new(&self.archive.path(FORMAT_FILE), &text).await?;
        // Another process may have begun another one.
        match self.archive.format().await?.ok_or_else(|| unread(&self.archive, FORMAT_FILE))? {
            Ok(format) if format == self.format => Ok(()),
            Ok(_) => Err(self.refused(FORMAT_FILE, "another process began the archive with other bundles")),
            Err(error) => Err(self.refused(FORMAT_FILE, &error.to_string())),
        }
    }

    /// The tree over the first `size` entries, and the hash of the last one, as the database has them.
    async fn end_of(&self, size: u64) -> Result<(Frontier, String)> {
        if size == 0 {
            return Ok((Frontier::new(), GENESIS_HASH.to_owned()));
        }
        let subtrees = self.archive.tree(self.covering.checkpoint.size).path(&subtree_ranges(size)).await?;
        let last = self.archive.engines.store().entry_hashes(signed(size), signed(size)).await?.pop();
        match (Frontier::from_parts(size, subtrees), last) {
            (Some(tree), Some(last)) => Ok((tree, last.entry_hash)),
            _ => Err(Error::Refused(format!("Entry {size} is not in the database: run `epr audit verify`"))),
        }
    }

    /// A manifest that is there must be that of this ledger, below a checkpoint that a known key signed.
    async fn accept(&self, bundle: Bundle, manifest: &Manifest) -> Result<()> {
        let path = bundle.manifest_path();
        let checked = manifest.check(&self.format, bundle).map_err(|error| self.refused(&path, &error.to_string()))?;
        if self.archive.is_signed(&checked.note) == Some(false) {
            return Err(
                self.refused(&path, "its checkpoint has no valid signature of EPR_LEDGER_KEY or of a former key")
            );
        }
        let (before, previous_hash) = self.end_of(bundle.first - 1).await?;
        let (end, entry_hash) = self.end_of(bundle.last).await?;
        let is_same = (checked.before, checked.root) == (before, end.root())
            && (&manifest.previous_hash, &manifest.entry_hash) == (&previous_hash, &entry_hash);
        let Checkpoint { size, root, .. } = checked.checkpoint;
        if !is_same {
            return Err(self.refused(&path, "it is not of this ledger: the database has other roots or hashes"));
        }
        // After the manifest: another process archives below a later checkpoint meanwhile.
        let newest = self.archive.engines.store().last_checkpoint(self.archive.incarnation).await?;
        let newest = newest.map_or(0, |newest| unsigned(newest.size));
        if size > newest || self.archive.tree(size).root().await? != root {
            return Err(self.refused(&path, "its checkpoint is not one of this ledger"));
        }
        Ok(())
    }

    /// The hashes of the leaves of a bundle, as the tiles of the database have them.
    async fn leaves(&self, bundle: Bundle) -> Result<Vec<Hash>> {
        let width = u64::from(FULL_WIDTH);
        let (first, tiles) = ((bundle.first - 1) / width, self.format.bundle_entries / width);
        let limit = u32::try_from(tiles).unwrap_or(u32::MAX);
        let stored = self.archive.engines.store().tiles(self.archive.incarnation, 0, signed(first), limit).await?;
        let mut leaves = Vec::new();
        for (tile, number) in stored.iter().zip(first..) {
            if unsigned(tile.number) == number {
                leaves.extend(read_hashes(&tile.hashes, FULL_WIDTH).unwrap_or_default());
            }
        }
        if u64::try_from(leaves.len()).unwrap_or(u64::MAX) == self.format.bundle_entries {
            return Ok(leaves);
        }
        Err(StoreError::corrupt("audit_tiles", format!("tiles after entry {} are missing", bundle.first)).into())
    }

    async fn bundle(&mut self, bundle: Bundle) -> Result<()> {
        let (before, previous_hash) = self.end_of(bundle.first - 1).await?;
        let leaves = self.leaves(bundle).await?;
        let mut tree = before.clone();
        for leaf in &leaves {
            tree.push(*leaf, |_, _| {});
        }
        let consistency = self.consistency(bundle, &tree.root()).await?;
        let mut reader = BundleReader::after(bundle, &previous_hash, before.clone());
        let mut files = Vec::new();
        while !reader.is_whole() {
            let name = entries_name(reader.next());
            let content;
            (content, reader) = self.entries_file(bundle, reader, &leaves).await?;
            files.push(ArchivedFile::of(&name, &content));
        }
        files.push(ArchivedFile::of(TILES_NAME, &self.tiles_file(bundle, &write_hashes(&leaves)).await?));
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            origin: self.format.origin.clone(),
            first: bundle.first,
            last: bundle.last,
            previous_hash,
            entry_hash: reader.last_hash().to_owned(),
            subtrees: before.roots().iter().map(|hash| hex(hash)).collect(),
            root_before: hex(&before.root()),
            root: hex(&tree.root()),
            files,
            checkpoint: self.covering.text.clone(),
            consistency: consistency.iter().map(|hash| hex(hash)).collect(),
        };
        manifest.check(&self.format, bundle).map_err(|error| not_archived(bundle, &error.to_string()))?;
        self.put_manifest(bundle, &manifest).await
    }

    /// The path from the root of the bundle to the published checkpoint.
    async fn consistency(&self, bundle: Bundle, root: &Hash) -> Result<Vec<Hash>> {
        let Checkpoint { size, root: published, .. } = &self.covering.checkpoint;
        let path = match consistency_ranges(bundle.last, *size) {
            Some(ranges) => self.archive.tree(*size).path(&ranges).await?,
            None => Vec::new(),
        };
        match verify_consistency((bundle.last, root), (*size, published), &path) {
            Ok(()) => Ok(path),
            Err(error) => Err(not_archived(bundle, &format!("their tiles do not lead to the checkpoint: {error}"))),
        }
    }

    /// Writes the file with the next entries, unless an interrupted run left one, and reads it back.
    async fn entries_file(
        &mut self,
        bundle: Bundle,
        mut reader: BundleReader,
        leaves: &[Hash],
    ) -> Result<(Vec<u8>, BundleReader)> {
        let first = reader.next();
        let path = bundle.path(&entries_name(first));
        if self.archive.read(&path, 0).await?.is_none() {
            let content = self.entries(first, bundle.last).await?;
            let mut verified = reader.clone();
            verify(&mut verified, bundle, &content, leaves).map_err(|why| not_archived(bundle, &why))?;
            self.archive.target.put_new(&self.archive.path(&path), &content).await?;
            if self.read_back(&path).await? == content {
                return Ok((content, verified));
            }
        }
        let content = self.read_back(&path).await?;
        verify(&mut reader, bundle, &content, leaves).map_err(|why| self.disagrees(&path, &why))?;
        Ok((content, reader))
    }

    async fn tiles_file(&mut self, bundle: Bundle, tiles: &[u8]) -> Result<Vec<u8>> {
        let path = bundle.path(TILES_NAME);
        if self.archive.read(&path, 0).await?.is_none() {
            self.archive.target.put_new(&self.archive.path(&path), tiles).await?;
        }
        let content = self.read_back(&path).await?;
        if content == tiles { Ok(content) } else { Err(self.disagrees(&path, "it has other hashes than the entries")) }
    }

    /// The compressed entries from `first` on: a file, which may end before `last`.
    async fn entries(&self, first: u64, last: u64) -> Result<Vec<u8>> {
        let mut file = EntriesFile::from(first);
        let mut failed: Option<io::Error> = None;
        let range = ScanRange { from: signed(first), to: signed(last) };
        audit::export(self.archive.engines, range, &mut |entry| match file.push(&entry) {
            Ok(has_room) => has_room,
            Err(error) => {
                failed = Some(error);
                false
            }
        })
        .await?;
        if file.next == first {
            return Err(Error::Refused(format!("Entry {first} is not in the database: run `epr audit verify`")));
        }
        let compressed = failed.map_or_else(|| file.finish(), Err);
        compressed.map_err(|error| Error::Internal(StoreError::corrupt("gzip", error)))
    }

    async fn read_back(&mut self, file: &str) -> Result<Vec<u8>> {
        let content = self.archive.read(file, MAX_FILE_BYTES).await?.ok_or_else(|| unread(&self.archive, file))?;
        self.bytes += u64::try_from(content.len()).unwrap_or(u64::MAX);
        Ok(content)
    }

    fn refused(&self, file: &str, why: &str) -> Error {
        Error::Refused(format!("{}: {why}", self.archive.path(file)))
    }

    /// A file that was read back has something else than the ledger.
    fn disagrees(&self, file: &str, why: &str) -> Error {
        let path = self.archive.path(file);
        Error::Refused(format!(
            "{path} was read back: {why}. The bundle has no manifest: an interrupted run or another program left the \
             file. Remove it, and archive again"
        ))
    }

    async fn put_manifest(&mut self, bundle: Bundle, manifest: &Manifest) -> Result<()> {
        let path = bundle.manifest_path();
        self.archive.target.put_new(&self.archive.path(&path), &manifest.to_bytes()).await?;
        let stored = self.archive.manifest(bundle).await?.ok_or_else(|| unread(&self.archive, &path))?;
        let stored = stored.map_err(|error| self.disagrees(&path, &error.to_string()))?;
        if stored == *manifest {
            return Ok(());
        }
        // Another process that archived the same entries may have named another checkpoint.
        self.accept(bundle, &stored).await?;
        if stored.files == manifest.files {
            Ok(())
        } else {
            Err(self.disagrees(&path, "it is the manifest of other files"))
        }
    }
}

/// Verifies a file with entries. They must have the hashes of the ledger's tiles, which lead to the checkpoint.
fn verify(
    reader: &mut BundleReader,
    bundle: Bundle,
    content: &[u8],
    leaves: &[Hash],
) -> std::result::Result<(), String> {
    reader.read(reader.next(), content, &StatedRoots::default())?;
    let differs = reader.tree().leaves().iter().zip(leaves).zip(bundle.first..).find(|((read, leaf), _)| read != leaf);
    differs.map_or(Ok(()), |(_, entry)| Err(format!("entry {entry} has another hash than its tile in the database")))
}

fn not_archived(bundle: Bundle, why: &str) -> Error {
    let Bundle { first, last, .. } = bundle;
    Error::Refused(format!("The entries {first} to {last} are not archived: {why}. Run `epr audit verify`"))
}
