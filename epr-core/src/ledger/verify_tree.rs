//! Recomputes the tree over the entries of a verification: the roots of its tiles and of every size.
//!
//! Keeps one hash for each full tile, which is an eighth of a byte for each entry. Must never use a stored hash of the
//! tree.

use super::edge::{RightEdge, edge_width};
use super::merkle::{Hash, leaf_hash};
use super::tile::FULL_WIDTH;

/// The tree over the entries that were verified so far.
#[derive(Default)]
pub struct TreeVerifier {
    edge: RightEdge,
    /// The roots of the full tiles of each level.
    roots: Vec<Vec<Hash>>,
}

impl TreeVerifier {
    /// The tree without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an entry with these leaf data.
    pub fn push(&mut self, data: &Hash) {
        let roots = &mut self.roots;
        self.edge.push(leaf_hash(data), |tile| {
            let level = usize::from(tile.level);
            if roots.len() <= level {
                roots.resize(level + 1, Vec::new());
            }
            if let Some(roots) = roots.get_mut(level) {
                roots.push(tile.root);
            }
        });
    }

    /// The number of entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.edge.size()
    }

    /// The root over all entries.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.edge.root()
    }

    /// The roots of the full tiles of a level.
    #[must_use]
    pub fn tile_roots(&self, level: u8) -> &[Hash] {
        self.roots.get(usize::from(level)).map_or(&[], Vec::as_slice)
    }

    /// The root over the first `size` entries. `leaves` are the data of those that are not in a full tile of that size:
    /// the last `size % 256`. `None` when the tree is smaller, or when these are not as many.
    #[must_use]
    pub fn root_at(&self, size: u64, leaves: &[Hash]) -> Option<Hash> {
        if size > self.size() {
            return None;
        }
        let mut levels = vec![leaves.iter().map(|data| leaf_hash(data)).collect::<Vec<_>>()];
        for level in 1..8_u8 {
            let end = usize::try_from(size >> (u32::from(level) * 8).min(63)).ok()?;
            let width = usize::from(edge_width(size, level));
            levels.push(match width {
                0 => Vec::new(),
                _ => self.tile_roots(level - 1).get(end - width..end)?.to_vec(),
            });
        }
        RightEdge::from_levels(size, levels).map(|edge| edge.root())
    }
}

/// The number of entries that are not in a full tile of a tree of this size.
#[must_use]
pub fn partial_entries(size: u64) -> u64 {
    size % u64::from(FULL_WIDTH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::merkle::Frontier;

    #[test]
    fn the_root_of_every_earlier_size_can_be_computed_from_the_roots_of_tiles() {
        let data = |n: u64| {
            let mut hash = [0; 32];
            hash[..8].copy_from_slice(&n.to_be_bytes());
            hash
        };
        let (mut tree, mut frontier, mut roots) = (TreeVerifier::new(), Frontier::new(), vec![Frontier::new().root()]);
        for n in 0..1_300 {
            tree.push(&data(n));
            frontier.push(leaf_hash(&data(n)), |_, _| {});
            roots.push(frontier.root());
        }
        for (size, root) in (0..).zip(&roots) {
            let leaves: Vec<Hash> = (size - partial_entries(size)..size).map(data).collect();
            assert_eq!(tree.root_at(size, &leaves).as_ref(), Some(root), "{size}");
        }
        assert_eq!(tree.root_at(1_301, &[]), None);
        let beyond: Vec<Hash> = (1_280..1_301).map(data).collect();
        assert_eq!(tree.root_at(1_301, &beyond), None);
        assert_eq!(tree.root_at(300, &[]), None);
    }
}
