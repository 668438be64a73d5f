//! What a service publishes, verified by the crates `signed_note` and `tlog_tiles`, which EPR's authors did not write.

use std::path::Path;

use signed_note::{Note, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::{Checkpoint, Error, Tile, TileHashReader, TileReader};

/// A published ledger in a folder.
struct Published<'a>(&'a Path);

impl TileReader for Published<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[Tile]) -> Result<Vec<Vec<u8>>, Error> {
        // The paths of C2SP tlog-tiles do not have the height in them.
        let path = |tile: &Tile| self.0.join(tile.path().replacen("tile/8/", "tile/", 1));
        Ok(tiles.iter().map(|tile| std::fs::read(path(tile)).expect("a tile")).collect())
    }

    fn save_tiles(&self, _tiles: &[Tile], _data: &[Vec<u8>]) {}
}

/// Verifies the checkpoint in `place` against `keys`, and the inclusion of entries at the edges of tiles. Returns the
/// size of the tree.
pub(crate) fn verified_size(place: &Path, keys: &[String]) -> u64 {
    // They know Ed25519 only.
    let verifiers = keys.iter().filter_map(|key| StandardVerifier::new(key).ok());
    let verifiers: Vec<Box<dyn Verifier>> = verifiers.map(|one| Box::new(one) as Box<dyn Verifier>).collect();
    assert_eq!(verifiers.len(), 1);
    let note = Note::from_bytes(&std::fs::read(place.join("checkpoint")).unwrap()).unwrap();
    let (known, _) = note.verify(&VerifierList::new(verifiers)).unwrap();
    assert_eq!(known.len(), 1);
    let checkpoint = Checkpoint::from_bytes(note.text()).unwrap();
    let (size, root) = (checkpoint.size(), *checkpoint.hash());
    let tiles = Published(place);
    // Accepts no tile whose hashes do not lead to the root.
    let reader = TileHashReader::new(size, root, &tiles);
    assert_eq!(tlog_tiles::tree_hash(size, &reader).unwrap().0, root.0);
    for index in [0, 254, 255, 256, size / 2, size - 1].into_iter().filter(|index| *index < size) {
        let bundle = std::fs::read(place.join(bundle_path(index / 256, size))).unwrap();
        let leaf = tlog_tiles::record_hash(entry(&bundle, index % 256));
        let proof = tlog_tiles::prove_record(size, index, &reader).unwrap();
        tlog_tiles::check_record(&proof, size, root, index, leaf).unwrap();
        let other = tlog_tiles::record_hash(b"other");
        assert!(tlog_tiles::check_record(&proof, size, root, index, other).is_err(), "{index} of {size}");
    }
    size
}

fn bundle_path(number: u64, size: u64) -> String {
    assert!(number < 1000, "a path of one part");
    let width = (size - number * 256).min(256);
    let partial = if width < 256 { format!(".p/{width}") } else { String::new() };
    format!("tile/entries/{number:03}{partial}")
}

/// An entry of a bundle: each has its length before it, in two bytes.
fn entry(mut bundle: &[u8], at: u64) -> &[u8] {
    for _ in 0..at {
        let (length, rest) = bundle.split_first_chunk().unwrap();
        bundle = &rest[u16::from_be_bytes(*length).into()..];
    }
    let (length, rest) = bundle.split_first_chunk().unwrap();
    &rest[..u16::from_be_bytes(*length).into()]
}
