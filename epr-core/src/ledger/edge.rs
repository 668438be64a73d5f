//! The right edge of a ledger's tree: what of each level is not in a full tile yet. With it a tree grows tile by tile.
//!
//! Owns the cutting of a growing tree into tiles. Must never know where tiles are stored.

use super::merkle::{Frontier, Hash, node_hash};
use super::tile::FULL_WIDTH;

/// A tile that has just become full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullTile {
    /// The level of the tile, 0 for hashes of leaves.
    pub level: u8,
    /// The index among the tiles of the level, from 0.
    pub index: u64,
    /// The root of its hashes: the hash at `index` one level above.
    pub root: Hash,
    /// Its 256 hashes.
    pub hashes: Vec<Hash>,
}

/// The hashes of each level that are not in a full tile, the leaves first.
#[derive(Clone, Default)]
pub struct RightEdge {
    size: u64,
    levels: Vec<Vec<Hash>>,
}

/// The number of hashes of a level that are not in a full tile, in a tree of `size` leaves.
#[must_use]
pub fn edge_width(size: u64, level: u8) -> u16 {
    let hashes = size.checked_shr(u32::from(level) * 8).unwrap_or(0) % u64::from(FULL_WIDTH);
    u16::try_from(hashes).unwrap_or(0)
}

impl RightEdge {
    /// The edge of the tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The edge of a tree of `size` leaves, from the hashes of each level; `None` unless each level has as many as its
    /// partial tile.
    #[must_use]
    pub fn from_levels(size: u64, levels: Vec<Vec<Hash>>) -> Option<Self> {
        let fits = (0_u8..8)
            .all(|level| levels.get(usize::from(level)).map_or(0, Vec::len) == usize::from(edge_width(size, level)));
        (fits && levels.len() <= 8).then_some(Self { size, levels })
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of a level that are not in a full tile.
    #[must_use]
    pub fn hashes(&self, level: u8) -> &[Hash] {
        self.levels.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        let roots: Vec<Hash> = self.levels.iter().rev().flat_map(|hashes| complete_subtrees(hashes)).collect();
        Frontier::from_parts(self.size, roots).unwrap_or_default().root()
    }

    /// Appends a leaf. Calls `full` for each tile that it fills, from the leaves upwards.
    pub fn push(&mut self, leaf: Hash, mut full: impl FnMut(FullTile)) {
        self.size += 1;
        let (mut hash, mut level, mut index) = (leaf, 0_u8, (self.size - 1) / u64::from(FULL_WIDTH));
        loop {
            if self.levels.len() <= usize::from(level) {
                self.levels.push(Vec::with_capacity(usize::from(FULL_WIDTH)));
            }
            let Some(hashes) = self.levels.get_mut(usize::from(level)) else { return };
            hashes.push(hash);
            if hashes.len() < usize::from(FULL_WIDTH) {
                return;
            }
            let hashes = std::mem::replace(hashes, Vec::with_capacity(usize::from(FULL_WIDTH)));
            hash = tile_root(&hashes);
            full(FullTile { level, index, root: hash, hashes });
            level += 1;
            index /= u64::from(FULL_WIDTH);
        }
    }
}

/// The root of a run of hashes whose number is a power of two, such as those of a full tile.
#[must_use]
pub fn tile_root(hashes: &[Hash]) -> Hash {
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level.first().copied().unwrap_or_default()
}

/// The roots of the complete subtrees over these hashes, largest first.
fn complete_subtrees(mut hashes: &[Hash]) -> Vec<Hash> {
    let mut roots = Vec::new();
    while !hashes.is_empty() {
        let (subtree, rest) = hashes.split_at(1 << hashes.len().ilog2());
        roots.push(tile_root(subtree));
        hashes = rest;
    }
    roots
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::merkle::leaf_hash;
    use crate::ledger::tile::{Tile, TileKind};

    #[test]
    fn the_edge_has_the_root_of_the_frontier_at_every_size_and_fills_every_tile_once() {
        let (mut edge, mut frontier, mut tiles) = (RightEdge::new(), Frontier::new(), Vec::new());
        for n in 0..66_000_u64 {
            // Every size near a boundary, and some between.
            if n % 256 < 3 || n % 256 > 253 || n % 97 == 0 {
                assert_eq!(edge.root(), frontier.root(), "{n}");
                let levels = (0..8).map(|level| edge.hashes(level).to_vec()).collect();
                assert_eq!(RightEdge::from_levels(n, levels).unwrap().root(), frontier.root(), "{n}");
            }
            let leaf = leaf_hash(&n.to_be_bytes());
            edge.push(leaf, |tile| tiles.push(tile));
            frontier.push(leaf, |_, _| {});
        }
        let grown = Tile::grown(0, 66_000).filter(|tile| tile.is_full() && tile.kind != TileKind::Entries);
        let mut expected: Vec<(u8, u64)> = grown
            .filter_map(|tile| match tile.kind {
                TileKind::Hashes { level } => Some((level, tile.index)),
                TileKind::Entries => None,
            })
            .collect();
        let mut found: Vec<_> = tiles.iter().map(|tile| (tile.level, tile.index)).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
        for above in tiles.iter().filter(|tile| tile.level == 1) {
            for (at, hash) in above.hashes.iter().enumerate() {
                let below = above.index * 256 + u64::try_from(at).unwrap();
                assert!(tiles.iter().any(|tile| (tile.level, tile.index, tile.root) == (0, below, *hash)));
            }
        }
    }

    #[test]
    fn an_edge_of_the_wrong_widths_is_refused() {
        assert!(RightEdge::from_levels(257, vec![vec![[0; 32]], vec![[0; 32]]]).is_some());
        assert!(RightEdge::from_levels(257, vec![vec![[0; 32]]]).is_none());
        assert!(RightEdge::from_levels(256, vec![vec![[0; 32]], vec![[0; 32]]]).is_none());
        assert!(RightEdge::from_levels(0, Vec::new()).is_some());
    }
}
