//! An archive that `epr audit archive` wrote: bundles of entries, whose texts, chain, tiles and tree are recomputed and
//! lead to signed checkpoints.
//!
//! Must never take more memory than a file of an archive may need, whatever its files contain.

use crate::archive_file;
use crate::blocks::{ChainEnd, Run};
use crate::finding::{Level, Stop};
use crate::known::KnownRoots;
use crate::ledger::archive::{
    ArchiveError, ArchiveFormat, ArchivedFile, Bundle, BundleTree, CheckedManifest, FORMAT_FILE, MAX_FORMAT_BYTES,
    MAX_MANIFEST_BYTES, Manifest, TILES_NAME, hex, read_hex,
};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::{Frontier, Hash};
use crate::ledger::{GENESIS_HASH, is_hex};
use crate::signatures::{self, Keys, Signed};
use crate::source::Source;

/// Later bundles that are looked for where there are no lists: with 65,536 entries each, 6.5 billion entries. Without a
/// key, the writer of the archive chose the size of the last checkpoint.
const MAX_PROBES: usize = 100_000;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The origin of the ledger's checkpoints.
    pub origin: String,
    /// The number of bundles.
    pub bundles: u64,
    /// The number of entries, from the first one on.
    pub entries: u64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The checkpoint of each bundle.
    pub signed: Vec<Signed>,
    /// The number of checkpoints of `older` over more entries than the archive leads to.
    pub not_compared: usize,
}

/// Verifies a whole archive, from the first entry on to `to_sequence` at least. Each bundle must lead to a checkpoint
/// that a key signed, and the entries to all these checkpoints and to those of `older`, whose signatures the caller has
/// verified. An archive says nothing about the entries after its last bundle.
///
/// # Errors
/// The first disagreement, there is no bundle, or a file cannot be read.
pub fn verify(
    source: &dyn Source,
    keys: &Keys,
    older: &[Checkpoint],
    to_sequence: Option<u64>,
) -> Result<Verified, Stop> {
    let bytes = source.read_at_most(FORMAT_FILE, MAX_FORMAT_BYTES + 1)?;
    let bytes = bytes.ok_or_else(|| Stop::Unreadable(format!("there is no archive: {FORMAT_FILE} does not exist")))?;
    let format = ArchiveFormat::read(&bytes).map_err(|error| Stop::Unreadable(format!("{FORMAT_FILE}: {error}")))?;
    let known = KnownRoots::of(older, Level::Root)?;
    let mut archive = Archive { source, keys, known, before: Frontier::new(), last_hash: None, signed: Vec::new() };
    let mut number = 0;
    while let Some(manifest) = archive.manifest(&format.bundle(number).manifest_path())? {
        archive.bundle(&format, format.bundle(number), &manifest)?;
        number += 1;
    }
    archive.no_later_bundle(&format, number)?;
    let entries = archive.before.size();
    if let Some(wanted) = to_sequence.filter(|wanted| *wanted > entries) {
        return Stop::found(
            Level::Archive,
            format!("entry {wanted} is not archived: the archive ends at entry {entries}"),
        );
    }
    let Some(last) = archive.signed.last() else {
        return Err(Stop::Unreadable("the archive has no bundle: nothing was verified".to_owned()));
    };
    // The last bundle leads to its checkpoint, and so do all before it. The roots were compared when it was read.
    let not_compared = older.iter().filter(|kept| kept.size > entries && kept.size != last.checkpoint.size).count();
    Ok(Verified {
        origin: format.origin,
        bundles: number,
        entries,
        root: archive.before.root(),
        signed: archive.signed,
        not_compared,
    })
}

/// The bundles that were verified so far.
struct Archive<'a> {
    source: &'a dyn Source,
    keys: &'a Keys,
    /// The roots of kept checkpoints and of those of the manifests.
    known: KnownRoots,
    before: Frontier,
    last_hash: Option<Hash>,
    signed: Vec<Signed>,
}

impl Archive<'_> {
    fn manifest(&self, path: &str) -> Result<Option<Vec<u8>>, Stop> {
        self.source.read_at_most(path, MAX_MANIFEST_BYTES + 1)
    }

    /// The bundle after the last one is not the end if there is a later one.
    fn no_later_bundle(&self, format: &ArchiveFormat, bundles: u64) -> Result<(), Stop> {
        let missing = format.bundle(bundles).manifest_path();
        let found = |later: &str| Stop::found(Level::Chain, format!("{missing} is missing, but {later} is there"));
        if let Some(names) = self.source.names("archive")? {
            let is_verified = |name: &str| {
                let first = name.parse::<u64>().unwrap_or(0).saturating_sub(1);
                let bundle = format.bundle(first / format.bundle_entries);
                bundle.number < bundles && bundle.path("") == format!("archive/{name}/")
            };
            for name in names.iter().filter(|name| !is_verified(name)) {
                let manifest = format!("archive/{name}/manifest.json");
                if *name != "format.json" && self.source.read_at_most(&manifest, 1)?.is_some() {
                    return found(&manifest);
                }
            }
            return Ok(());
        }
        // A checkpoint covers every bundle of its archive; none is known before the first bundle.
        let last = format.bundles_within(self.known.largest()).max(bundles + 1);
        for number in (bundles + 1..=last).take(MAX_PROBES) {
            let later = format.bundle(number).manifest_path();
            if self.source.read_at_most(&later, 1)?.is_some() {
                return found(&later);
            }
        }
        Ok(())
    }

    fn bundle(&mut self, format: &ArchiveFormat, bundle: Bundle, bytes: &[u8]) -> Result<(), Stop> {
        let path = bundle.manifest_path();
        let read = Manifest::read(bytes).and_then(|manifest| Ok((manifest.check(format, bundle)?, manifest)));
        let (checked, manifest) = match read {
            Ok(read) => read,
            Err(error) => return Stop::found(level_of(&error), format!("{path}: {error}")),
        };
        let previous_hash = self.last_hash.as_ref().map_or_else(|| GENESIS_HASH.to_owned(), |hash| hex(hash));
        if manifest.previous_hash != previous_hash || checked.before != self.before {
            return Stop::found(Level::Chain, format!("{path} does not follow the bundle before it"));
        }
        self.signed.push(signatures::verify_old(&checked.note, self.keys)?);
        self.known.add(&checked.checkpoint)?;
        let (last_hash, tree) = self.entries(bundle, &manifest, &checked, &previous_hash)?;
        if read_hex(&manifest.entry_hash) != Some(last_hash) || tree.root() != checked.root {
            return Stop::found(
                Level::Root,
                format!("{path}: its entries have another root or last hash than it says"),
            );
        }
        if let Some(file) = manifest.tiles_file()
            && read_file(self.source, bundle, file)? != tree.tiles()
        {
            return Stop::found(Level::Tile, format!("{} differs from the entries", bundle.path(TILES_NAME)));
        }
        (self.last_hash, self.before) = (Some(last_hash), tree.into_tree());
        Ok(())
    }

    /// Follows the entries of a bundle. Returns the hash of the last one, and the tree.
    fn entries(
        &self,
        bundle: Bundle,
        manifest: &Manifest,
        checked: &CheckedManifest,
        previous_hash: &str,
    ) -> Result<(Hash, BundleTree), Stop> {
        let mut tree = BundleTree::after(checked.before.clone());
        let mut end = ChainEnd { next: bundle.first, last: is_hex(previous_hash.as_bytes()).copied() };
        let (mut last_hash, after_last) = (None, bundle.last + 1);
        for (named, file) in manifest.entry_files() {
            let (path, first) = (bundle.path(&file.name), end.next);
            if named != first {
                let why = format!("{path} is named after entry {named}, but entry {first} is the next one");
                return Stop::found(Level::Chain, why);
            }
            let content = read_file(self.source, bundle, file)?;
            archive_file::for_each_run(&path, &content, |run: Run| {
                if let (Some((sequence, previous)), Some(after)) = (run.first, run.end) {
                    end.follow(sequence, &previous)?;
                    if after.next > after_last {
                        return Stop::found(
                            Level::Chain,
                            format!("entry {after_last} is in {path}, which is before it"),
                        );
                    }
                    for (hash, _) in &run.entries {
                        tree.push(hash);
                        self.known.compare(tree.size(), || tree.root())?;
                    }
                    last_hash = run.entries.last().map(|(hash, _)| *hash);
                    end = after;
                }
                run.stop.map_or(Ok(()), Err)
            })?;
            if end.next == first {
                return Stop::found(Level::Chain, format!("{path} has no entry"));
            }
        }
        match last_hash {
            Some(hash) if end.next == after_last => Ok((hash, tree)),
            _ => Stop::found(Level::Chain, format!("entry {} is in no file of {}", end.next, bundle.path(""))),
        }
    }
}

fn level_of(error: &ArchiveError) -> Level {
    match error {
        ArchiveError::Root(_) => Level::Consistency,
        ArchiveError::Checkpoint(_) => Level::Signature,
        ArchiveError::Form(_)
        | ArchiveError::Large(_)
        | ArchiveError::Origin(_)
        | ArchiveError::BundleEntries(_)
        | ArchiveError::OtherBundle(_) => Level::Archive,
    }
}

/// Reads a file of a bundle and compares it with its checksum.
fn read_file(source: &dyn Source, bundle: Bundle, expected: &ArchivedFile) -> Result<Vec<u8>, Stop> {
    let path = bundle.path(&expected.name);
    match source.read_at_most(&path, expected.bytes.saturating_add(1))? {
        None => Stop::found(Level::Archive, format!("{path} is missing")),
        Some(content) if ArchivedFile::of(&expected.name, &content) == *expected => Ok(content),
        Some(_) => {
            Stop::found(Level::Archive, format!("{path} has other bytes or another SHA-256 than its manifest says"))
        }
    }
}
