//! Checkpoints of the ledger and the tiles of its tree.

use async_trait::async_trait;

use super::Result;
use crate::domain::{Incarnation, Timestamp};
use crate::ledger::merkle::Hash;

/// A signed checkpoint, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// The incarnation of the ledger.
    pub incarnation: Incarnation,
    /// The number of entries.
    pub size: i64,
    /// The root of the tree over them.
    pub root: Hash,
    /// The signed note.
    pub note: String,
    /// The time at which it was signed.
    pub signed_at: Timestamp,
}

/// A full tile of hashes.
#[derive(Clone, PartialEq, Eq)]
pub struct StoredTile {
    /// The level, 0 for hashes of leaves.
    pub level: u8,
    /// The index among the tiles of its level, from 0.
    pub number: i64,
    /// The root of its hashes.
    pub root: Hash,
    /// Its 256 hashes, one after the other.
    pub hashes: Vec<u8>,
}

impl std::fmt::Debug for StoredTile {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("StoredTile").field("level", &self.level).field("number", &self.number).finish_non_exhaustive()
    }
}

/// The signature of a witness below a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// The name of the witness's key.
    pub witness: String,
    /// The signature line.
    pub line: String,
    /// The time at which it arrived.
    pub received_at: Timestamp,
}

/// The hashes of an entry, as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryHashes {
    /// The sequence of the entry.
    pub sequence: i64,
    /// The hash of the entry before it, in hex.
    pub previous_hash: String,
    /// The hash of the entry, in hex.
    pub entry_hash: String,
}

/// Reads and appends checkpoints and tiles. Takes no lock that an append to the ledger waits for, on `PostgreSQL`; on
/// `SQLite` only inserts exclude other writers.
#[async_trait]
pub trait CheckpointStore: Send + Sync {
    /// Returns the largest checkpoint of an incarnation.
    ///
    /// Example: `None` in a new database.
    async fn last_checkpoint(&self, incarnation: Incarnation) -> Result<Option<StoredCheckpoint>>;

    /// Returns at most `limit` checkpoints of an incarnation with more than `after` entries, the smallest first.
    ///
    /// Example: `checkpoints(incarnation, 0, 10)` begins with the first one.
    async fn checkpoints(&self, incarnation: Incarnation, after: i64, limit: u32) -> Result<Vec<StoredCheckpoint>>;

    /// Returns the sizes of at most `limit` checkpoints of an incarnation with more than `after` entries, the smallest
    /// first, and the times at which they were signed.
    ///
    /// Example: the times need not be in the order of the sizes, because the clock of a signer may be set back.
    async fn signing_times(&self, incarnation: Incarnation, after: i64, limit: u32) -> Result<Vec<(i64, Timestamp)>>;

    /// Returns the number of full tiles of a level. They have the numbers from 0 on.
    ///
    /// Example: 2 of level 0 in a tree of 600 entries.
    async fn tile_count(&self, incarnation: Incarnation, level: u8) -> Result<i64>;

    /// Returns the roots of the full tiles of a level with the numbers from `first` up to, but not including, `end`, in
    /// their order. Those that are missing are left out.
    ///
    /// Example: the hashes of the partial tile 0 of level 1 are the roots of the tiles of level 0 from 0 on.
    async fn tile_roots(&self, incarnation: Incarnation, level: u8, first: i64, end: i64) -> Result<Vec<Hash>>;

    /// Returns at most `limit` full tiles of a level from the number `first` on, in their order.
    ///
    /// Example: `tiles(incarnation, 0, 0, 1)` returns the first tile, if there is one.
    async fn tiles(&self, incarnation: Incarnation, level: u8, first: i64, limit: u32) -> Result<Vec<StoredTile>>;

    /// Returns the hashes of the entries `first` to `last`, both included, in their order. Those that are missing are
    /// left out.
    ///
    /// Example: `entry_hashes(1, 2)` of a ledger with one entry returns one.
    async fn entry_hashes(&self, first: i64, last: i64) -> Result<Vec<EntryHashes>>;

    /// Appends tiles. Those that exist are left as they are.
    ///
    /// Example: appending the same tile twice leaves one.
    async fn add_tiles(&self, incarnation: Incarnation, tiles: &[StoredTile]) -> Result<()>;

    /// Appends a checkpoint and the tiles that it needs, in one transaction. `false`, and nothing is appended, unless
    /// the largest checkpoint of the incarnation is the one of `previous` entries (0 when there is none) and the
    /// incarnation is the present one: another signer came first, or the incarnation has ended.
    ///
    /// INVARIANT: two signers exclude each other from the comparison to the commit, and no lock of the ledger is taken.
    ///
    /// Example: of two calls with the same `previous`, one returns `true`.
    async fn add_checkpoint(&self, previous: i64, checkpoint: &StoredCheckpoint, tiles: &[StoredTile]) -> Result<bool>;

    /// Returns the cosignatures on a checkpoint, by the names of the witnesses.
    ///
    /// Example: none on a checkpoint that was just appended.
    async fn cosignatures(&self, incarnation: Incarnation, size: i64) -> Result<Vec<Cosignature>>;

    /// Appends a cosignature on a stored checkpoint. One that exists is left as it is.
    ///
    /// Example: a second one of the same witness changes nothing.
    async fn add_cosignature(&self, incarnation: Incarnation, size: i64, cosignature: &Cosignature) -> Result<()>;
}
