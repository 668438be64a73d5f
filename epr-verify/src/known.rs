//! Checkpoints that are known, and the tree that must have their roots.

use crate::finding::{Level, Stop};
use crate::ledger::archive::StatedRoots;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::merkle::Hash;

/// The roots of known checkpoints, and the level at which another root is found.
pub(crate) struct KnownRoots {
    roots: StatedRoots,
    level: Level,
}

impl KnownRoots {
    /// The roots of these checkpoints, which must not contradict each other.
    pub(crate) fn of(checkpoints: &[Checkpoint], level: Level) -> Result<Self, Stop> {
        let mut known = Self { roots: StatedRoots::default(), level };
        checkpoints.iter().try_for_each(|checkpoint| known.add(checkpoint))?;
        Ok(known)
    }

    /// Adds a checkpoint. One that states another root than an earlier one is found at once.
    pub(crate) fn add(&mut self, checkpoint: &Checkpoint) -> Result<(), Stop> {
        if self.roots.add(checkpoint) {
            return Ok(());
        }
        let size = checkpoint.size;
        Stop::found(self.level, format!("two checkpoints of {size} entries have different roots"))
    }

    /// Compares the tree of the first `size` entries with the checkpoint over them, if one is known.
    pub(crate) fn compare(&self, size: u64, root: impl FnOnce() -> Hash) -> Result<(), Stop> {
        if self.roots.agrees(size, root) {
            return Ok(());
        }
        let known = if self.level == Level::Consistency { "known checkpoint" } else { "checkpoint" };
        Stop::found(self.level, format!("the first {size} entries have another root than the {known} over them"))
    }

    /// The largest number of entries of a known checkpoint; 0 if there is none.
    pub(crate) fn largest(&self) -> u64 {
        self.roots.largest()
    }
}
