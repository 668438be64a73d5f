//! Archives: every file changed, cut and missing; bundles of another ledger and in another order; other checkpoints.

use std::collections::HashMap;
use std::fs;
use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::{Files, Ledger, ORIGIN, assert_found, assert_unreadable, found, key, keys, signed};
use crate::archive::{Verified, verify};
use crate::finding::{Level, Stop};
use crate::ledger::archive::{ArchiveFormat, ArchivedFile, BundleTree, FORMAT, Manifest, entries_name, hex};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::{Frontier, Hash, consistency_ranges, leaf_hash};
use crate::ledger::note::Note;
use crate::ledger::{GENESIS_HASH, hex as hex_of};
use crate::signatures::Signed;
use crate::source::{Folder, Source};

const BUNDLE: usize = 256;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn frontier(data: &[Hash]) -> Frontier {
    let mut frontier = Frontier::new();
    for data in data {
        frontier.push(leaf_hash(data), |_, _| {});
    }
    frontier
}

/// The root of a run of leaves.
fn root_of(ledger: &Ledger, begin: u64, end: u64) -> Hash {
    let [begin, end] = [begin, end].map(|at| usize::try_from(at).unwrap());
    frontier(&ledger.data[begin..end]).root()
}

/// The archive of the whole bundles of a ledger, below a checkpoint over all entries.
fn archive(ledger: &Ledger) -> Files {
    let size = u64::try_from(ledger.data.len()).unwrap();
    let format = ArchiveFormat::new(ORIGIN, 256).unwrap();
    let mut files = HashMap::from([("archive/format.json".to_owned(), serde_json::to_vec(&format).unwrap())]);
    let note = signed(&ledger.checkpoint(ledger.data.len()), &[key(1)]);
    for number in 0..format.bundles_within(size) {
        let bundle = format.bundle(number);
        let begin = usize::try_from(bundle.first - 1).unwrap();
        let before = frontier(&ledger.data[..begin]);
        let mut tree = BundleTree::after(before.clone());
        for data in &ledger.data[begin..begin + BUNDLE] {
            tree.push(data);
        }
        // Two files, the second of which begins in the middle.
        let middle = begin + 100;
        let parts = [(begin, middle), (middle, begin + BUNDLE)].map(|(from, to)| {
            let lines: String = ledger.lines[from..to].iter().flat_map(|line| [line, "\n"]).collect();
            (entries_name(u64::try_from(from + 1).unwrap()), gzip(&lines))
        });
        let mut described = Vec::new();
        for (name, content) in parts.into_iter().chain([("tiles".to_owned(), tree.tiles())]) {
            described.push(ArchivedFile::of(&name, &content));
            files.insert(bundle.path(&name), content);
        }
        let ranges = consistency_ranges(bundle.last, size).unwrap();
        let manifest = Manifest {
            format: FORMAT.to_owned(),
            origin: ORIGIN.to_owned(),
            first: bundle.first,
            last: bundle.last,
            previous_hash: begin.checked_sub(1).map_or(GENESIS_HASH.to_owned(), |last| hex_of(&ledger.data[last])),
            entry_hash: hex_of(&ledger.data[begin + BUNDLE - 1]),
            subtrees: before.roots().iter().map(|hash| hex(hash)).collect(),
            root_before: hex(&before.root()),
            root: hex(&tree.root()),
            files: described,
            checkpoint: note.clone(),
            consistency: ranges.iter().map(|range| hex(&root_of(ledger, range.begin, range.end))).collect(),
        };
        files.insert(bundle.manifest_path(), manifest.to_bytes());
    }
    Files(files)
}

fn verified(files: &Files, older: &[Checkpoint]) -> Result<Verified, Stop> {
    verify(files, &keys(&[key(1)], &[], 0), older, None)
}

/// The same archive in a folder.
fn folder(files: &Files) -> (tempfile::TempDir, Folder) {
    let folder = tempfile::tempdir().unwrap();
    for (path, content) in &files.0 {
        let path = folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    let source = Folder(folder.path().to_owned());
    (folder, source)
}

fn path(number: usize, name: &str) -> String {
    format!("archive/{:019}/{name}", number * BUNDLE + 1)
}

/// The archive with another manifest for a bundle.
fn with_manifest(files: &Files, number: usize, change: impl FnOnce(&mut Manifest)) -> Files {
    let (mut files, path) = (files.clone(), path(number, "manifest.json"));
    let mut manifest = Manifest::read(&files.0[&path]).unwrap();
    change(&mut manifest);
    files.0.insert(path, manifest.to_bytes());
    files
}

#[test]
fn an_archive_agrees_with_its_checkpoints_and_with_kept_ones() {
    let ledger = Ledger::new(1_100);
    let files = archive(&ledger);
    let kept = [1, 256, 300, 1_024, 1_100].map(|size| ledger.checkpoint(size));
    let found = verified(&files, &kept).unwrap();
    let signed = Signed { checkpoint: ledger.checkpoint(1_100), signatures: 1, cosignatures: 0 };
    let expected = Verified {
        origin: ORIGIN.to_owned(),
        bundles: 4,
        entries: 1_024,
        root: ledger.root(1_024),
        signed: vec![signed; 4],
        not_compared: 0,
    };
    assert_eq!(found, expected);
    // Over more entries, and not the checkpoint of the last bundle.
    let newer = [1_030, 1_101].map(|size| super::checkpoint_of(size, [7; 32]));
    assert_eq!(verified(&files, &newer).unwrap().not_compared, 2);
    let forged = super::checkpoint_of(1_100, [7; 32]);
    assert_found(verified(&files, &[forged]), Level::Root, "two checkpoints of 1100 entries have different roots");
    let without_keys = verify(&files, &keys(&[], &[], 0), &[], Some(1_024)).unwrap();
    assert!(without_keys.signed.iter().all(|signed| signed.signatures == 0));
    let beyond = verify(&files, &keys(&[key(1)], &[], 0), &[], Some(1_025));
    assert_found(beyond, Level::Archive, "entry 1025 is not archived: the archive ends at entry 1024");
    let nothing = archive(&Ledger::new(255));
    assert_unreadable(verified(&nothing, &[]), "the archive has no bundle");
}

#[test]
fn two_kept_checkpoints_of_one_size_are_both_compared() {
    let ledger = Ledger::new(600);
    let kept = [ledger.checkpoint(300), super::checkpoint_of(300, ledger.root(301))];
    for kept in [kept.clone(), [kept[1].clone(), kept[0].clone()]] {
        assert_found(verified(&archive(&ledger), &kept), Level::Root, "two checkpoints of 300 entries");
    }
}

#[test]
fn the_checkpoint_of_a_bundle_is_compared_with_the_entries_of_later_ones() {
    let ledger = Ledger::new(600);
    let files = archive(&ledger);
    // A fork of the ledger after its first bundle, whose checkpoint the key signed too.
    let fork = (256..300).fold(Ledger::new(256), |ledger, _| ledger.with("thing.forged"));
    let note = signed(&fork.checkpoint(300), &[key(1)]);
    let ranges = consistency_ranges(256, 300).unwrap();
    let path: Vec<_> = ranges.iter().map(|range| hex(&root_of(&fork, range.begin, range.end))).collect();
    let forked = with_manifest(&files, 0, |manifest| (manifest.checkpoint, manifest.consistency) = (note, path));
    assert_found(verified(&forked, &[]), Level::Root, "the first 300 entries have another root than the checkpoint");
    // Two bundles with different checkpoints of one size: beyond the archive, no entry decides.
    let fork = (512..600).fold(Ledger::new(512), |ledger, _| ledger.with("thing.forged"));
    let note = signed(&fork.checkpoint(600), &[key(1)]);
    let ranges = consistency_ranges(512, 600).unwrap();
    let path: Vec<_> = ranges.iter().map(|range| hex(&root_of(&fork, range.begin, range.end))).collect();
    let forked = with_manifest(&files, 1, |manifest| (manifest.checkpoint, manifest.consistency) = (note, path));
    assert_found(verified(&forked, &[]), Level::Root, "two checkpoints of 600 entries have different roots");
}

#[test]
fn bundles_that_are_missing_before_others_are_found() {
    let files = archive(&Ledger::new(1_700));
    for missing in [&[0][..], &[2], &[2, 3], &[1, 2, 3, 4], &[0, 1, 2, 3, 4]] {
        let mut damaged = files.clone();
        for number in missing {
            damaged.0.remove(&path(*number, "manifest.json")).unwrap();
        }
        let first = path(missing[0], "manifest.json");
        let later = path(missing.last().unwrap() + 1, "manifest.json");
        let (_folder, listed) = folder(&damaged);
        let found = verify(&listed, &keys(&[key(1)], &[], 0), &[], None);
        assert_found(found, Level::Chain, &format!("{first} is missing, but {later} is there"));
        // Without lists, the size of a checkpoint says how many there can be.
        if missing[0] > 0 {
            assert_found(verified(&damaged, &[]), Level::Chain, &format!("{first} is missing, but {later} is there"));
        }
    }
    // Every one after the second is gone, as if the archive ended there; unfinished ones have no manifest.
    let mut shorter = files;
    (2..6).for_each(|number| drop(shorter.0.remove(&path(number, "manifest.json"))));
    assert_eq!(verified(&shorter, &[]).unwrap().entries, 512);
    let (_folder, listed) = folder(&shorter);
    assert_eq!(verify(&listed, &keys(&[key(1)], &[], 0), &[], None).unwrap().entries, 512);
}

#[test]
fn keys_that_were_added_or_replaced_have_not_signed_older_bundles() {
    let ledger = Ledger::new(600);
    let files = archive(&ledger);
    let both = signed(&ledger.checkpoint(600), &[key(1), key(2)]);
    let added = with_manifest(&files, 1, |manifest| manifest.checkpoint.clone_from(&both));
    let count = |files: &Files, known: &[super::Signer]| -> Result<Vec<usize>, Stop> {
        let found = verify(files, &keys(known, &[], 0), &[], None)?;
        Ok(found.signed.iter().map(|signed| signed.signatures).collect())
    };
    assert_eq!(count(&added, &[key(1), key(2)]).unwrap(), [1, 2]);
    let new = signed(&ledger.checkpoint(600), &[key(2)]);
    let replaced = with_manifest(&files, 1, |manifest| manifest.checkpoint = new);
    assert_eq!(count(&replaced, &[key(1), key(2)]).unwrap(), [1, 1]);
    for known in [1, 2] {
        assert_found(count(&replaced, &[key(known)]), Level::Signature, "no given key has signed");
    }
    // A wrong signature beside a right one.
    let note: Note = both.parse().unwrap();
    let other: Note = signed(&ledger.checkpoint(599), &[key(2)]).parse().unwrap();
    let signatures = vec![note.signatures[0].clone(), other.signatures[0].clone()];
    let wrong = Note { text: note.text, signatures }.to_string();
    let changed = with_manifest(&files, 1, |manifest| manifest.checkpoint = wrong);
    assert_found(count(&changed, &[key(1), key(2)]), Level::Signature, "is wrong");
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    /// An archive one of whose files never ends.
    struct Endless(Files, String);

    impl Source for Endless {
        fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Stop> {
            if path != self.1 {
                return self.0.read_at_most(path, limit);
            }
            assert!(limit <= 128 << 20, "{limit} bytes");
            Ok(Some(vec![b' '; usize::try_from(limit).unwrap()]))
        }
    }

    let files = archive(&Ledger::new(300));
    for path in files.0.keys() {
        let result = verify(&Endless(files.clone(), path.clone()), &keys(&[key(1)], &[], 0), &[], None);
        match result.unwrap_err() {
            Stop::Unreadable(why) => assert_eq!(why, "archive/format.json: it has more than 4096 bytes"),
            Stop::Found(found) => assert!(found.sentence.contains(path.as_str()), "{found}"),
        }
    }
    // A manifest may not ask for more either.
    let large = with_manifest(&files, 0, |manifest| manifest.files[0].bytes = 1 << 40);
    assert_found(verified(&large, &[]), Level::Archive, "134217728 are the most");
    let large = with_manifest(&files, 0, |manifest| manifest.files[2].bytes = 1 << 40);
    assert_found(verified(&large, &[]), Level::Archive, "the tiles have 1099511627776 bytes instead of 8192");
}

#[cfg(unix)]
#[test]
fn only_regular_files_are_read() {
    let (folder, source) = folder(&archive(&Ledger::new(300)));
    let tiles = folder.path().join(path(0, "tiles"));
    fs::remove_file(&tiles).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &tiles).unwrap();
    let found = verify(&source, &keys(&[key(1)], &[], 0), &[], None);
    assert_unreadable(found, "tiles cannot be read: it is not a regular file");
    fs::remove_file(&tiles).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&tiles).status().unwrap().success());
    assert_unreadable(verify(&source, &keys(&[key(1)], &[], 0), &[], None), "it is not a regular file");
}

#[test]
fn a_file_that_is_changed_cut_or_missing_is_found() {
    let files = archive(&Ledger::new(600));
    assert_eq!(files.0.len(), 9);
    for (path, bytes) in files.0.iter().filter(|(path, _)| !path.ends_with("format.json")) {
        let with = |bytes: Option<Vec<u8>>| {
            let mut files = files.clone();
            match bytes {
                Some(bytes) => files.0.insert(path.clone(), bytes),
                None => files.0.remove(path),
            };
            verified(&files, &[])
        };
        if *path == self::path(1, "manifest.json") {
            assert_eq!(with(None).unwrap().entries, 256, "the archive ends before its last bundle");
        } else {
            let (_, sentence) = found(with(None));
            assert!(sentence.contains("is missing"), "{path}: {sentence}");
        }
        let folder = &path[..path.rfind('/').unwrap()];
        let cut = bytes[..bytes.len() - 2].to_vec();
        let flipped = [0, 2, bytes.len() / 2, bytes.len() - 3].map(|at| {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            changed
        });
        for changed in [cut].into_iter().chain(flipped) {
            let (level, sentence) = found(with(Some(changed)));
            // A manifest may disagree with another file of its bundle, or lack a signature.
            let is_at = sentence.contains(if path.ends_with("manifest.json") { folder } else { path.as_str() });
            assert!(is_at || level == Level::Signature, "{path}: {level}: {sentence}");
        }
    }
}

#[test]
fn bundles_of_another_ledger_or_in_another_order_are_found() {
    let (ledger, other) = (Ledger::new(600), (0..600).fold(Ledger::default(), |ledger, _| ledger.with("thing.forged")));
    let (files, forged) = (archive(&ledger), archive(&other));
    // The second bundle of another ledger, with a checkpoint that the key signed too.
    let mut mixed = files.clone();
    mixed.0.extend(
        forged.0.iter().filter(|(at, _)| at.contains(&path(1, ""))).map(|(at, file)| (at.clone(), file.clone())),
    );
    assert_found(verified(&mixed, &[]), Level::Chain, "does not follow the bundle before it");
    // The bundles in each other's place.
    let mut swapped = files.clone();
    let [one, two] = [0, 1].map(|number| path(number, "manifest.json"));
    swapped.0.insert(one.clone(), files.0[&two].clone());
    assert_found(verified(&swapped, &[]), Level::Archive, "it is the manifest of another bundle: of the entries 257");
    // A forged ledger that is whole is found by a checkpoint that was kept.
    assert_found(verified(&forged, &[ledger.checkpoint(300)]), Level::Root, "the first 300 entries have another root");
}

#[test]
fn a_manifest_that_does_not_lead_to_a_signed_checkpoint_is_found() {
    let (ledger, other) = (Ledger::new(600), Ledger::new(601));
    let files = archive(&ledger);
    let unsigned = signed(&ledger.checkpoint(600), &[key(2)]);
    let changed = with_manifest(&files, 0, |manifest| manifest.checkpoint = unsigned);
    assert_found(verified(&changed, &[]), Level::Signature, "no given key has signed");
    // A signed checkpoint over other entries.
    let wrong = signed(&super::checkpoint_of(600, other.root(601)), &[key(1)]);
    let changed = with_manifest(&files, 1, |manifest| manifest.checkpoint = wrong);
    assert_found(verified(&changed, &[]), Level::Consistency, "its root does not lead to its checkpoint");
    // One that covers a part only.
    let early = signed(&ledger.checkpoint(511), &[key(1)]);
    let changed = with_manifest(&files, 1, |manifest| manifest.checkpoint = early);
    assert_found(verified(&changed, &[]), Level::Signature, "does not cover the bundle");
    let changed = with_manifest(&files, 1, |manifest| manifest.root_before = hex(&other.root(1)));
    assert_found(verified(&changed, &[]), Level::Consistency, "another root than the older checkpoint's");
    let changed = with_manifest(&files, 1, |manifest| manifest.subtrees.clear());
    assert_found(verified(&changed, &[]), Level::Archive, "the number of subtrees");
    let changed = with_manifest(&files, 1, |manifest| manifest.entry_hash = manifest.previous_hash.clone());
    assert_found(verified(&changed, &[]), Level::Root, "another root or last hash");
    for name in ["../entries-0000000000000000257.jsonl.gz", "entries-257.jsonl.gz", "tiles"] {
        let changed = with_manifest(&files, 1, |manifest| manifest.files[0].name = name.to_owned());
        assert_found(verified(&changed, &[]), Level::Archive, "its files are not entries in their order and tiles");
    }
}

/// Lines, compressed.
fn packed(lines: &[String]) -> Vec<u8> {
    gzip(&lines.iter().flat_map(|line| [line, "\n"]).collect::<String>())
}

/// The archive with other files with entries in a bundle, and the manifest that fits them.
fn with_files(files: &Files, number: usize, entries: Vec<(u64, Vec<u8>)>) -> Files {
    let described = entries.iter().map(|(first, content)| ArchivedFile::of(&entries_name(*first), content)).collect();
    let mut changed = with_manifest(files, number, |manifest| {
        let tiles = manifest.files.pop();
        manifest.files = described;
        manifest.files.extend(tiles);
    });
    for (first, content) in entries {
        changed.0.insert(path(number, &entries_name(first)), content);
    }
    changed
}

#[test]
fn the_same_files_are_accepted_as_by_epr() {
    let ledger = Ledger::new(600);
    let files = archive(&ledger);
    for case in super::archive_cases::cases(257, &ledger.lines[256..512]) {
        let entries = case.files.iter().map(|(first, text)| (*first, gzip(text))).collect();
        match (verified(&with_files(&files, 1, entries), &[]), case.is_accepted) {
            (Ok(_), true) | (Err(Stop::Found(_)), false) => {}
            (result, _) => panic!("{}: {result:?}", case.name),
        }
    }
}

#[test]
fn entries_that_are_left_out_are_found_although_the_checksums_are_right() {
    let ledger = Ledger::new(600);
    let files = archive(&ledger);
    let with_lines = |lines: &[String]| {
        let content = packed(lines);
        verified(&with_files(&files, 1, vec![(257, packed(&ledger.lines[256..356])), (357, content)]), &[])
    };
    assert!(with_lines(&ledger.lines[356..512]).is_ok());
    assert_found(with_lines(&ledger.lines[356..511]), Level::Chain, "entry 512 is in no file");
    assert_found(with_lines(&ledger.lines[356..513]), Level::Chain, "entry 513 is in archive/0000000000000000257/");
    assert_found(with_lines(&ledger.lines[357..512]), Level::Chain, "entry 357 is missing");
    assert_found(with_lines(&[]), Level::Chain, "0357.jsonl.gz has no entry");
    // Without its file, and with tiles of other entries.
    let changed = with_manifest(&files, 1, |manifest| drop(manifest.files.remove(1)));
    assert_found(verified(&changed, &[]), Level::Chain, "entry 357 is in no file");
    let tiles = vec![7; 8_192];
    let mut changed = with_manifest(&files, 1, |manifest| manifest.files[2] = ArchivedFile::of("tiles", &tiles));
    changed.0.insert(path(1, "tiles"), tiles);
    assert_found(verified(&changed, &[]), Level::Tile, "tiles differs from the entries");
}

#[test]
fn another_format_is_not_read_as_an_archive() {
    let mut files = archive(&Ledger::new(300));
    for (text, why) in [
        (r#"{"format":"epr-ledger-archive-1","origin":"a","bundle_entries":100}"#, "a multiple of 256"),
        (r#"{"format":"epr-ledger-archive-1","origin":"a","bundle_entries":131072}"#, "a multiple of 256"),
        (r#"{"format":"epr-ledger-archive-1","origin":"a","bundle_entries":0}"#, "a multiple of 256"),
        (r#"{"format":"epr-ledger-archive-2","origin":"a","bundle_entries":256}"#, "it names the format"),
        ("[]", "it is not a file of the format"),
        (
            "{\"format\":\"epr-ledger-archive-1\",\"origin\":\"a\\nAGREES\",\"bundle_entries\":256}",
            "its origin is not that",
        ),
        (
            "{\"format\":\"epr-ledger-archive-1\",\"origin\":\"\\u001b[1m\",\"bundle_entries\":256}",
            "its origin is not that",
        ),
    ] {
        files.0.insert("archive/format.json".to_owned(), text.as_bytes().to_vec());
        assert_unreadable(verified(&files, &[]), why);
    }
    files.0.remove("archive/format.json");
    assert_unreadable(verified(&files, &[]), "there is no archive");
}
