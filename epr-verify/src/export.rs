//! Exports (`epr audit export`): a line for each entry, whose text, chain and tree are recomputed.
//!
//! Several threads hash the texts; the chain and the tree are followed in the order of the entries.

use std::io::Read;

use crate::blocks::{ChainEnd, Run, for_each_run};
use crate::finding::{Level, Stop};
use crate::known::KnownRoots;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::edge::RightEdge;
use crate::ledger::merkle::Hash;
use crate::ledger::{GENESIS_HASH, is_hex};

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
    let mut following = Following::new(checkpoints)?;
    for_each_run(input, |run| following.run(run, &mut expected))?;
    following.finish()
}

/// Follows the chain and the tree.
struct Following<'a> {
    checkpoints: &'a [Checkpoint],
    known: KnownRoots,
    first: Option<u64>,
    end: ChainEnd,
    last_hash: Option<Hash>,
    edge: RightEdge,
}

impl<'a> Following<'a> {
    fn new(checkpoints: &'a [Checkpoint]) -> Result<Self, Stop> {
        let (end, known) = (ChainEnd { next: 0, last: None }, KnownRoots::of(checkpoints, Level::Root)?);
        Ok(Self { checkpoints, known, first: None, end, last_hash: None, edge: RightEdge::new() })
    }

    fn run(&mut self, run: Run, expected: &mut impl FnMut(u64, &Hash) -> Result<(), Stop>) -> Result<(), Stop> {
        if let (Some((sequence, previous_hash)), Some(end)) = (run.first, run.end) {
            if self.first.is_none() {
                self.first = Some(sequence);
                let genesis = is_hex(GENESIS_HASH.as_bytes()).copied();
                self.end = ChainEnd { next: sequence, last: genesis.filter(|_| sequence == 1) };
            }
            self.end.follow(sequence, &previous_hash)?;
            for (sequence, (hash, leaf)) in (sequence..).zip(&run.entries) {
                expected(sequence.saturating_sub(1), hash)?;
                if self.first == Some(1) {
                    self.edge.push(*leaf, |_| {});
                    self.known.compare(self.edge.size(), || self.edge.root())?;
                }
            }
            self.last_hash = run.entries.last().map(|(hash, _)| *hash);
            self.end = end;
        }
        run.stop.map_or(Ok(()), Err)
    }

    fn finish(self) -> Result<Verified, Stop> {
        let entries = self.end.next - self.first.unwrap_or(self.end.next);
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
