//! The tree, tiles, notes, checkpoints and proof files against the published vectors, against other implementations of
//! the same formats, and as properties over every size near a power of two or of 256.

use std::collections::HashMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::checkpoint::Checkpoint;
use super::merkle::{
    Frontier, Hash, Node, ProofError, consistency_ranges, empty_root, inclusion_ranges, leaf_hash, verify_consistency,
    verify_inclusion,
};
use super::note::{KeyError, KeyType, MAX_NOTE_BYTES, Note, NoteError, Signature, VerifierKey};
use super::proof::{InclusionProof, ProofFileError};
use super::tile::{FULL_WIDTH, Tile, TileKind, node_in_tile, read_entries, read_hashes, write_entry, write_hashes};

macro_rules! vector {
    ($path:literal) => {
        include_bytes!(concat!("../../../tests/vectors/tlog/", $path)).as_slice()
    };
}

fn vector_text(bytes: &'static [u8]) -> &'static str {
    std::str::from_utf8(bytes).unwrap()
}

fn hex(hash: &Hash) -> String {
    use std::fmt::Write as _;
    hash.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A log in memory: every complete node, and the frontier at its size.
#[derive(Default)]
struct Log {
    nodes: HashMap<Node, Hash>,
    data: Vec<Vec<u8>>,
    frontier: Frontier,
}

impl Log {
    /// The entries of the vectors: a chain over a small canonical text.
    fn of_vectors(size: usize) -> Self {
        let mut previous = "0".repeat(64);
        let mut log = Self::default();
        for sequence in 1..=size {
            let text = format!(r#"{{"action":"entity.create","previous_hash":"{previous}","sequence":{sequence}}}"#);
            let hash: Hash = Sha256::digest(format!("{previous}{text}")).into();
            previous = hex(&hash);
            log.push(&hash);
        }
        log
    }

    fn numbered(size: u64) -> Self {
        let mut log = Self::default();
        (0..size).for_each(|n| log.push(&n.to_be_bytes()));
        log
    }

    fn push(&mut self, data: &[u8]) {
        let nodes = &mut self.nodes;
        self.frontier.push(leaf_hash(data), |node, hash| assert!(nodes.insert(node, hash).is_none()));
        self.data.push(data.to_vec());
    }

    fn root_at(&self, size: u64) -> Hash {
        let whole = super::merkle::Range { begin: 0, end: size };
        whole.root(|node| self.nodes.get(&node).copied().ok_or(node)).unwrap()
    }

    fn path(&self, ranges: Vec<super::merkle::Range>) -> Vec<Hash> {
        ranges.into_iter().map(|range| range.root(|node| self.nodes.get(&node).copied().ok_or(node)).unwrap()).collect()
    }

    fn tile(&self, tile: Tile) -> Vec<u8> {
        let indexes = (0..u64::from(tile.width)).map(|n| tile.index * u64::from(FULL_WIDTH) + n);
        match tile.kind {
            TileKind::Hashes { level } => {
                write_hashes(&indexes.map(|index| self.nodes[&Node { level: level * 8, index }]).collect::<Vec<_>>())
            }
            TileKind::Entries => indexes.fold(Vec::new(), |mut bundle, index| {
                write_entry(&mut bundle, &self.data[usize::try_from(index).unwrap()]).unwrap();
                bundle
            }),
        }
    }
}

fn key() -> (Ed25519KeyPair, VerifierKey) {
    let seed = Sha256::digest("epr test vector log key");
    let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
    let origin = "epr.example/ledger/00000000-0000-7000-8000-000000000001";
    let key = VerifierKey::new(origin, KeyType::Ed25519, pair.public_key().as_ref()).unwrap();
    (pair, key)
}

fn sign(checkpoint: &Checkpoint, pair: &Ed25519KeyPair, key: &VerifierKey) -> Note {
    let signature = pair.sign(&checkpoint.message(key, 0));
    Note { text: checkpoint.to_string(), signatures: vec![Signature::by(key, signature.as_ref().to_vec())] }
}

#[test]
fn the_vectors_come_out_byte_for_byte() {
    let (pair, key) = key();
    assert_eq!(key.to_string(), vector_text(vector!("vkey")).trim_end());
    let log = Log::of_vectors(600);
    for (size, note) in [(300, vector!("old-checkpoint")), (600, vector!("log/checkpoint"))] {
        let checkpoint = Checkpoint::new(key.name(), size, log.root_at(size)).unwrap();
        assert_eq!(sign(&checkpoint, &pair, &key).to_string(), vector_text(note));
        assert_eq!(Checkpoint::verified(&vector_text(note).parse().unwrap(), &key), Ok((checkpoint, None)));
    }
    let tiles = [
        ("tile/0/000", vector!("log/tile/0/000")),
        ("tile/0/001", vector!("log/tile/0/001")),
        ("tile/0/002.p/88", vector!("log/tile/0/002.p/88")),
        ("tile/1/000.p/2", vector!("log/tile/1/000.p/2")),
        ("tile/entries/000", vector!("log/tile/entries/000")),
        ("tile/entries/001", vector!("log/tile/entries/001")),
        ("tile/entries/002.p/88", vector!("log/tile/entries/002.p/88")),
    ];
    for (path, bytes) in tiles {
        assert_eq!(log.tile(path.parse().unwrap()), bytes, "{path}");
    }
    let mut grown: Vec<_> = Tile::grown(0, 600).map(|tile| tile.to_string()).collect();
    grown.sort();
    assert_eq!(grown, tiles.map(|(path, _)| path));
    let proof = vector_text(vector!("proof-123.tlog-proof"));
    let made = InclusionProof {
        extra: None,
        index: 123,
        path: log.path(inclusion_ranges(123, 600).unwrap()),
        checkpoint: vector_text(vector!("log/checkpoint")).parse().unwrap(),
    };
    assert_eq!(made.to_string(), proof);
    assert_eq!(proof.parse(), Ok(made.clone()));
    assert_eq!(made.verify(&log.data[123], &key).map(|checkpoint| checkpoint.size), Ok(600));
}

#[test]
fn the_consistency_path_is_that_of_the_witness_request() {
    let log = Log::of_vectors(600);
    let path = log.path(consistency_ranges(300, 600).unwrap());
    let lines: Vec<_> = vector_text(vector!("add-next")).lines().skip(1).take_while(|line| !line.is_empty()).collect();
    let written: Vec<_> = path.iter().map(|hash| STANDARD.encode(hash)).collect();
    assert_eq!(written, lines);
}

#[test]
fn a_hybrid_checkpoint_is_verified_by_both_keys_whatever_their_order() {
    let (_, ed25519) = key();
    let ml_dsa: VerifierKey = vector_text(vector!("mldsa.vkey")).parse().unwrap();
    assert_eq!(ml_dsa.kind(), KeyType::MlDsa44);
    let mut note: Note = vector_text(vector!("checkpoint-hybrid")).parse().unwrap();
    for _ in 0..2 {
        for key in [&ed25519, &ml_dsa] {
            let (checkpoint, time) = Checkpoint::verified(&note, key).unwrap();
            assert_eq!((checkpoint.size, time.is_some()), (70_000, key.kind() == KeyType::MlDsa44));
        }
        note.signatures.reverse();
    }
    let extended = Note { text: format!("{}extension\n", note.text), ..note.clone() };
    for key in [&ed25519, &ml_dsa] {
        assert!(matches!(Checkpoint::verified(&extended, key), Err(NoteError::Form(_))), "{key}");
    }
    assert_eq!(Log::of_vectors(70_000).frontier.root(), note.text.parse::<Checkpoint>().unwrap().root);
    for signature in &mut note.signatures {
        *signature.bytes.last_mut().unwrap() ^= 1;
    }
    for key in [&ed25519, &ml_dsa] {
        assert_eq!(Checkpoint::verified(&note, key), Err(NoteError::WrongSignature(key.name().to_owned())));
    }
    note.signatures.clear();
    assert_eq!(Checkpoint::verified(&note, &ml_dsa), Err(NoteError::Unsigned(ml_dsa.name().to_owned())));
}

/// Sizes at which tiles and subtrees begin and end.
fn edge_sizes() -> impl Iterator<Item = u64> {
    let powers = (0..=12).map(|power| 1_u64 << power);
    let tiles = (1..=4).map(|tiles| tiles * 256);
    powers.chain(tiles).flat_map(|size| [size - 1, size, size + 1]).chain([65_535, 65_536, 65_537])
}

#[test]
fn paths_prove_what_they_should_at_every_edge() {
    let log = Log::numbered(65_537);
    for size in edge_sizes() {
        let root = log.root_at(size);
        for index in [0, 1, size / 2, size.saturating_sub(2), size.saturating_sub(1)] {
            let Some(ranges) = inclusion_ranges(index, size) else {
                assert!(index >= size);
                continue;
            };
            let (path, leaf) = (log.path(ranges), leaf_hash(&index.to_be_bytes()));
            assert_eq!(verify_inclusion(leaf, index, size, &path, &root), Ok(()), "{index} in {size}");
            assert!(verify_inclusion(leaf_hash(b"other"), index, size, &path, &root).is_err());
        }
        for from in edge_sizes().filter(|from| *from <= size) {
            let path = log.path(consistency_ranges(from, size).unwrap());
            assert!(path.len() <= 63);
            let longer = [&path[..], &[root]].concat();
            let refused = verify_consistency((from, &log.root_at(from)), (size, &root), &longer);
            assert!(matches!(refused, Err(ProofError::Length { .. })), "{from} to {size}");
            let older = log.root_at(from);
            assert_eq!(verify_consistency((from, &older), (size, &root), &path), Ok(()), "{from} to {size}");
            let other = leaf_hash(b"other");
            assert!(verify_consistency((from, &other), (size, &root), &path).is_err(), "{from} to {size}");
            if from > 0 {
                assert!(verify_consistency((from, &older), (size, &other), &path).is_err(), "{from} to {size}");
            }
        }
    }
}

#[test]
fn tiles_of_every_size_hold_the_nodes_that_paths_need() {
    let log = Log::numbered(65_537);
    for size in edge_sizes() {
        for tile in Tile::grown(0, size) {
            assert!((1..=FULL_WIDTH).contains(&tile.width) && tile.is_in_log(size), "{tile} at {size}");
            assert_eq!(tile.to_string().parse(), Ok(tile));
        }
        for range in inclusion_ranges(size / 3, size).into_iter().flatten() {
            for node in range.nodes() {
                let tile = Tile::holding(node, size).unwrap();
                let hashes = read_hashes(&log.tile(tile), tile.width).unwrap();
                assert_eq!(node_in_tile(&hashes, node), Some(log.nodes[&node]), "{node:?} in {tile}");
            }
        }
    }
    assert_eq!(Tile::grown(0, 0).count(), 0);
    let tile = |path: &str| path.parse::<Tile>().unwrap();
    assert!(tile("tile/0/000.p/255").is_in_log(255) && !tile("tile/0/000").is_in_log(255));
    assert!(tile("tile/1/000.p/1").is_in_log(256) && !tile("tile/1/000.p/2").is_in_log(511));
    assert_eq!(Tile::in_log(TileKind::Entries, 1 << 56, 1000), None, "256 times the index is no 64-bit number");
    // A bundle and a tile of hashes more for each full one; the partial one again at its new width.
    let grown: Vec<_> = Tile::grown(255, 257).map(|tile| tile.to_string()).collect();
    let expected = ["tile/entries/000", "tile/entries/001.p/1", "tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"];
    assert_eq!(grown, expected);
}

#[test]
fn one_tile_has_one_path() {
    for (path, index, width) in [
        ("tile/0/000", 0, 256),
        ("tile/7/999.p/1", 999, 1),
        ("tile/entries/x001/000", 1000, 256),
        ("tile/3/x001/x234/067.p/255", 1_234_067, 255),
    ] {
        let tile: Tile = path.parse().unwrap();
        assert_eq!((tile.index, tile.width, tile.to_string().as_str()), (index, width, path));
    }
    for path in [
        "",
        "tile",
        "tile/0",
        "tile/8/000",
        "tile/-1/000",
        "tile/00/000",
        "tile/0/0",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/001/002",
        "tile/0/x001",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/+01",
        "tile/0/000/",
        "/tile/0/000",
        "tile/entries/../0",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ] {
        assert!(path.parse::<Tile>().is_err(), "{path}");
    }
}

#[test]
fn a_tile_shorter_or_longer_than_its_width_is_refused() {
    let log = Log::numbered(300);
    for path in ["tile/0/000", "tile/0/001.p/44", "tile/entries/001.p/44"] {
        let tile: Tile = path.parse().unwrap();
        let bytes = log.tile(tile);
        let fits = |bytes: &[u8]| match tile.kind {
            TileKind::Hashes { .. } => read_hashes(bytes, tile.width).is_ok(),
            TileKind::Entries => read_entries(bytes, tile.width).is_ok(),
        };
        assert!(fits(&bytes));
        assert!(!fits(&bytes[..bytes.len() - 1]) && !fits(&[&bytes[..], &[0]].concat()) && !fits(&[]));
    }
    assert_eq!(write_entry(&mut Vec::new(), &vec![0; 65_536]), None);
}

#[test]
fn notes_that_are_not_quite_notes_are_refused() {
    let good = vector_text(vector!("log/checkpoint"));
    assert!(good.parse::<Note>().is_ok());
    let bad = [
        String::new(),
        "\n\n".to_owned(),
        good.trim_end().to_owned(),
        good.replace("\n\n", "\n"),
        good.replace('—', "-"),
        good.replace('\n', "\r\n"),
        format!("{good}x\n"),
        format!("{good}\n"),
        good.replace("600", "600\0"),
    ];
    for note in bad {
        assert!(matches!(note.parse::<Note>(), Err(NoteError::Form(_))), "{note:?}");
    }
    let (_, key) = key();
    for changed in [good.replace("\n600\n", "\n601\n"), good.replacen("epr.example", "epr.examplf", 1)] {
        assert!(Checkpoint::verified(&changed.parse().unwrap(), &key).is_err());
    }
    let vkey = key.to_string();
    for (text, error) in [
        ("x".to_owned(), KeyError::Form),
        (vkey.replace("+2f89acd9+", "+2f89acd8+"), KeyError::Id),
        (vkey.replace("+2f89acd9+", "+02f89acd9+"), KeyError::Id),
        (vkey.replace("epr.example", "other.example"), KeyError::Id),
        (vkey.replace("+AUj", "+AUk"), KeyError::Id),
        ("a b+00000000+AQ==".to_owned(), KeyError::Name),
        ("a+00000000+AQ==".to_owned(), KeyError::Size),
        ("a+00000000+AgA=".to_owned(), KeyError::Type(2)),
    ] {
        assert_eq!(text.parse::<VerifierKey>(), Err(error), "{text}");
    }
}

#[test]
fn a_note_has_bounds_and_signatures_with_a_name_and_bytes() {
    let line = |name: &str, signature: &[u8]| format!("— {name} {}\n", STANDARD.encode(signature));
    let note = |lines: &str| format!("text\n\n{lines}").parse::<Note>();
    assert_eq!(note(&line("a", b"idid.")).unwrap().signatures.len(), 1);
    for (name, signature) in [("a+b", &b"idid."[..]), ("", b"idid."), ("a", b"idid"), ("a", b"idi"), ("a", b"")] {
        assert!(matches!(note(&line(name, signature)), Err(NoteError::Form(_))), "{name} {signature:?}");
    }
    assert_eq!(note(&line("a", b"idid.").repeat(100)).unwrap().signatures.len(), 100);
    assert!(note(&line("a", b"idid.").repeat(101)).is_err());
    let long = format!("{}\n\n{}", "x".repeat(MAX_NOTE_BYTES), line("a", b"idid."));
    assert!(long.parse::<Note>().is_err());
}

#[test]
fn a_checkpoint_has_one_text() {
    let root = STANDARD.encode([7; 32]);
    let read = |origin: &str, size: &str, end: &str| format!("{origin}\n{size}\n{root}{end}").parse::<Checkpoint>();
    let longest = "o".repeat(255);
    for (origin, size) in [("o", "1"), ("o", "0"), (&longest, "1")] {
        assert_eq!(read(origin, size, "\n").unwrap().root, [7; 32], "{origin} {size}");
    }
    for origin in ["", "o p", "o+p", "o\u{a0}p", "o\u{7f}", &format!("{longest}o")] {
        assert!(read(origin, "1", "\n").is_err(), "{origin:?}");
    }
    for size in ["", "01", "+1", "-1", " 1", "1.0", "18446744073709551616"] {
        assert!(read("o", size, "\n").is_err(), "{size:?}");
    }
    for end in ["", "\n\n", "\nextension\n", "\n\nextension\n", "\nextension", "A\n", "=\n"] {
        assert!(read("o", "1", end).is_err(), "{end:?}");
    }
    assert!("o\n1\nAA==\n".parse::<Checkpoint>().is_err() && "o\n1\n".parse::<Checkpoint>().is_err());
}

#[test]
fn a_proof_file_carries_its_entry_and_is_bound_to_its_index() {
    let (_, key) = key();
    let log = Log::of_vectors(600);
    let file: InclusionProof = vector_text(vector!("proof-123.tlog-proof")).parse().unwrap();
    let with_extra = InclusionProof { extra: Some(b"{\"text\":1}".to_vec()), ..file.clone() };
    assert_eq!(with_extra.to_string().parse(), Ok(with_extra));
    assert_eq!(file.verify(&log.data[124], &key), Err(ProofFileError::Path(ProofError::Root)));
    let moved = InclusionProof { index: 124, ..file.clone() };
    assert_eq!(moved.verify(&log.data[123], &key), Err(ProofFileError::Path(ProofError::Root)));
    let outside = InclusionProof { index: 600, ..file.clone() };
    let error = ProofError::Outside { position: 600, size: 600 };
    assert_eq!(outside.verify(&log.data[123], &key), Err(ProofFileError::Path(error)));
    let hashes = |count: usize| format!("c2sp.org/tlog-proof@v1\nindex 1{}\n\n{}", hash_lines(count), file.checkpoint);
    assert_eq!(hashes(63).parse::<InclusionProof>().unwrap().path.len(), 63);
    assert!(hashes(64).parse::<InclusionProof>().is_err());
    let mut short = file.clone();
    short.path.pop();
    assert!(short.verify(&log.data[123], &key).is_err());
    for text in ["", "c2sp.org/tlog-proof@v1\nindex 01\n\n", "c2sp.org/tlog-proof@v2\nindex 1\n\n"] {
        assert!(matches!(text.parse::<InclusionProof>(), Err(ProofFileError::Form(_))), "{text:?}");
    }
}

fn hash_lines(count: usize) -> String {
    format!("\n{}", STANDARD.encode([7; 32])).repeat(count)
}

/// The nodes of a log under the indexes by which the other implementation stores them.
struct Stored<'a>(&'a Log);

impl tlog_tiles::HashReader for Stored<'_> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let node = |index: &u64| {
            let (level, index) = tlog_tiles::split_stored_hash_index(*index);
            tlog_tiles::Hash(self.0.nodes[&Node { level, index }])
        };
        Ok(indexes.iter().map(node).collect())
    }
}

fn hashes(theirs: Vec<tlog_tiles::Hash>) -> Vec<Hash> {
    theirs.into_iter().map(|hash| hash.0).collect()
}

proptest! {
    #[test]
    fn another_implementation_computes_the_same(size in 1_u64..1200, a in any::<u64>(), b in any::<u64>()) {
        let log = Log::numbered(size);
        let stored = Stored(&log);
        prop_assert_eq!(tlog_tiles::tree_hash(size, &stored).unwrap().0, log.frontier.root());
        let index = a % size;
        let path = log.path(inclusion_ranges(index, size).unwrap());
        prop_assert_eq!(hashes(tlog_tiles::prove_record(size, index, &stored).unwrap()), path);
        let from = b % size + 1;
        let path = log.path(consistency_ranges(from, size).unwrap());
        prop_assert_eq!(hashes(tlog_tiles::prove_tree(size, from, &stored).unwrap()), path);
    }

    #[test]
    fn another_implementation_has_the_same_tiles(from in 0_u64..200_000, more in 0_u64..200_000) {
        let mut ours: Vec<_> = Tile::grown(from, from + more)
            .filter(|tile| tile.kind != TileKind::Entries)
            .map(|tile| tile.to_string())
            .collect();
        let mut theirs: Vec<_> = tlog_tiles::Tile::new_tiles(8, from, from + more)
            .iter()
            .map(|tile| tile.path().replacen("tile/8/", "tile/", 1))
            .collect();
        ours.sort();
        theirs.sort();
        prop_assert_eq!(ours, theirs);
    }

    #[test]
    fn a_changed_path_proves_nothing(size in 2_u64..600, index in any::<u64>(), at in any::<u64>(), bit in 0_u8..8) {
        let log = Log::numbered(size);
        let index = index % size;
        let mut path = log.path(inclusion_ranges(index, size).unwrap());
        let at = usize::try_from(at).unwrap() % path.len();
        path[at][7] ^= 1 << bit;
        let proven = verify_inclusion(leaf_hash(&index.to_be_bytes()), index, size, &path, &log.frontier.root());
        prop_assert_eq!(proven, Err(ProofError::Root));
    }

    #[test]
    fn a_stored_frontier_goes_on_as_if_never_stored(size in 0_u64..3000, more in 0_u64..600) {
        let mut whole = Log::numbered(size).frontier;
        let mut stored = Frontier::from_parts(size, whole.roots().to_vec()).unwrap();
        for n in size..size + more {
            whole.push(leaf_hash(&n.to_be_bytes()), |_, _| ());
            stored.push(leaf_hash(&n.to_be_bytes()), |_, _| ());
        }
        prop_assert_eq!(whole.root(), stored.root());
        prop_assert!(Frontier::from_parts(size, vec![empty_root(); 64]).is_none());
    }
}

#[test]
fn another_implementation_has_the_same_leaves() {
    for data in [&b""[..], b"x", &[7; 31], &[7; 32], &[7; 33], &[7; 300]] {
        assert_eq!(tlog_tiles::record_hash(data).0, leaf_hash(data), "{}", data.len());
    }
}

#[test]
fn another_implementation_reads_our_notes() {
    use signed_note::{Note as TheirNote, StandardVerifier, VerifierList};
    let (pair, key) = key();
    let checkpoint = Checkpoint::new(key.name(), 7, Log::numbered(7).frontier.root()).unwrap();
    let note = sign(&checkpoint, &pair, &key).to_string();
    let verifier = StandardVerifier::new(&key.to_string()).unwrap();
    let theirs = TheirNote::from_bytes(note.as_bytes()).unwrap();
    let (known, unknown) = theirs.verify(&VerifierList::new(vec![Box::new(verifier)])).unwrap();
    assert_eq!((known.len(), unknown.len()), (1, 0));
}
