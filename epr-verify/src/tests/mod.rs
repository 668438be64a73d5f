//! Every disagreement is found, at its level: a ledger made here, changed in every way, and verified.

#[path = "../../../epr-core/src/ledger/archive_cases.rs"]
mod archive_cases;
mod archives;
mod exports;
mod publications;
mod signing;

use std::collections::HashMap;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

use crate::finding::{Finding, Level, Stop};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::edge::RightEdge;
use crate::ledger::merkle::{Frontier, Hash, leaf_hash};
use crate::ledger::note::{KeyType, Note, Signature, VerifierKey};
use crate::ledger::tile::{Tile, TileKind, write_entry, write_hashes};
use crate::ledger::{GENESIS_HASH, entry_hash, hex};
use crate::signatures::Keys;
use crate::source::Source;

const ORIGIN: &str = "epr.test/ledger/00000000-0000-7000-8000-000000000001";

/// The canonical text of an entry, in its shape.
fn text(sequence: usize, previous: &str, action: &str) -> String {
    let details = format!(r#"{{"n":{sequence},"text":"Zo\u00eb \"\\ \"","previous_hash":"x","sequence":1}}"#);
    let place = format!(r#""previous_hash":"{previous}","sequence":{sequence}"#);
    format!(r#"{{"action":"{action}","details":{details},{place},"source":"s,\"t"}}"#)
}

/// A ledger as an export has it.
#[derive(Clone, Default)]
struct Ledger {
    lines: Vec<String>,
    data: Vec<Hash>,
}

impl Ledger {
    fn new(size: usize) -> Self {
        (1..=size).fold(Self::default(), |ledger, _| ledger.with("thing.done"))
    }

    /// As many leaves without texts.
    fn of_leaves(size: usize) -> Self {
        Self { lines: Vec::new(), data: (0..size).map(|leaf| leaf_hash(&leaf.to_be_bytes())).collect() }
    }

    fn previous(&self) -> String {
        self.data.last().map_or_else(|| GENESIS_HASH.to_owned(), |hash| hex(hash))
    }

    fn with(self, action: &str) -> Self {
        let (sequence, previous) = (self.lines.len() + 1, self.previous());
        let text = text(sequence, &previous, action);
        self.with_text(sequence, &previous, &text)
    }

    /// Appends an entry with the hash of its text, whatever the text is.
    fn with_text(mut self, sequence: usize, previous: &str, text: &str) -> Self {
        let hash = entry_hash(previous.as_bytes(), text.as_bytes());
        self.lines.push(line(sequence, previous, &hex(&hash), text));
        self.data.push(hash);
        self
    }

    fn export(&self) -> String {
        self.lines.iter().flat_map(|line| [line, "\n"]).collect()
    }

    fn root(&self, size: usize) -> Hash {
        let mut frontier = Frontier::new();
        self.data[..size].iter().for_each(|data| frontier.push(leaf_hash(data), |_, _| {}));
        frontier.root()
    }

    fn checkpoint(&self, size: usize) -> Checkpoint {
        checkpoint_of(size, self.root(size))
    }

    /// The files that EPR publishes, with a checkpoint over all entries.
    fn published(&self) -> Files {
        let size = u64::try_from(self.data.len()).unwrap();
        let (mut edge, mut files) = (RightEdge::new(), HashMap::new());
        for data in &self.data {
            edge.push(leaf_hash(data), |full| {
                let kind = TileKind::Hashes { level: full.level };
                let tile = Tile { kind, index: full.index, width: 256 };
                files.insert(tile.to_string(), write_hashes(&full.hashes));
            });
        }
        for tile in Tile::grown(0, size) {
            let bytes = match tile.kind {
                TileKind::Hashes { .. } if tile.is_full() => continue,
                TileKind::Hashes { level } => write_hashes(edge.hashes(level)),
                TileKind::Entries => {
                    let first = usize::try_from(tile.index).unwrap() * 256;
                    let mut bundle = Vec::new();
                    for data in &self.data[first..first + usize::from(tile.width)] {
                        write_entry(&mut bundle, data).unwrap();
                    }
                    bundle
                }
            };
            files.insert(tile.to_string(), bytes);
        }
        files.insert("checkpoint".to_owned(), signed(&self.checkpoint(self.data.len()), &[key(1)]).into_bytes());
        Files(files)
    }
}

fn checkpoint_of(size: usize, root: Hash) -> Checkpoint {
    Checkpoint::new(ORIGIN, u64::try_from(size).unwrap(), root).unwrap()
}

/// A line as `epr audit export` writes it.
fn line(sequence: usize, previous: &str, hash: &str, text: &str) -> String {
    let text = serde_json::to_string(text).unwrap();
    format!(r#"{{"sequence":{sequence},"previous_hash":"{previous}","entry_hash":"{hash}","canonical":{text}}}"#)
}

/// Published files in memory.
#[derive(Clone)]
struct Files(HashMap<String, Vec<u8>>);

impl Source for Files {
    fn read_at_most(&self, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Stop> {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        Ok(self.0.get(path).map(|content| content[..content.len().min(limit)].to_vec()))
    }
}

/// A key that signs.
struct Signer {
    pair: Ed25519KeyPair,
    key: VerifierKey,
}

/// A key of the ledger.
fn key(seed: u8) -> Signer {
    named_key(ORIGIN, seed, KeyType::Ed25519)
}

fn named_key(name: &str, seed: u8, kind: KeyType) -> Signer {
    let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
    let key = VerifierKey::new(name, kind, pair.public_key().as_ref()).unwrap();
    Signer { pair, key }
}

impl Signer {
    fn sign(&self, checkpoint: &Checkpoint) -> Signature {
        let time = 1_700_000_000_u64;
        let signature = self.pair.sign(&checkpoint.message(&self.key, time));
        let bytes = match self.key.kind() {
            KeyType::Cosignature => [&time.to_be_bytes(), signature.as_ref()].concat(),
            _ => signature.as_ref().to_vec(),
        };
        Signature::by(&self.key, bytes)
    }
}

/// The note with the signatures of these keys.
fn signed(checkpoint: &Checkpoint, signers: &[Signer]) -> String {
    let signatures = signers.iter().map(|signer| signer.sign(checkpoint)).collect();
    Note { text: checkpoint.to_string(), signatures }.to_string()
}

fn keys(ledger: &[Signer], witnesses: &[Signer], quorum: usize) -> Keys {
    let of = |signers: &[Signer]| signers.iter().map(|signer| signer.key.clone()).collect();
    Keys { ledger: of(ledger), witnesses: of(witnesses), quorum }
}

/// The level and the sentence of what was found.
#[track_caller]
fn found<T: std::fmt::Debug>(result: Result<T, Stop>) -> (Level, String) {
    match result {
        Err(Stop::Found(Finding { level, sentence })) => (level, sentence),
        other => panic!("nothing was found: {other:?}"),
    }
}

#[track_caller]
fn assert_found<T: std::fmt::Debug>(result: Result<T, Stop>, level: Level, part: &str) {
    let (found, sentence) = found(result);
    assert!(found == level && sentence.contains(part), "{found} instead of {level}: {sentence}");
}

#[track_caller]
fn assert_unreadable<T: std::fmt::Debug>(result: Result<T, Stop>, part: &str) {
    match result {
        Err(Stop::Unreadable(why)) => assert!(why.contains(part), "{why}"),
        other => panic!("it was read: {other:?}"),
    }
}
