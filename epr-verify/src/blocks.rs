//! An export in blocks of whole lines, which several threads hash.
//!
//! Memory is a few blocks, whatever the size of the file is. Must never hand over an entry whose text does not have its
//! hash, or one that does not follow the entry before it in the same block.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read};
use std::num::NonZero;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use memchr::{memchr, memrchr};

use crate::finding::{Level, Stop};
use crate::ledger::HexHash;
use crate::ledger::merkle::{Hash, leaf_hash};
use crate::line::{Entry, Text, hash_line};

/// The bytes that are read for a block, which is cut after its last whole line.
const BLOCK_BYTES: usize = 1 << 18;
/// The longest line: the text of an entry is at most a few MiB.
const MAX_LINE_BYTES: usize = 64 << 20;

/// The end of a chain: the sequence and the previous hash that the next entry must have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ChainEnd {
    pub(crate) next: u64,
    /// The hash of the last entry; `None` if it is not known.
    pub(crate) last: Option<HexHash>,
}

impl ChainEnd {
    /// Whether an entry with this sequence and this previous hash is the next one.
    pub(crate) fn follow(&self, sequence: u64, previous_hash: &HexHash) -> Result<(), Stop> {
        let next = self.next;
        if sequence != next {
            return Stop::found(Level::Chain, format!("entry {next} is missing: entry {sequence} is there"));
        }
        if self.last.is_some_and(|last| last != *previous_hash) {
            return Stop::found(
                Level::Chain,
                format!("entry {sequence} does not name the hash of the entry before it"),
            );
        }
        Ok(())
    }
}

/// A run of entries whose texts have their hashes and of which each follows the one before it.
#[derive(Debug, Default)]
pub(crate) struct Run {
    /// The sequence of the first entry, and the hash that it names as that of the entry before it.
    pub(crate) first: Option<(u64, HexHash)>,
    /// The hash of each entry, and of its leaf.
    pub(crate) entries: Vec<(Hash, Hash)>,
    /// The end of the run.
    pub(crate) end: Option<ChainEnd>,
    /// What is wrong with the line after the run.
    pub(crate) stop: Option<Stop>,
}

impl Run {
    fn of(block: &[u8], text: &mut Text) -> Self {
        let (mut run, mut rest) = (Self::default(), block);
        while !rest.is_empty() {
            let line = memchr(b'\n', rest).and_then(|end| rest.get(..end)).unwrap_or(rest);
            rest = rest.get(line.len() + 1..).unwrap_or_default();
            if line.is_empty() {
                continue;
            }
            if let Err(stop) = hash_line(line, text).and_then(|entry| run.push(&entry)) {
                run.stop = Some(stop);
                break;
            }
        }
        run
    }

    fn push(&mut self, entry: &Entry) -> Result<(), Stop> {
        match &self.end {
            None => self.first = Some((entry.sequence, entry.previous_hash)),
            Some(end) => end.follow(entry.sequence, &entry.previous_hash)?,
        }
        self.end = Some(ChainEnd { next: entry.sequence.saturating_add(1), last: Some(entry.hex_hash) });
        self.entries.push((entry.hash, leaf_hash(&entry.hash)));
        Ok(())
    }
}

/// A block to be hashed, and where its result goes. The block comes back with the result, to be filled again.
type Job = (Vec<u8>, usize, SyncSender<(Run, Vec<u8>)>);

/// Calls `take` for each run of an export in order.
pub(crate) fn for_each_run(input: impl Read, mut take: impl FnMut(Run) -> Result<(), Stop>) -> Result<(), Stop> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let mut blocks = Blocks::new(input);
    if threads == 1 {
        let (mut block, mut text) = (Vec::new(), Text::default());
        loop {
            let filled;
            (block, filled) = blocks.next(block)?;
            if filled == 0 {
                return Ok(());
            }
            take(Run::of(block.get(..filled).unwrap_or_default(), &mut text))?;
        }
    }
    let (jobs, received) = sync_channel::<Job>(threads);
    let received = Arc::new(Mutex::new(received));
    thread::scope(|scope| {
        for _ in 0..threads {
            let received = Arc::clone(&received);
            scope.spawn(move || hash_jobs(&received));
        }
        // Dropped at the end of this closure, which ends the threads.
        let jobs = jobs;
        let (mut pending, mut free) = (VecDeque::new(), Vec::new());
        let ended = |_| Stop::Unreadable("a thread ended".to_owned());
        loop {
            let (block, filled) = blocks.next(free.pop().unwrap_or_default())?;
            let end = filled == 0;
            if !end {
                let (result, hashed) = sync_channel(1);
                jobs.send((block, filled, result)).map_err(|_| Stop::Unreadable("a thread ended".to_owned()))?;
                pending.push_back(hashed);
            }
            while pending.len() > if end { 0 } else { threads * 2 } {
                let Some(hashed): Option<Receiver<(Run, Vec<u8>)>> = pending.pop_front() else { break };
                let (run, block) = hashed.recv().map_err(ended)?;
                free.push(block);
                take(run)?;
            }
            if end {
                return Ok(());
            }
        }
    })
}

fn hash_jobs(received: &Mutex<Receiver<Job>>) {
    let mut text = Text::default();
    let next = || received.lock().unwrap_or_else(PoisonError::into_inner).recv();
    while let Ok((block, filled, result)) = next() {
        let run = Run::of(block.get(..filled).unwrap_or_default(), &mut text);
        // The receiver is gone when something was found already.
        let _ = result.send((run, block));
    }
}

/// The blocks of a file.
struct Blocks<R> {
    input: R,
    /// The beginning of the next line.
    rest: Vec<u8>,
    ended: bool,
}

impl<R: Read> Blocks<R> {
    fn new(input: R) -> Self {
        Self { input, rest: Vec::new(), ended: false }
    }

    /// Fills `block` with whole lines, and returns it with the number of their bytes: 0 after the last line. A block
    /// that is used again is neither allocated nor zeroed again.
    fn next(&mut self, mut block: Vec<u8>) -> Result<(Vec<u8>, usize), Stop> {
        let mut filled = self.rest.len();
        if block.len() < filled + BLOCK_BYTES {
            block.resize(filled + BLOCK_BYTES, 0);
        }
        block.get_mut(..filled).unwrap_or_default().copy_from_slice(&self.rest);
        self.rest.clear();
        // Up to here there is no end of a line.
        let mut searched = filled;
        while !self.ended {
            if filled > MAX_LINE_BYTES {
                return Err(Stop::Unreadable("a line is longer than 64 MiB".to_owned()));
            }
            if filled == block.len() {
                block.resize(filled + BLOCK_BYTES, 0);
            }
            match self.input.read(block.get_mut(filled..).unwrap_or_default()) {
                Ok(0) => self.ended = true,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Stop::Unreadable(format!("the export cannot be read: {error}"))),
            }
            if filled < BLOCK_BYTES && !self.ended {
                continue;
            }
            let end = block.get(searched..filled).and_then(|read| memrchr(b'\n', read));
            let lines = end.map(|end| searched + end + 1);
            searched = filled;
            if let Some(lines) = lines.filter(|_| !self.ended) {
                self.rest.extend_from_slice(block.get(lines..filled).unwrap_or_default());
                return Ok((block, lines));
            }
        }
        Ok((block, filled))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads a few bytes at a time, and is interrupted now and then.
    struct Slow<'a>(&'a [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            self.1 += 1;
            if self.1.is_multiple_of(5) {
                return Err(ErrorKind::Interrupted.into());
            }
            let read = buffer.len().min(self.0.len()).min(self.1 * 997 % 70_000);
            buffer[..read].copy_from_slice(&self.0[..read]);
            self.0 = &self.0[read..];
            Ok(read)
        }
    }

    #[test]
    fn blocks_are_whole_lines_that_together_are_the_file() {
        for (lines, length, end) in [(0, 0, ""), (1, 10, ""), (9_000, 300, "\n"), (9_000, 299, ""), (3, 2 << 20, "\n")]
        {
            let text = vec!["x".repeat(length); lines].join("\n") + end;
            let mut blocks = Blocks::new(Slow(text.as_bytes(), 0));
            let (mut read, mut block) = (Vec::new(), Vec::new());
            loop {
                let (filled, bytes) = blocks.next(std::mem::take(&mut block)).unwrap();
                if bytes == 0 {
                    break;
                }
                read.extend_from_slice(&filled[..bytes]);
                assert!(read.len() == text.len() || read.ends_with(b"\n"), "{lines} of {length}");
                block = filled;
            }
            assert!(read == text.as_bytes(), "{lines} of {length}");
        }
    }

    #[test]
    fn a_line_without_end_is_not_read_without_end() {
        let error = Blocks::new(std::io::repeat(b'x')).next(Vec::new()).unwrap_err();
        assert_eq!(error.to_string(), "a line is longer than 64 MiB");
    }
}
