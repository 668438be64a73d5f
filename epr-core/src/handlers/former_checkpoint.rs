//! The last checkpoint of an incarnation that has ended.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ledger::merkle::Hash;
use crate::store::StoredCheckpoint;

/// The last checkpoint of an incarnation that has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormerCheckpoint {
    /// The name of the ledger in the checkpoint.
    pub origin: String,
    /// The number of entries that it covers; more than the ledger has if a restore lost some.
    pub size: i64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl FormerCheckpoint {
    /// The root as it is written in a checkpoint and in the entry.
    #[must_use]
    pub fn root_text(&self) -> String {
        STANDARD.encode(self.root)
    }

    /// The one that the database has.
    pub(super) fn stored(checkpoint: &StoredCheckpoint) -> Self {
        let origin = checkpoint.note.lines().next().unwrap_or_default().to_owned();
        Self { origin, size: checkpoint.size, root: checkpoint.root }
    }
}
