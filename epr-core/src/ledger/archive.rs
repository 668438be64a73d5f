//! Archives of the ledger: bundles of entries with their tiles, each with a manifest that leads to a signed checkpoint.
//!
//! Owns the names and the limits of the files, the manifest and the tree of a bundle. Must never read or write storage,
//! and must never believe a root that does not lead to the checkpoint of the manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::checkpoint::{Checkpoint, CheckpointError};
pub use super::hex::{hex, read_hex};
use super::merkle::{Frontier, Hash, ProofError, Range, leaf_hash, verify_consistency};
use super::note::Note;
use super::tile::{FULL_WIDTH, write_hashes};

/// The name and the version of the format.
pub const FORMAT: &str = "epr-ledger-archive-1";
/// The file that says how the ledger is cut into bundles.
pub const FORMAT_FILE: &str = "archive/format.json";
/// The entries of a bundle, unless the archive says otherwise.
pub const DEFAULT_BUNDLE_ENTRIES: u64 = 65_536;
/// The largest number of entries in a bundle.
pub const MAX_BUNDLE_ENTRIES: u64 = 65_536;
/// The largest number of bytes in a file of text before it is compressed, 128 MiB: no reader unpacks more.
pub const MAX_CONTENT_BYTES: u64 = 128 << 20;
/// The largest number of bytes in a file of a bundle as it is stored.
pub const MAX_FILE_BYTES: u64 = MAX_CONTENT_BYTES;
/// The largest number of bytes in [`FORMAT_FILE`].
pub const MAX_FORMAT_BYTES: u64 = 4 << 10;
/// The largest number of bytes in a manifest: one with a file for every entry has 12 MiB.
pub const MAX_MANIFEST_BYTES: u64 = 16 << 20;
/// The bytes of an entry in the file with the tiles.
const LEAF_BYTES: u64 = 32;

/// The content of [`FORMAT_FILE`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveFormat {
    /// [`FORMAT`].
    pub format: String,
    /// The origin of the ledger's checkpoints: its name and its incarnation.
    pub origin: String,
    /// The entries of each bundle: a multiple of 256.
    pub bundle_entries: u64,
}

/// The reason why a file of an archive cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// The text has another form than the format prescribes.
    #[error("it is not a file of the format {FORMAT}: {0}")]
    Form(String),
    /// The file has more bytes than any file of its kind.
    #[error("it has more than {0} bytes")]
    Large(u64),
    /// The origin is not that of a checkpoint.
    #[error("its origin is not that of a checkpoint: {0}")]
    Origin(#[from] CheckpointError),
    /// The number of entries of a bundle is not allowed.
    #[error("a bundle has a multiple of 256 entries and at most {MAX_BUNDLE_ENTRIES}, not {0}")]
    BundleEntries(u64),
    /// The manifest is that of another bundle or of another ledger.
    #[error("it is the manifest of another bundle: {0}")]
    OtherBundle(String),
    /// The checkpoint of the manifest does not cover the bundle, or is that of another ledger.
    #[error("its checkpoint {0}")]
    Checkpoint(&'static str),
    /// The root at the beginning or at the end of the bundle does not lead to the checkpoint.
    #[error("its root does not lead to its checkpoint: {0}")]
    Root(#[from] ProofError),
}

impl ArchiveFormat {
    /// The format of an archive of the ledger with this origin.
    ///
    /// # Errors
    /// The origin is not that of a checkpoint, or a bundle cannot have that many entries.
    pub fn new(origin: &str, bundle_entries: u64) -> Result<Self, ArchiveError> {
        Checkpoint::new(origin, 0, Hash::default())?;
        let whole_tiles = bundle_entries.is_multiple_of(u64::from(FULL_WIDTH));
        if !whole_tiles || !(1..=MAX_BUNDLE_ENTRIES).contains(&bundle_entries) {
            return Err(ArchiveError::BundleEntries(bundle_entries));
        }
        Ok(Self { format: FORMAT.to_owned(), origin: origin.to_owned(), bundle_entries })
    }

    /// Reads the content of [`FORMAT_FILE`].
    ///
    /// # Errors
    /// It has another form, another origin than a checkpoint, or a bundle cannot have that many entries.
    pub fn read(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let read: Self = from_json(bytes, MAX_FORMAT_BYTES)?;
        if read.format != FORMAT {
            return Err(ArchiveError::Form(format!("it names the format {:?}", read.format)));
        }
        Self::new(&read.origin, read.bundle_entries)
    }

    /// The bundle with this number, from 0.
    #[must_use]
    pub fn bundle(&self, number: u64) -> Bundle {
        let before = number.saturating_mul(self.bundle_entries);
        Bundle { number, first: before.saturating_add(1), last: before.saturating_add(self.bundle_entries) }
    }

    /// The number of whole bundles in the first `entries` entries.
    #[must_use]
    pub fn bundles_within(&self, entries: u64) -> u64 {
        entries / self.bundle_entries
    }
}

/// The entries of a bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bundle {
    /// The number of the bundle, from 0.
    pub number: u64,
    /// The sequence of the first entry.
    pub first: u64,
    /// The sequence of the last entry.
    pub last: u64,
}

impl Bundle {
    /// The path of a file of the bundle. The names are in the order of the entries.
    #[must_use]
    pub fn path(&self, name: &str) -> String {
        format!("archive/{:019}/{name}", self.first)
    }

    /// The path of the manifest, which is written when everything else of the bundle is there.
    #[must_use]
    pub fn manifest_path(&self) -> String {
        self.path("manifest.json")
    }
}

/// The name of the file with the entries from `first` on: lines of an export, compressed by gzip.
#[must_use]
pub fn entries_name(first: u64) -> String {
    format!("entries-{first:019}.jsonl.gz")
}

/// The sequence of the first entry in the file with this name; `None` for any other name.
fn first_of(name: &str) -> Option<u64> {
    let first = name.strip_prefix("entries-")?.strip_suffix(".jsonl.gz")?.parse().ok()?;
    (entries_name(first) == name).then_some(first)
}

/// The name of the file with the full tiles of hashes of leaves, one after the other.
pub const TILES_NAME: &str = "tiles";

/// What an archive says about one of its files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchivedFile {
    /// The name of the file within the folder of the bundle.
    pub name: String,
    /// The number of bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, in hex.
    pub sha256: String,
}

impl ArchivedFile {
    /// Describes a file.
    #[must_use]
    pub fn of(name: &str, content: &[u8]) -> Self {
        let sha256 = hex(&Sha256::digest(content));
        Self { name: name.to_owned(), bytes: bytes_of(content), sha256 }
    }
}

/// What a bundle contains, and how its end leads to a signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: String,
    /// The origin of the ledger's checkpoints.
    pub origin: String,
    /// The sequence of the first entry.
    pub first: u64,
    /// The sequence of the last entry.
    pub last: u64,
    /// The hash of the entry before the first one; 64 zeros if there is none.
    pub previous_hash: String,
    /// The hash of the last entry.
    pub entry_hash: String,
    /// The roots of the complete subtrees over the entries before the bundle, largest first, in hex.
    pub subtrees: Vec<String>,
    /// The root of the tree over the entries before the bundle, in hex.
    pub root_before: String,
    /// The root of the tree over all entries up to the last one, in hex.
    pub root: String,
    /// The files of the bundle: the entries in their order, then the tiles.
    pub files: Vec<ArchivedFile>,
    /// The signed checkpoint that covers the bundle: the last one that was published when the bundle was written.
    pub checkpoint: String,
    /// The path by which the tree of the checkpoint begins with that of the bundle's last entry, in hex.
    pub consistency: Vec<String>,
}

/// A manifest whose roots lead to its checkpoint.
#[derive(Debug, Clone)]
pub struct CheckedManifest {
    /// The checkpoint, whose signatures are not verified.
    pub checkpoint: Checkpoint,
    /// The note with the signatures.
    pub note: Note,
    /// The tree over the entries before the bundle.
    pub before: Frontier,
    /// The root of the tree over the entries up to the last one.
    pub root: Hash,
}

impl Manifest {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It has another form.
    pub fn read(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let read: Self = from_json(bytes, MAX_MANIFEST_BYTES)?;
        if read.format != FORMAT {
            return Err(ArchiveError::Form(format!("it names the format {:?}", read.format)));
        }
        Ok(read)
    }

    /// The text of the manifest.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec_pretty(self).unwrap_or_default();
        text.push(b'\n');
        text
    }

    /// Checks that this is the manifest of `bundle`, and that its roots lead to its checkpoint. The signatures of the
    /// checkpoint are left to the caller.
    ///
    /// # Errors
    /// The first disagreement.
    pub fn check(&self, format: &ArchiveFormat, bundle: Bundle) -> Result<CheckedManifest, ArchiveError> {
        if self.origin != format.origin {
            return Err(ArchiveError::OtherBundle(format!("of the ledger {}", self.origin)));
        }
        if (self.first, self.last) != (bundle.first, bundle.last) {
            return Err(ArchiveError::OtherBundle(format!("of the entries {} to {}", self.first, self.last)));
        }
        self.check_files(format.bundle_entries)?;
        let note: Note = self.checkpoint.parse().map_err(|_| ArchiveError::Checkpoint("is not a signed note"))?;
        let checkpoint: Checkpoint = note.text.parse().map_err(|_| ArchiveError::Checkpoint("cannot be read"))?;
        if checkpoint.origin() != self.origin {
            return Err(ArchiveError::Checkpoint("is that of another ledger"));
        }
        if checkpoint.size < self.last {
            return Err(ArchiveError::Checkpoint("does not cover the bundle"));
        }
        let subtrees = hashes("subtrees", &self.subtrees)?;
        let before = Frontier::from_parts(self.first - 1, subtrees)
            .ok_or_else(|| ArchiveError::Form("the number of subtrees does not fit the first entry".to_owned()))?;
        if hash("root_before", &self.root_before)? != before.root() {
            return Err(ArchiveError::Root(ProofError::OlderRoot));
        }
        let (root, path) = (hash("root", &self.root)?, hashes("consistency", &self.consistency)?);
        verify_consistency((self.last, &root), (checkpoint.size, &checkpoint.root), &path)?;
        hash("previous_hash", &self.previous_hash)?;
        hash("entry_hash", &self.entry_hash)?;
        Ok(CheckedManifest { checkpoint, note, before, root })
    }

    /// The files with entries in their order, each with the sequence of its first entry.
    pub fn entry_files(&self) -> impl Iterator<Item = (u64, &ArchivedFile)> {
        self.files.iter().filter_map(|file| Some((first_of(&file.name)?, file)))
    }

    /// What the manifest says about the tiles; `None` never in a manifest that was checked.
    #[must_use]
    pub fn tiles_file(&self) -> Option<&ArchivedFile> {
        self.files.iter().find(|file| file.name == TILES_NAME)
    }

    /// A name leads to no other folder, the files are in the order of the entries, and none is too large to be read.
    fn check_files(&self, bundle_entries: u64) -> Result<(), ArchiveError> {
        let wrong = || ArchiveError::Form("its files are not entries in their order and tiles".to_owned());
        let (tiles, entries) = self.files.split_last().ok_or_else(wrong)?;
        let firsts: Option<Vec<u64>> = entries.iter().map(|file| first_of(&file.name)).collect();
        let firsts = firsts.ok_or_else(wrong)?;
        let is_ordered = firsts.first() == Some(&self.first)
            && firsts.is_sorted_by(|one, next| one < next)
            && firsts.last().is_some_and(|last| *last <= self.last);
        if tiles.name != TILES_NAME || !is_ordered {
            return Err(wrong());
        }
        let expected = bundle_entries * LEAF_BYTES;
        if tiles.bytes != expected {
            return Err(ArchiveError::Form(format!("the tiles have {} bytes instead of {expected}", tiles.bytes)));
        }
        match entries.iter().find(|file| file.bytes > MAX_FILE_BYTES) {
            Some(large) => {
                let ArchivedFile { name, bytes, .. } = large;
                Err(ArchiveError::Form(format!("{name} has {bytes} bytes; {MAX_FILE_BYTES} are the most")))
            }
            None => Ok(()),
        }
    }
}

/// The roots that checkpoints state, by the number of entries.
#[derive(Debug, Clone, Default)]
pub struct StatedRoots(BTreeMap<u64, Hash>);

impl StatedRoots {
    /// Adds a checkpoint; `false` if another one states another root for as many entries.
    pub fn add(&mut self, checkpoint: &Checkpoint) -> bool {
        *self.0.entry(checkpoint.size).or_insert(checkpoint.root) == checkpoint.root
    }

    /// Whether the first `size` entries have the root that is stated for them, if there is one.
    pub fn agrees(&self, size: u64, root: impl FnOnce() -> Hash) -> bool {
        self.0.get(&size).is_none_or(|stated| *stated == root())
    }

    /// Whether exactly this root is stated.
    #[must_use]
    pub fn has(&self, checkpoint: &Checkpoint) -> bool {
        self.0.get(&checkpoint.size) == Some(&checkpoint.root)
    }

    /// The roots of trees with more than `size` entries.
    pub fn after(&self, size: u64) -> impl Iterator<Item = (u64, Hash)> {
        self.0.range(size.saturating_add(1)..).map(|(size, root)| (*size, *root))
    }

    /// The largest number of entries for which a root is stated; 0 if there is none.
    #[must_use]
    pub fn largest(&self) -> u64 {
        self.0.last_key_value().map_or(0, |(size, _)| *size)
    }
}

/// The tree over the entries of a bundle, and the tiles that they fill.
#[derive(Clone)]
pub struct BundleTree {
    tree: Frontier,
    leaves: Vec<Hash>,
}

impl BundleTree {
    /// The tree over the entries before the bundle.
    #[must_use]
    pub fn after(before: Frontier) -> Self {
        Self { tree: before, leaves: Vec::new() }
    }

    /// Appends an entry with these leaf data.
    pub fn push(&mut self, data: &Hash) {
        let leaf = leaf_hash(data);
        self.leaves.push(leaf);
        self.tree.push(leaf, |_, _| {});
    }

    /// The number of entries of the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.tree.size()
    }

    /// The root over all entries.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.tree.root()
    }

    /// The hashes of the leaves of the bundle.
    #[must_use]
    pub fn leaves(&self) -> &[Hash] {
        &self.leaves
    }

    /// The content of the file with the tiles.
    #[must_use]
    pub fn tiles(&self) -> Vec<u8> {
        write_hashes(&self.leaves)
    }

    /// The tree, without the tiles.
    #[must_use]
    pub fn into_tree(self) -> Frontier {
        self.tree
    }
}

/// The ranges whose roots are the complete subtrees over the first `size` entries, largest first.
#[must_use]
pub fn subtree_ranges(size: u64) -> Vec<Range> {
    let nodes = Range { begin: 0, end: size }.nodes();
    nodes.iter().map(|node| Range { begin: node.index << node.level, end: (node.index + 1) << node.level }).collect()
}

fn from_json<'a, T: Deserialize<'a>>(bytes: &'a [u8], limit: u64) -> Result<T, ArchiveError> {
    if bytes_of(bytes) > limit {
        return Err(ArchiveError::Large(limit));
    }
    serde_json::from_slice(bytes).map_err(|error| ArchiveError::Form(error.to_string()))
}

fn bytes_of(content: &[u8]) -> u64 {
    u64::try_from(content.len()).unwrap_or(u64::MAX)
}

fn hashes(name: &str, texts: &[String]) -> Result<Vec<Hash>, ArchiveError> {
    texts.iter().map(|text| hash(name, text)).collect()
}

fn hash(name: &str, text: &str) -> Result<Hash, ArchiveError> {
    read_hex(text).ok_or_else(|| ArchiveError::Form(format!("`{name}` is not 64 hex digits in lower case")))
}
