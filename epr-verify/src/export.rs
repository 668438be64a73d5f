//! Exports (`epr audit export`): a line for each entry, whose text, chain and tree are recomputed.
//!
//! The lines are hashed by several threads, in blocks; the chain and the tree are followed in their order. Memory is a
//! few blocks, whatever the size of the file is.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use serde::Deserialize;

use crate::finding::{Finding, Level, Stop};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::edge::RightEdge;
use crate::ledger::merkle::{Hash, leaf_hash};
use crate::ledger::{GENESIS_HASH, entry_hash, from_hex, hex};

/// The bytes of a block, which is cut after its last whole line.
const BLOCK_BYTES: usize = 1 << 20;
/// The longest line: the text of an entry is at most a few MiB.
const MAX_LINE_BYTES: usize = 64 << 20;

/// What an export holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// The sequence of the first entry; 0 when there is none.
    pub first: u64,
    /// The number of entries.
    pub entries: u64,
    /// The hash of the last entry.
    pub last_hash: Option<Hash>,
    /// The root of the tree, if the export begins with the first entry.
    pub root: Option<Hash>,
}

/// An entry whose text has its hash.
struct Entry {
    sequence: u64,
    previous: Hash,
    hash: Hash,
}

/// Verifies an export, and compares its tree with `checkpoints`, whose signatures the caller has verified.
/// `expected` receives the index and the hash of each entry.
///
/// # Errors
/// The first disagreement, or the file cannot be read.
pub fn verify(
    input: impl Read,
    checkpoints: &[Checkpoint],
    mut expected: impl FnMut(u64, &Hash) -> Result<(), Stop>,
) -> Result<Verified, Stop> {
    let mut following = Following::new(checkpoints);
    hashed(input, |entry| {
        expected(entry.sequence.saturating_sub(1), &entry.hash)?;
        following.entry(&entry)
    })?;
    following.finish()
}

/// Follows the chain and the tree.
struct Following<'a> {
    checkpoints: &'a [Checkpoint],
    first: Option<u64>,
    next: u64,
    last_hash: Option<Hash>,
    edge: RightEdge,
}

impl<'a> Following<'a> {
    fn new(checkpoints: &'a [Checkpoint]) -> Self {
        Self { checkpoints, first: None, next: 0, last_hash: None, edge: RightEdge::new() }
    }

    fn entry(&mut self, entry: &Entry) -> Result<(), Stop> {
        let sequence = entry.sequence;
        if self.first.is_none() {
            self.first = Some(sequence);
            self.next = sequence;
            self.last_hash = (sequence == 1).then(|| from_hex(GENESIS_HASH.as_bytes())).flatten();
        }
        if sequence != self.next {
            return Stop::found(Level::Chain, format!("entry {} is missing: entry {sequence} is there", self.next));
        }
        if self.last_hash.is_some_and(|hash| hash != entry.previous) {
            return Stop::found(
                Level::Chain,
                format!("entry {sequence} does not name the hash of the entry before it"),
            );
        }
        self.next += 1;
        self.last_hash = Some(entry.hash);
        if self.first != Some(1) {
            return Ok(());
        }
        self.edge.push(leaf_hash(&entry.hash), |_| {});
        for known in self.checkpoints.iter().filter(|known| known.size == sequence) {
            if self.edge.root() != known.root {
                return Stop::found(
                    Level::Root,
                    format!("the first {sequence} entries have another root than the checkpoint over them"),
                );
            }
        }
        Ok(())
    }

    fn finish(self) -> Result<Verified, Stop> {
        let entries = self.next - self.first.unwrap_or(self.next);
        if !self.checkpoints.is_empty() && self.first.is_some_and(|first| first != 1) {
            return Err(Stop::Unreadable(
                "an export that does not begin with entry 1 has no tree to compare".to_owned(),
            ));
        }
        if let Some(larger) = self.checkpoints.iter().find(|known| known.size > entries) {
            let size = larger.size;
            return Stop::found(
                Level::Root,
                format!("a checkpoint covers {size} entries, but there are only {entries}: the tail is missing"),
            );
        }
        let root = self.first.is_none_or(|first| first == 1).then(|| self.edge.root());
        Ok(Verified { first: self.first.unwrap_or(0), entries, last_hash: self.last_hash, root })
    }
}

/// The entries of a block up to the first that cannot be read or is wrong.
type HashedBlock = (Vec<Entry>, Option<Stop>);

type Block = (Vec<u8>, SyncSender<HashedBlock>);

/// Calls `take` for each entry in order, once its text has been hashed.
fn hashed(mut input: impl Read, mut take: impl FnMut(Entry) -> Result<(), Stop>) -> Result<(), Stop> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let (blocks, received) = sync_channel::<Block>(threads);
    let received = Arc::new(Mutex::new(received));
    thread::scope(|scope| {
        for _ in 0..threads {
            let received = Arc::clone(&received);
            scope.spawn(move || hash_blocks(&received));
        }
        let mut pending: VecDeque<Receiver<HashedBlock>> = VecDeque::new();
        let mut rest = Vec::new();
        let mut drain = |pending: &mut VecDeque<Receiver<HashedBlock>>, leave: usize| -> Result<(), Stop> {
            while pending.len() > leave {
                let Some(block) = pending.pop_front() else { break };
                let (entries, stop): HashedBlock =
                    block.recv().map_err(|_| Stop::Unreadable("a thread ended".to_owned()))?;
                entries.into_iter().try_for_each(&mut take)?;
                stop.map_or(Ok(()), Err)?;
            }
            Ok(())
        };
        // Dropped at the end of this closure, which ends the threads.
        let blocks = blocks;
        loop {
            let (block, end) = next_block(&mut input, &mut rest)?;
            if !block.is_empty() {
                let (result, hashed) = sync_channel(1);
                blocks.send((block, result)).map_err(|_| Stop::Unreadable("a thread ended".to_owned()))?;
                pending.push_back(hashed);
            }
            drain(&mut pending, if end { 0 } else { threads * 2 })?;
            if end {
                return Ok(());
            }
        }
    })
}

/// Reads whole lines; keeps the beginning of the next one in `rest`. The flag says that the file has ended.
fn next_block(input: &mut impl Read, rest: &mut Vec<u8>) -> Result<(Vec<u8>, bool), Stop> {
    let mut block = std::mem::take(rest);
    loop {
        let filled = block.len();
        if filled > MAX_LINE_BYTES {
            return Err(Stop::Unreadable("a line is longer than 64 MiB".to_owned()));
        }
        block.resize(filled + BLOCK_BYTES, 0);
        let (_, free) = block.split_at_mut(filled);
        let read = match input.read(free) {
            Ok(read) => Some(read),
            Err(error) if error.kind() == ErrorKind::Interrupted => None,
            Err(error) => return Err(Stop::Unreadable(format!("the export cannot be read: {error}"))),
        };
        block.truncate(filled + read.unwrap_or(0));
        if read == Some(0) {
            return Ok((block, true));
        }
        if block.len() < BLOCK_BYTES {
            continue;
        }
        if let Some(end) = memchr::memrchr(b'\n', &block) {
            *rest = block.split_off(end + 1);
            return Ok((block, false));
        }
    }
}

fn hash_blocks(received: &Mutex<Receiver<Block>>) {
    let next = || received.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok((block, sender)) = next() {
        let mut entries = Vec::new();
        let mut canonical = Vec::new();
        let mut stop = None;
        for line in block.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match hash_line(line, &mut canonical) {
                Ok(entry) => entries.push(entry),
                Err(error) => {
                    stop = Some(error);
                    break;
                }
            }
        }
        // The receiver is gone when something was found already.
        let _ = sender.send((entries, stop));
    }
}

/// A line in any spelling.
#[derive(Deserialize)]
struct Line {
    sequence: u64,
    previous_hash: String,
    entry_hash: String,
    canonical: String,
}

fn hash_line(line: &[u8], canonical: &mut Vec<u8>) -> Result<Entry, Stop> {
    if let Some((sequence, previous_hash, stored)) = split_line(line, canonical) {
        return hash_entry(sequence, previous_hash, stored, canonical);
    }
    // Another spelling of the same JSON.
    let Line { sequence, previous_hash, entry_hash, canonical } = serde_json::from_slice(line)
        .map_err(|error| Stop::Unreadable(format!("a line is not an entry of an export: {error}")))?;
    hash_entry(sequence, previous_hash.as_bytes(), entry_hash.as_bytes(), canonical.as_bytes())
}

fn hash_entry(sequence: u64, previous_hash: &[u8], stored: &[u8], canonical: &[u8]) -> Result<Entry, Stop> {
    let computed = entry_hash(previous_hash, canonical);
    let wrong = |sentence: String| Stop::Found(Finding { level: Level::Entry, sentence });
    let (Some(previous), Some(stored)) = (from_hex(previous_hash), from_hex(stored)) else {
        return Err(wrong(format!("entry {sequence} has a hash that is not 64 hex digits")));
    };
    if computed != stored {
        let (computed, stored) = (hex(&computed), hex(&stored));
        return Err(wrong(format!("the text of entry {sequence} has the hash {computed}, but {stored} is stored")));
    }
    if !names_its_place(canonical, sequence, previous_hash) {
        return Err(wrong(format!("the text of entry {sequence} is that of another entry")));
    }
    Ok(Entry { sequence, previous, hash: stored })
}

/// Whether the text names the sequence and the previous hash that stand beside it. These members follow the details,
/// and the text after them has no such name.
fn names_its_place(canonical: &[u8], sequence: u64, previous_hash: &[u8]) -> bool {
    const NAME: &[u8] = b",\"previous_hash\":\"";
    let named = memchr::memmem::rfind(canonical, NAME).and_then(|at| canonical.get(at + NAME.len()..));
    let after = named.and_then(|rest| rest.strip_prefix(previous_hash)?.strip_prefix(b"\",\"sequence\":"));
    after.is_some_and(|rest| {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        rest.get(..digits).and_then(|digits| std::str::from_utf8(digits).ok()) == Some(sequence.to_string().as_str())
    })
}

/// Reads a line as `epr audit export` writes it, and the canonical text without its escapes into `canonical`. `None`
/// for any other spelling.
fn split_line<'l>(line: &'l [u8], canonical: &mut Vec<u8>) -> Option<(u64, &'l [u8], &'l [u8])> {
    let rest = line.strip_prefix(b"{\"sequence\":")?;
    let digits = rest.iter().position(|byte| !byte.is_ascii_digit())?;
    let (sequence, rest) = rest.split_at(digits);
    let sequence = std::str::from_utf8(sequence).ok()?.parse().ok()?;
    let (previous_hash, rest) = rest.strip_prefix(b",\"previous_hash\":\"")?.split_at_checked(64)?;
    let (stored, rest) = rest.strip_prefix(b"\",\"entry_hash\":\"")?.split_at_checked(64)?;
    let mut text = rest.strip_prefix(b"\",\"canonical\":\"")?.strip_suffix(b"\"}")?;
    canonical.clear();
    canonical.reserve(text.len());
    while let Some(at) = memchr::memchr2(b'\\', b'"', text) {
        let (plain, escaped) = text.split_at(at);
        canonical.extend_from_slice(plain);
        // The text is printable ASCII, so that nothing else is escaped; a quote would end it.
        match escaped {
            [b'\\', byte @ (b'"' | b'\\'), rest @ ..] => {
                canonical.push(*byte);
                text = rest;
            }
            _ => return None,
        }
    }
    canonical.extend_from_slice(text);
    Some((sequence, previous_hash, stored))
}
