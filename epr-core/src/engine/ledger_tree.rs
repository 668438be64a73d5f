//! The ledger's tree as it is stored: tiles, roots and paths at any size that a checkpoint covers.
//!
//! Full tiles come from `audit_tiles`, everything else from the entries and from the roots of tiles below. Must never
//! write.

use std::collections::{BTreeMap, BTreeSet};

use crate::domain::Incarnation;
use crate::ledger::edge::{RightEdge, edge_width};
pub(crate) use crate::ledger::hex::read_hex as leaf_data;
use crate::ledger::merkle::{Hash, Range, leaf_hash};
use crate::ledger::tile::{FULL_WIDTH, Tile, TileKind, node_in_tile, read_hashes, write_entry, write_hashes};
use crate::store::{Result, Store, StoreError, StoredCheckpoint};

/// The tree over the first `size` entries.
pub(crate) struct LedgerTree<'a> {
    pub(crate) store: &'a dyn Store,
    pub(crate) incarnation: Incarnation,
    pub(crate) size: u64,
}

/// A size or an index as the database has it.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A size or an index that the database has.
pub(crate) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

/// A checkpoint with the cosignatures below its note, as it is served and published.
pub(crate) async fn with_cosignatures(store: &dyn Store, checkpoint: StoredCheckpoint) -> Result<StoredCheckpoint> {
    let cosignatures = store.cosignatures(checkpoint.incarnation, checkpoint.size).await?;
    let lines = cosignatures.iter().map(|one| format!("{}\n", one.line));
    Ok(StoredCheckpoint { note: std::iter::once(checkpoint.note).chain(lines).collect(), ..checkpoint })
}

impl LedgerTree<'_> {
    /// The right edge, where `size` is a multiple of 256 up to which every full tile is stored.
    pub(crate) async fn edge(&self) -> Result<RightEdge> {
        let mut levels = vec![Vec::new()];
        for level in 1..8_u8 {
            let width = edge_width(self.size, level);
            let end = self.size.checked_shr(u32::from(level) * 8).unwrap_or(0);
            let first = end - u64::from(width);
            levels.push(match width {
                0 => Vec::new(),
                _ => self.store.tile_roots(self.incarnation, level - 1, signed(first), signed(end)).await?,
            });
        }
        RightEdge::from_levels(self.size, levels).ok_or_else(|| StoreError::corrupt("audit_tiles", "tiles are missing"))
    }

    /// The bytes of a tile or bundle that this tree has.
    pub(crate) async fn bytes(&self, tile: Tile) -> Result<Vec<u8>> {
        match tile.kind {
            TileKind::Hashes { level } => Ok(write_hashes(&self.hashes(level, tile.index, tile.width).await?)),
            TileKind::Entries => {
                let mut bundle = Vec::with_capacity(usize::from(tile.width) * 34);
                for data in self.leaves(tile.index, tile.width).await? {
                    // 32 bytes fit.
                    let _ = write_entry(&mut bundle, &data);
                }
                Ok(bundle)
            }
        }
    }

    /// The root of the tree.
    pub(crate) async fn root(&self) -> Result<Hash> {
        let whole = Range { begin: 0, end: self.size };
        self.path(&[whole]).await?.pop().ok_or_else(|| StoreError::corrupt("audit_tiles", "no root"))
    }

    /// The roots of ranges of leaves, which are the hashes of a path.
    pub(crate) async fn path(&self, ranges: &[Range]) -> Result<Vec<Hash>> {
        let nodes = ranges.iter().flat_map(|range| range.nodes());
        let wanted: BTreeSet<Tile> = nodes.filter_map(|node| Tile::holding(node, self.size)).collect();
        let mut tiles = BTreeMap::new();
        for tile in wanted {
            let TileKind::Hashes { level } = tile.kind else { continue };
            tiles.insert(tile, self.hashes(level, tile.index, tile.width).await?);
        }
        let lookup = |node| {
            let hashes = Tile::holding(node, self.size).and_then(|tile| tiles.get(&tile));
            hashes
                .and_then(|hashes| node_in_tile(hashes, node))
                .ok_or_else(|| StoreError::corrupt("audit_tiles", "a node is missing"))
        };
        ranges.iter().map(|range| range.root(lookup)).collect()
    }

    async fn hashes(&self, level: u8, index: u64, width: u16) -> Result<Vec<Hash>> {
        let first = index * u64::from(FULL_WIDTH);
        let hashes = if width == FULL_WIDTH {
            let stored = self.store.tiles(self.incarnation, level, signed(index), 1).await?;
            let stored = stored.into_iter().find(|tile| unsigned(tile.number) == index);
            stored.and_then(|tile| read_hashes(&tile.hashes, width).ok()).unwrap_or_default()
        } else if level == 0 {
            self.leaves(index, width).await?.iter().map(|data| leaf_hash(data)).collect()
        } else {
            let end = signed(first + u64::from(width));
            self.store.tile_roots(self.incarnation, level - 1, signed(first), end).await?
        };
        if hashes.len() == usize::from(width) {
            Ok(hashes)
        } else {
            Err(StoreError::corrupt("audit_tiles", format!("tile {index} of level {level} lacks hashes")))
        }
    }

    async fn leaves(&self, index: u64, width: u16) -> Result<Vec<Hash>> {
        let first = index * u64::from(FULL_WIDTH);
        let entries = self.store.entry_hashes(signed(first + 1), signed(first + u64::from(width))).await?;
        let data: Option<Vec<Hash>> = entries.iter().map(|entry| leaf_data(&entry.entry_hash)).collect();
        data.filter(|data| data.len() == usize::from(width))
            .ok_or_else(|| StoreError::corrupt("audit_logs", format!("entries after {first} are missing or damaged")))
    }
}
