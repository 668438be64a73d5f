//! A published ledger: every tile is recomputed from the bundles, and the root from the tiles.

use std::io::Read;
use std::sync::mpsc::sync_channel;
use std::thread;

use crate::export;
use crate::finding::{Level, Stop};
use crate::known::KnownRoots;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::edge::RightEdge;
use crate::ledger::merkle::{Hash, consistency_ranges, leaf_hash, verify_consistency};
use crate::ledger::tile::{FULL_WIDTH, Tile, TileKind, node_in_tile, read_entries, read_hashes};
use crate::signatures::{self, Keys, Signed, read_note};
use crate::source::Source;

/// Hashes of an export that are handed over at a time.
const CHUNK: usize = 4096;

/// The file with the newest checkpoint.
pub const CHECKPOINT: &str = "checkpoint";

/// Reads the newest checkpoint and verifies its signatures.
///
/// # Errors
/// There is none, or a signature is missing or wrong.
pub fn newest(source: &dyn Source, keys: &Keys) -> Result<Signed, Stop> {
    let bytes = source.read(CHECKPOINT)?;
    let bytes = bytes.ok_or_else(|| Stop::Unreadable("there is no checkpoint".to_owned()))?;
    let text = String::from_utf8(bytes).map_err(|_| Stop::Unreadable("the checkpoint is not text".to_owned()))?;
    signatures::verify(&read_note(&text, CHECKPOINT)?, keys)
}

/// Verifies a whole published ledger: bundles to leaves, leaves to tiles, tiles to the root of the newest checkpoint,
/// which must also begin with the trees of `older`. `leaf` receives the data of each leaf in order, to be compared with
/// entries.
///
/// # Errors
/// The first disagreement, or a file cannot be read.
pub fn verify(
    source: &dyn Source,
    keys: &Keys,
    older: &[Checkpoint],
    mut leaf: impl FnMut(u64, &Hash) -> Result<(), Stop>,
) -> Result<Signed, Stop> {
    let signed = newest(source, keys)?;
    let size = signed.checkpoint.size;
    if let Some(larger) = older.iter().find(|older| older.size > size) {
        let known = larger.size;
        return Stop::found(
            Level::Consistency,
            format!("a checkpoint of {known} entries is known, but only {size} are published: the tail is missing"),
        );
    }
    let known = KnownRoots::of(older, Level::Consistency)?;
    let mut edge = RightEdge::new();
    for bundle in Tile::grown(0, size).take_while(|tile| tile.kind == TileKind::Entries) {
        let bytes = required(source, bundle, Level::Bundle)?;
        let entries = read_entries(&bytes, bundle.width);
        let Ok(entries) = entries else { return Stop::found(Level::Bundle, format!("{bundle} cannot be read")) };
        let mut filled = Vec::new();
        for data in entries {
            let Ok(data) = Hash::try_from(data) else {
                return Stop::found(Level::Bundle, format!("{bundle} has an entry that is not a hash of 32 bytes"));
            };
            leaf(edge.size(), &data)?;
            edge.push(leaf_hash(&data), |tile| filled.push(tile));
            known.compare(edge.size(), || edge.root())?;
        }
        for full in filled {
            let tile = Tile { kind: TileKind::Hashes { level: full.level }, index: full.index, width: FULL_WIDTH };
            compare_tile(source, tile, &full.hashes)?;
        }
    }
    for level in 0..8 {
        let kind = TileKind::Hashes { level };
        let hashes = edge.hashes(level);
        let index = size.checked_shr(u32::from(level) * 8).unwrap_or(0) / u64::from(FULL_WIDTH);
        if let Some(tile) = Tile::in_log(kind, index, size).filter(|tile| !tile.is_full()) {
            compare_tile(source, tile, hashes)?;
        }
    }
    if edge.root() != signed.checkpoint.root {
        return Stop::found(
            Level::Root,
            format!("the {size} published entries have another root than the signed checkpoint"),
        );
    }
    Ok(signed)
}

/// [`verify`] of a published ledger, whose entries must be those at the beginning of an export. The export is verified
/// at the same time, to its end.
///
/// # Errors
/// The first disagreement, or a file cannot be read.
pub fn verify_with_export(
    source: &dyn Source,
    keys: &Keys,
    older: &[Checkpoint],
    export: impl Read + Send,
) -> Result<Signed, Stop> {
    let (chunks, received) = sync_channel::<Vec<Hash>>(16);
    thread::scope(|scope| {
        let reading = scope.spawn(move || read_export(export, |chunk| chunks.send(chunk).is_ok()));
        let mut exported = received.into_iter().flatten();
        let compared = verify(source, keys, older, |index, data| same_entry(exported.next(), index, data));
        if compared.is_ok() {
            exported.by_ref().for_each(drop);
        }
        // Ends the thread, which cannot hand over any more.
        drop(exported);
        let read = reading.join().unwrap_or_else(|_| Some(Stop::Unreadable("a thread ended".to_owned())));
        // What is wrong with the export is why its hashes end.
        read.map_or(compared, Err)
    })
}

/// Verifies an export and hands over its hashes, until they are not wanted any more. Returns what is wrong with it.
fn read_export(export: impl Read, mut hand_over: impl FnMut(Vec<Hash>) -> bool) -> Option<Stop> {
    let (mut chunk, mut expected, mut is_wanted) = (Vec::new(), 0, true);
    let read = export::verify(export, &[], |index, hash| {
        if index != expected {
            return Err(Stop::Unreadable("the export does not begin with entry 1".to_owned()));
        }
        expected += 1;
        chunk.push(*hash);
        if chunk.len() == CHUNK {
            is_wanted = hand_over(std::mem::take(&mut chunk));
        }
        // The text of this error is not read.
        if is_wanted { Ok(()) } else { Err(Stop::Unreadable("not wanted".to_owned())) }
    });
    if read.is_ok() {
        hand_over(chunk);
    }
    read.err().filter(|_| is_wanted)
}

/// Compares a published leaf with the entry of an export.
fn same_entry(exported: Option<Hash>, index: u64, data: &Hash) -> Result<(), Stop> {
    let entry = index + 1;
    match exported {
        Some(hash) if hash == *data => Ok(()),
        Some(_) => Stop::found(Level::Bundle, format!("the published hash of entry {entry} differs from the export")),
        None => Stop::found(Level::Bundle, format!("entry {entry} is published, but the export ends before it")),
    }
}

fn required(source: &dyn Source, tile: Tile, level: Level) -> Result<Vec<u8>, Stop> {
    match source.read(&tile.to_string())? {
        Some(bytes) => Ok(bytes),
        None => Stop::found(level, format!("{tile} is missing")),
    }
}

fn compare_tile(source: &dyn Source, tile: Tile, expected: &[Hash]) -> Result<(), Stop> {
    let bytes = required(source, tile, Level::Tile)?;
    let Ok(hashes) = read_hashes(&bytes, tile.width) else {
        return Stop::found(Level::Tile, format!("{tile} has {} bytes", bytes.len()));
    };
    match hashes.iter().zip(expected).position(|(found, expected)| found != expected) {
        None => Ok(()),
        Some(at) => Stop::found(Level::Tile, format!("{tile} differs from the entries at its hash {at}")),
    }
}

/// Verifies that the ledger of `newer` begins with that of `older`, with hashes from the published tiles. Reads a few
/// tiles only, and trusts none of them: they must lead to both roots.
///
/// # Errors
/// The ledgers differ, or a tile cannot be read.
pub fn consistent(source: &dyn Source, older: &Checkpoint, newer: &Checkpoint) -> Result<(), Stop> {
    let Some(ranges) = consistency_ranges(older.size, newer.size) else {
        let (from, to) = (older.size, newer.size);
        return Stop::found(Level::Consistency, format!("the newer checkpoint has {to} entries, the older one {from}"));
    };
    let mut path = Vec::with_capacity(ranges.len());
    for range in ranges {
        path.push(range.root(|node| {
            let tile = Tile::holding(node, newer.size);
            let tile = tile.ok_or_else(|| Stop::Unreadable("a node is outside of the tree".to_owned()))?;
            let bytes = required(source, tile, Level::Tile)?;
            let hash = read_hashes(&bytes, tile.width).ok().and_then(|hashes| node_in_tile(&hashes, node));
            hash.map_or_else(|| Stop::found(Level::Tile, format!("{tile} cannot be read")), Ok)
        })?);
    }
    verify_consistency((older.size, &older.root), (newer.size, &newer.root), &path)
        .or_else(|error| Stop::found(Level::Consistency, error.to_string()))
}
