//! Published ledgers: every file changed, cut, padded and missing; other ledgers in its place; and exports beside them.

use super::{Files, Ledger, assert_found, assert_unreadable, checkpoint_of, found, key, keys, signed};
use crate::finding::{Level, Stop};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::leaf_hash;
use crate::ledger::tile::{Tile, TileKind, write_entry};
use crate::published::{consistent, verify, verify_with_export};
use crate::signatures::Signed;
use crate::source::{Folder, Source as _};

fn verified(files: &Files, older: &[Checkpoint]) -> Result<Signed, Stop> {
    verify(files, &keys(&[key(1)], &[], 0), older, |_, _| Ok(()))
}

#[test]
fn a_published_ledger_agrees_at_every_edge() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 600, 65_536, 65_537] {
        let ledger = Ledger::of_leaves(size);
        let files = ledger.published();
        let older = [1, 256, 300].into_iter().filter(|older| *older <= size);
        let older: Vec<_> = older.map(|size| ledger.checkpoint(size)).collect();
        let mut leaves = Vec::new();
        let take = |index: u64, data: &_| {
            leaves.push((index, *data));
            Ok(())
        };
        let expected = Signed { checkpoint: ledger.checkpoint(size), signatures: 1, cosignatures: 0 };
        assert_eq!(verify(&files, &keys(&[key(1)], &[], 0), &older, take).unwrap(), expected, "{size}");
        assert_eq!(leaves, (0..).zip(ledger.data).collect::<Vec<_>>(), "{size}");
    }
}

#[test]
fn a_file_that_is_changed_cut_padded_or_missing_is_found() {
    for size in [1, 257, 600] {
        let files = Ledger::of_leaves(size).published();
        for (path, bytes) in files.0.iter().filter(|(path, _)| path.as_str() != "checkpoint") {
            let is_bundle = path.contains("entries");
            let with = |bytes: Option<Vec<u8>>| {
                let mut files = files.clone();
                match bytes {
                    Some(bytes) => files.0.insert(path.clone(), bytes),
                    None => files.0.remove(path),
                };
                verified(&files, &[])
            };
            let own = if is_bundle { Level::Bundle } else { Level::Tile };
            assert_found(with(None), own, &format!("{path} is missing"));
            let (cut, padded) = (bytes[..bytes.len() - 1].to_vec(), [&bytes[..], &[0]].concat());
            for bytes in [cut, padded, bytes.repeat(2), Vec::new()] {
                let sentence = if is_bundle { format!("{path} ") } else { format!("{path} has {} bytes", bytes.len()) };
                assert_found(with(Some(bytes)), own, &sentence);
            }
            for at in [2, bytes.len() / 2 + 2, bytes.len() - 1] {
                let mut changed = bytes.clone();
                changed[at] ^= 0x10;
                let (level, sentence) = found(with(Some(changed)));
                // Changed leaf data lead to other tiles.
                let is_named = is_bundle || sentence.contains(path);
                assert!(level == Level::Tile && is_named, "{path} at {at}: {level} {sentence}");
            }
        }
    }
}

#[test]
fn an_entry_of_a_bundle_that_is_no_hash_is_found() {
    let ledger = Ledger::new(3);
    for length in [0, 31, 33] {
        let mut files = ledger.published();
        let mut bundle = Vec::new();
        for data in [&ledger.data[0][..], &vec![7; length], &ledger.data[2]] {
            write_entry(&mut bundle, data).unwrap();
        }
        files.0.insert("tile/entries/000.p/3".to_owned(), bundle);
        assert_found(verified(&files, &[]), Level::Bundle, "has an entry that is not a hash of 32 bytes");
    }
}

/// Puts another checkpoint, which the ledger's key has signed, in the place of the newest one.
fn with_checkpoint(files: &Files, checkpoint: &Checkpoint) -> Files {
    let mut files = files.clone();
    files.0.insert("checkpoint".to_owned(), signed(checkpoint, &[key(1)]).into_bytes());
    files
}

#[test]
fn another_root_or_size_than_the_signed_one_is_found() {
    for size in [1, 256, 600] {
        let ledger = Ledger::of_leaves(size);
        let files = ledger.published();
        let checkpoint = ledger.checkpoint(size);
        for at in [0, 31] {
            let mut other = checkpoint.clone();
            other.root[at] ^= 1;
            let sentence = format!("the {size} published entries have another root than the signed checkpoint");
            assert_found(verified(&with_checkpoint(&files, &other), &[]), Level::Root, &sentence);
        }
        // The tiles of another size: not even the first bundle is there, or the root is another one.
        let longer = checkpoint_of(size + 1, checkpoint.root);
        assert_found(verified(&with_checkpoint(&files, &longer), &[]), Level::Bundle, "is missing");
    }
    // Fewer entries under the root of all of them: every file of the smaller size is there.
    let (ledger, smaller) = (Ledger::of_leaves(512), Ledger::of_leaves(256));
    let mut files = ledger.published();
    files.0.extend(smaller.published().0);
    let cut = checkpoint_of(256, ledger.root(512));
    assert_found(verified(&with_checkpoint(&files, &cut), &[]), Level::Root, "the 256 published entries");
}

#[test]
fn a_ledger_that_does_not_continue_what_was_kept_is_found() {
    let (ledger, other) = (Ledger::new(600), (0..600).fold(Ledger::default(), |ledger, _| ledger.with("thing.forged")));
    let files = ledger.published();
    for size in [1, 256, 300, 600] {
        let sentence = format!("the first {size} entries have another root than the known checkpoint over them");
        assert_found(verified(&files, &[other.checkpoint(size)]), Level::Consistency, &sentence);
        assert!(verified(&files, &[ledger.checkpoint(size)]).is_ok());
    }
    let sentence = "a checkpoint of 601 entries is known, but only 600 are published: the tail is missing";
    let larger = Ledger::new(601).checkpoint(601);
    assert_found(verified(&files, &[ledger.checkpoint(600), larger]), Level::Consistency, sentence);
    let mut empty = files.clone();
    empty.0.remove("checkpoint");
    assert_unreadable(verified(&empty, &[]), "there is no checkpoint");
    empty.0.insert("checkpoint".to_owned(), vec![0xff]);
    assert_unreadable(verified(&empty, &[]), "not text");
}

#[test]
fn an_export_with_other_entries_than_the_published_ones_is_found() {
    let (ledger, keys) = (Ledger::new(600), keys(&[key(1)], &[], 0));
    let files = ledger.published();
    let verify = |export: &str| verify_with_export(&files, &keys, &[], export.as_bytes());
    assert!(verify(&ledger.export()).is_ok());
    assert!(verify(&Ledger::new(9_000).export()).is_ok(), "the ledger has grown since");
    let forged = |from: usize| (from..600).fold(Ledger::new(from), |ledger, _| ledger.with("thing.forged")).export();
    for from in [0, 17, 599] {
        let sentence = format!("the published hash of entry {} differs from the export", from + 1);
        assert_found(verify(&forged(from)), Level::Bundle, &sentence);
    }
    for size in [0, 17] {
        let sentence = format!("entry {} is published, but the export ends before it", size + 1);
        assert_found(verify(&Ledger::new(size).export()), Level::Bundle, &sentence);
    }
    // What is wrong with the export itself is reported, also behind the published entries.
    let damaged = Ledger::new(9_000).export().replace("\\\"n\\\":8999", "\\\"n\\\":8998");
    assert_found(verify(&damaged), Level::Entry, "the text of entry 8999 has the hash");
    let part: String = ledger.lines[1..].join("\n");
    assert_unreadable(verify(&part), "does not begin with entry 1");
    // A disagreement of the tiles ends the reading of a long export.
    let mut missing = files.clone();
    missing.0.remove("tile/0/000");
    let found = verify_with_export(&missing, &keys, &[], Ledger::new(9_000).export().as_bytes());
    assert_found(found, Level::Tile, "tile/0/000 is missing");
}

#[test]
fn consistency_is_proven_by_the_published_tiles_alone() {
    let ledger = Ledger::new(600);
    let files = ledger.published();
    let newer = ledger.checkpoint(600);
    for size in [1, 2, 255, 256, 257, 300, 512, 599, 600] {
        let older = ledger.checkpoint(size);
        consistent(&files, &older, &newer).unwrap();
        let other = checkpoint_of(size, leaf_hash(b"other"));
        assert_found(consistent(&files, &other, &newer), Level::Consistency, "leads to another root");
        if size < 600 {
            let other = checkpoint_of(600, leaf_hash(b"other"));
            assert_found(consistent(&files, &older, &other), Level::Consistency, "another root than the checkpoint's");
            let sentence = format!("the newer checkpoint has {size} entries, the older one 600");
            assert_found(consistent(&files, &newer, &older), Level::Consistency, &sentence);
        }
    }
    // The tree without entries is the beginning of each.
    let empty = ledger.checkpoint(0);
    consistent(&files, &empty, &newer).unwrap();
    let nothing = checkpoint_of(0, leaf_hash(b"other"));
    assert_found(consistent(&files, &nothing, &newer), Level::Consistency, "another root than the older");

    let tile = Tile { kind: TileKind::Hashes { level: 0 }, index: 2, width: 88 }.to_string();
    let mut changed = files.clone();
    changed.0.get_mut(&tile).unwrap()[32 * 70] ^= 1;
    assert_found(consistent(&changed, &ledger.checkpoint(599), &newer), Level::Consistency, "root");
    changed.0.get_mut(&tile).unwrap().pop();
    assert_found(consistent(&changed, &ledger.checkpoint(599), &newer), Level::Tile, "cannot be read");
    changed.0.remove(&tile);
    assert_found(consistent(&changed, &ledger.checkpoint(599), &newer), Level::Tile, "is missing");
}

#[test]
fn a_folder_has_files_or_not_and_says_when_it_cannot_know() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("checkpoint"), "text").unwrap();
    let source = Folder(folder.path().to_owned());
    assert_eq!(source.read("checkpoint").unwrap(), Some(b"text".to_vec()));
    assert_eq!(source.read("tile/0/000").unwrap(), None);
    assert_unreadable(source.read(""), "cannot be read");
}
