//! Checkpoints and tiles of the ledger.

use async_trait::async_trait;

use super::super::checkpoints;
use super::SqlStore;
use crate::domain::{Incarnation, Timestamp};
use crate::ledger::merkle::Hash;
use crate::store::{CheckpointStore, Cosignature, EntryHashes, Result, StoredCheckpoint, StoredTile};

#[async_trait]
impl CheckpointStore for SqlStore {
    async fn last_checkpoint(&self, incarnation: Incarnation) -> Result<Option<StoredCheckpoint>> {
        self.read(async |conn| checkpoints::last(conn, incarnation).await).await
    }

    async fn checkpoints(&self, incarnation: Incarnation, after: i64, limit: u32) -> Result<Vec<StoredCheckpoint>> {
        self.read(async |conn| checkpoints::list(conn, incarnation, after, limit).await).await
    }

    async fn signing_times(&self, incarnation: Incarnation, after: i64, limit: u32) -> Result<Vec<(i64, Timestamp)>> {
        self.read(async |conn| checkpoints::signing_times(conn, incarnation, after, limit).await).await
    }

    async fn tile_count(&self, incarnation: Incarnation, level: u8) -> Result<i64> {
        self.read(async |conn| checkpoints::tile_count(conn, incarnation, level).await).await
    }

    async fn tile_roots(&self, incarnation: Incarnation, level: u8, first: i64, end: i64) -> Result<Vec<Hash>> {
        self.read(async |conn| checkpoints::tile_roots(conn, incarnation, level, (first, end)).await).await
    }

    async fn tiles(&self, incarnation: Incarnation, level: u8, first: i64, limit: u32) -> Result<Vec<StoredTile>> {
        self.read(async |conn| checkpoints::tiles(conn, incarnation, level, (first, limit)).await).await
    }

    async fn entry_hashes(&self, first: i64, last: i64) -> Result<Vec<EntryHashes>> {
        self.read(async |conn| checkpoints::entry_hashes(conn, first, last).await).await
    }

    async fn add_tiles(&self, incarnation: Incarnation, tiles: &[StoredTile]) -> Result<()> {
        self.change(async |conn| checkpoints::add_tiles(conn, incarnation, tiles).await).await
    }

    async fn add_checkpoint(&self, previous: i64, checkpoint: &StoredCheckpoint, tiles: &[StoredTile]) -> Result<bool> {
        self.change(async |conn| checkpoints::add(conn, previous, checkpoint, tiles).await).await
    }

    async fn cosignatures(&self, incarnation: Incarnation, size: i64) -> Result<Vec<Cosignature>> {
        self.read(async |conn| checkpoints::cosignatures(conn, incarnation, size).await).await
    }

    async fn add_cosignature(&self, incarnation: Incarnation, size: i64, cosignature: &Cosignature) -> Result<()> {
        self.change(async |conn| checkpoints::add_cosignature(conn, incarnation, size, cosignature).await).await
    }
}
