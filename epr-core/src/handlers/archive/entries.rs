//! The files with entries of a bundle: lines of an export, compressed by gzip, and their verification.
//!
//! Reading shares nothing with writing but the form of a line. Must never use a hash that a line states before it was
//! computed. `epr-verify` accepts the same files, which the tests of both hold (`ledger/archive_cases.rs`).

use std::io::{self, Write as _};

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Deserialize;

use super::lines::{Line, read_lines};
use crate::handlers::audit::ExportedEntry;
use crate::ledger::archive::{Bundle, BundleTree, StatedRoots, read_hex};
use crate::ledger::canonical::entry_hash;
use crate::ledger::merkle::{Frontier, Hash};

/// The bytes of text after which a file ends. A file is in memory while it is written and read.
const FILE_CONTENT_BYTES: usize = 16 << 20;

/// A file that is being compressed.
pub(super) struct EntriesFile {
    encoder: GzEncoder<Vec<u8>>,
    line: Vec<u8>,
    content_bytes: usize,
    /// The next sequence.
    pub(super) next: u64,
}

impl EntriesFile {
    /// The file whose first entry has this sequence.
    pub(super) fn from(first: u64) -> Self {
        let encoder = GzEncoder::new(Vec::new(), Compression::default());
        Self { encoder, line: Vec::new(), content_bytes: 0, next: first }
    }

    /// Appends an entry; `false` when the file is full.
    pub(super) fn push(&mut self, entry: &ExportedEntry<'_>) -> io::Result<bool> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, entry)?;
        self.line.push(b'\n');
        self.encoder.write_all(&self.line)?;
        self.content_bytes += self.line.len();
        self.next = u64::try_from(entry.sequence).unwrap_or(0) + 1;
        Ok(self.content_bytes < FILE_CONTENT_BYTES)
    }

    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        self.encoder.finish()
    }
}

/// Verifies the entries of a bundle, file by file: text, hash, chain and tree.
#[derive(Clone)]
pub(super) struct BundleReader {
    bundle: Bundle,
    next: u64,
    previous_hash: String,
    tree: BundleTree,
}

/// The members of a text on which its place in the chain depends.
#[derive(Deserialize)]
struct Link {
    sequence: u64,
    previous_hash: String,
}

impl BundleReader {
    /// Begins after the entry with this hash, where the tree is `before`.
    pub(super) fn after(bundle: Bundle, previous_hash: &str, before: Frontier) -> Self {
        let tree = BundleTree::after(before);
        Self { bundle, next: bundle.first, previous_hash: previous_hash.to_owned(), tree }
    }

    /// Verifies the entries of the file whose name has the sequence `first`, and that the tree has each root of
    /// `stated` that it reaches; returns their hashes in hex. The error says what is wrong.
    pub(super) fn read(&mut self, first: u64, compressed: &[u8], stated: &StatedRoots) -> Result<Vec<String>, String> {
        if first != self.next {
            return Err(format!("its name is that of entry {first}, but entry {} is the next one", self.next));
        }
        let mut hashes = Vec::new();
        read_lines(compressed, first, |entry| {
            hashes.push(self.entry(entry)?);
            let size = self.tree.size();
            if stated.agrees(size, || self.tree.root()) {
                Ok(())
            } else {
                Err(format!("the first {size} entries have another root than a checkpoint over them"))
            }
        })?;
        Ok(hashes)
    }

    fn entry(&mut self, entry: Line) -> Result<String, String> {
        let Line { sequence, previous_hash, entry_hash: stated, canonical } = entry;
        if sequence > self.bundle.last {
            return Err(format!("entry {sequence} is of another bundle"));
        }
        if previous_hash != self.previous_hash {
            return Err(format!("entry {sequence} does not name the hash of the entry before it"));
        }
        let computed = entry_hash(&previous_hash, &canonical);
        if computed != stated {
            return Err(format!("the text of entry {sequence} has the hash {computed}, but {stated} is stated"));
        }
        let link = serde_json::from_str::<Link>(&canonical);
        if !link.is_ok_and(|link| link.sequence == sequence && link.previous_hash == previous_hash) {
            return Err(format!("the text of entry {sequence} is that of another entry"));
        }
        let data: Hash = read_hex(&computed).unwrap_or_default();
        self.tree.push(&data);
        self.next += 1;
        self.previous_hash.clone_from(&computed);
        Ok(computed)
    }

    /// The first sequence that was not read yet.
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// The hash of the last entry.
    pub(super) fn last_hash(&self) -> &str {
        &self.previous_hash
    }

    /// The tree over all entries that were read.
    pub(super) fn tree(&self) -> &BundleTree {
        &self.tree
    }

    /// Whether every entry of the bundle was read.
    pub(super) fn is_whole(&self) -> bool {
        self.next > self.bundle.last
    }

    /// The hash of the last entry, and the tree.
    pub(super) fn into_end(self) -> (String, Frontier) {
        (self.previous_hash, self.tree.into_tree())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::GENESIS_HASH;
    use crate::ledger::archive::ArchiveFormat;
    use crate::ledger::archive_cases;
    use crate::ledger::checkpoint::Checkpoint;

    /// The lines of 256 entries.
    fn lines() -> Vec<String> {
        let mut previous = GENESIS_HASH.to_owned();
        let line = |sequence| {
            let canonical = format!(r#"{{"previous_hash":"{previous}","sequence":{sequence}}}"#);
            let hash = entry_hash(&previous, &canonical);
            let text = serde_json::to_string(&canonical).unwrap();
            let line = format!(
                r#"{{"sequence":{sequence},"previous_hash":"{previous}","entry_hash":"{hash}","canonical":{text}}}"#
            );
            previous = hash;
            line
        };
        (1..=256).map(line).collect()
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    fn text(lines: &[String]) -> String {
        lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    fn read(files: &[(u64, Vec<u8>)]) -> Result<BundleReader, String> {
        let bundle = ArchiveFormat::new("epr.test/ledger", 256).unwrap().bundle(0);
        let mut reader = BundleReader::after(bundle, GENESIS_HASH, Frontier::new());
        for (first, file) in files {
            reader.read(*first, file, &StatedRoots::default())?;
        }
        Ok(reader)
    }

    #[test]
    fn whole_entries_in_their_order_are_accepted_in_one_file_or_in_several() {
        let lines = lines();
        let one = read(&[(1, gzip(&text(&lines)))]).unwrap();
        let two = read(&[(1, gzip(&text(&lines[..7]))), (8, gzip(&text(&lines[7..])))]).unwrap();
        assert!(one.is_whole() && two.is_whole());
        assert_eq!(one.tree().tiles().len(), 8192);
        assert_eq!((one.tree().root(), one.last_hash()), (two.tree().root(), two.last_hash()));
        assert!(!read(&[(1, gzip(&text(&lines[..255])))]).unwrap().is_whole());
    }

    #[test]
    fn the_same_files_are_accepted_as_by_epr_verify() {
        for case in archive_cases::cases(1, &lines()) {
            let files: Vec<_> = case.files.iter().map(|(first, text)| (*first, gzip(text))).collect();
            match (read(&files).map(|reader| reader.is_whole()), case.is_accepted) {
                (Ok(true), true) | (Ok(false) | Err(_), false) => {}
                (result, _) => panic!("{}: {result:?}", case.name),
            }
        }
    }

    #[test]
    fn every_change_of_a_file_is_found() {
        let lines = lines();
        let changed = |change: &dyn Fn(&mut Vec<String>)| {
            let mut lines = lines.clone();
            change(&mut lines);
            read(&[(1, gzip(&text(&lines)))]).err().unwrap_or_default()
        };
        for (found, change) in [
            ("entry 3 is there in place of entry 2", (&|lines: &mut Vec<String>| lines.swap(1, 2)) as &dyn Fn(&mut _)),
            ("entry 3 is there in place of entry 2", &|lines: &mut Vec<String>| drop(lines.remove(1))),
            ("entry 1 is there in place of entry 2", &|lines: &mut Vec<String>| lines.insert(1, lines[0].clone())),
            ("entry 256 is there in place of entry 257", &|lines: &mut Vec<String>| lines.push(lines[255].clone())),
            ("the text of entry 9 has the hash", &|lines| {
                lines[8] = lines[8].replace(r#"\"sequence"#, r#"\"Sequence"#);
            }),
            ("the line of entry 9 cannot be read", &|lines: &mut Vec<String>| {
                lines[8] = lines[8].replace("canonical", "text");
            }),
            ("does not name the hash of the entry before it", &|lines: &mut Vec<String>| {
                lines[0] = lines[0].replace(GENESIS_HASH, &"1".repeat(64));
            }),
            ("it has no entry", &|lines: &mut Vec<String>| lines.clear()),
        ] {
            let why = changed(change);
            assert!(why.contains(found), "{found}: {why}");
        }
        // A text that has its hash, and names another place.
        let canonical = format!(r#"{{"previous_hash":"{GENESIS_HASH}","sequence":2}}"#);
        let (hash, text) = (entry_hash(GENESIS_HASH, &canonical), serde_json::to_string(&canonical).unwrap());
        let line =
            format!(r#"{{"sequence":1,"previous_hash":"{GENESIS_HASH}","entry_hash":"{hash}","canonical":{text}}}"#);
        assert_eq!(
            read(&[(1, gzip(&format!("{line}\n")))]).err().unwrap(),
            "the text of entry 1 is that of another entry"
        );
    }

    #[test]
    fn a_root_that_a_checkpoint_states_is_compared_when_the_tree_reaches_it() {
        let (lines, bundle) = (lines(), ArchiveFormat::new("epr.test/ledger", 256).unwrap().bundle(0));
        let root = read(&[(1, gzip(&text(&lines[..100])))]).unwrap().tree().root();
        for (size, is_found) in [(100, false), (99, true), (101, true), (300, false)] {
            let mut stated = StatedRoots::default();
            assert!(stated.add(&Checkpoint::new("epr.test/ledger", size, root).unwrap()));
            let mut reader = BundleReader::after(bundle, GENESIS_HASH, Frontier::new());
            let found = reader.read(1, &gzip(&text(&lines)), &stated).err().unwrap_or_default();
            assert_eq!(found.contains(&format!("the first {size} entries have another root")), is_found, "{found}");
            // Another root for as many entries disagrees at once.
            assert!(!stated.add(&Checkpoint::new("epr.test/ledger", size, [1; 32]).unwrap()));
        }
    }

    #[test]
    fn a_file_that_is_cut_or_continued_is_found() {
        let whole = gzip(&text(&lines()));
        let cut = &whole[..whole.len() - 9];
        assert!(read(&[(1, cut.to_vec())]).err().unwrap().contains("it cannot be unpacked"));
        let continued = [whole.as_slice(), b"more"].concat();
        assert!(read(&[(1, continued)]).err().unwrap().contains("it cannot be unpacked"));
        let mut flipped = whole;
        let middle = flipped.len() / 2;
        flipped[middle] ^= 1;
        assert!(read(&[(1, flipped)]).is_err());
    }
}
