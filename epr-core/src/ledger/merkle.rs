//! The Merkle tree over the ledger's entries: hashes, roots, inclusion paths and consistency paths of RFC 6962.
//!
//! Owns the arithmetic of the tree. Must never know where hashes are stored: this module
//! names the nodes that a path needs, and the caller supplies them.

use std::fmt;

use sha2::{Digest as _, Sha256};

use super::sha256::{self, BLOCK_BYTES};

/// The size of a hash in bytes.
pub const HASH_BYTES: usize = 32;

/// A SHA-256 hash in the tree.
pub type Hash = [u8; HASH_BYTES];

/// The bits that are hashed for a leaf whose data is a hash, and for a node.
const LEAF_BITS: u16 = 8 * 33;
const NODE_BITS: u16 = 8 * 65;

/// The root of the tree without leaves: SHA-256 of no bytes.
#[must_use]
pub fn empty_root() -> Hash {
    Sha256::digest([]).into()
}

/// The hash of a leaf with this data.
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    // In one block where the data is a hash, as that of every leaf of EPR is.
    match <&Hash>::try_from(data) {
        Ok(hash) => {
            let mut block = [0; BLOCK_BYTES];
            block[1..=HASH_BYTES].copy_from_slice(hash);
            block[1 + HASH_BYTES] = 0x80;
            block[62..].copy_from_slice(&LEAF_BITS.to_be_bytes());
            sha256::of_blocks(&[block])
        }
        Err(_) => Sha256::new_with_prefix([0]).chain_update(data).finalize().into(),
    }
}

/// The hash of the node above two others.
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let [start @ .., last] = right;
    let (mut first, mut second) = ([1; BLOCK_BYTES], [0; BLOCK_BYTES]);
    first[1..=HASH_BYTES].copy_from_slice(left);
    first[1 + HASH_BYTES..].copy_from_slice(start);
    second[0] = *last;
    second[1] = 0x80;
    second[62..].copy_from_slice(&NODE_BITS.to_be_bytes());
    sha256::of_blocks(&[first, second])
}

/// A node whose subtree is complete: it covers the leaves from `index << level` up to, but not including,
/// `(index + 1) << level`. A leaf has level 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Node {
    /// The height of the node above the leaves, 0 to 63.
    pub level: u8,
    /// The index among the nodes of the same level, from 0.
    pub index: u64,
}

/// A run of leaves whose subtree root is one hash of a path: from `begin` up to, but not including, `end`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// The first leaf.
    pub begin: u64,
    /// The leaf after the last one.
    pub end: u64,
}

impl Range {
    /// The complete nodes that cover the range, from left to right, largest first.
    ///
    /// INVARIANT: `begin` is a multiple of the largest power of two that fits, which holds for every range that this
    /// module makes.
    #[must_use]
    pub fn nodes(self) -> Vec<Node> {
        let mut nodes = Vec::new();
        let mut begin = self.begin;
        while begin < self.end {
            let level = (self.end - begin).ilog2();
            nodes.push(Node { level: u8::try_from(level).unwrap_or(u8::MAX), index: begin >> level });
            begin += 1 << level;
        }
        nodes
    }

    /// The root of the range, from the hashes of its nodes.
    ///
    /// # Errors
    /// The errors of `lookup`.
    pub fn root<E>(self, mut lookup: impl FnMut(Node) -> Result<Hash, E>) -> Result<Hash, E> {
        let hashes: Vec<Hash> = self.nodes().into_iter().map(&mut lookup).collect::<Result<_, E>>()?;
        Ok(join(&hashes))
    }
}

/// The root above complete subtrees that decrease in size from left to right.
fn join(roots: &[Hash]) -> Hash {
    let above = roots.iter().rev().copied().reduce(|right, left| node_hash(&left, &right));
    above.unwrap_or_else(empty_root)
}

/// The largest power of two below `size`, at which RFC 6962 splits a tree of at least two leaves.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

/// The ranges whose roots prove that leaf `index` is in the tree of `size` leaves, from the leaf's sibling upwards;
/// `None` when there is no such leaf.
#[must_use]
pub fn inclusion_ranges(index: u64, size: u64) -> Option<Vec<Range>> {
    if index >= size {
        return None;
    }
    let mut ranges = Vec::new();
    let (mut begin, mut end) = (0, size);
    while end - begin > 1 {
        let middle = begin + split(end - begin);
        if index < middle {
            ranges.push(Range { begin: middle, end });
            end = middle;
        } else {
            ranges.push(Range { begin, end: middle });
            begin = middle;
        }
    }
    ranges.reverse();
    Some(ranges)
}

/// The ranges whose roots prove that the tree of `to` leaves begins with the tree of `from` leaves (RFC 6962, 2.1.2);
/// `None` when `from` is larger than `to`. Empty when the sizes are equal or `from` is 0.
#[must_use]
pub fn consistency_ranges(from: u64, to: u64) -> Option<Vec<Range>> {
    if from > to {
        return None;
    }
    let mut ranges = Vec::new();
    if from == 0 || from == to {
        return Some(ranges);
    }
    let (mut begin, mut end) = (0, to);
    while from != end {
        let middle = begin + split(end - begin);
        if from <= middle {
            ranges.push(Range { begin: middle, end });
            end = middle;
        } else {
            ranges.push(Range { begin, end: middle });
            begin = middle;
        }
    }
    // The verifier knows the old root already when the old tree is one of the new tree's left subtrees.
    if begin != 0 {
        ranges.push(Range { begin, end });
    }
    ranges.reverse();
    Some(ranges)
}

/// The reason why a path proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// The path has more or fewer hashes than the sizes require.
    #[error("the path has {found} hashes, but a tree of {size} entries requires {expected}")]
    Length {
        /// The number of hashes in the path.
        found: usize,
        /// The number of hashes that the sizes require.
        expected: usize,
        /// The size of the (newer) tree.
        size: u64,
    },
    /// The leaf or the older tree is not within the tree.
    #[error("{position} is not within a tree of {size} entries")]
    Outside {
        /// The index of the leaf, or the size of the older tree.
        position: u64,
        /// The size of the tree.
        size: u64,
    },
    /// The path leads to another root.
    #[error("the path leads to another root than the checkpoint's")]
    Root,
    /// The path leads to another root of the older tree.
    #[error("the path leads to another root than the older checkpoint's")]
    OlderRoot,
}

/// Checks that a leaf with hash `leaf` is entry `index` of the tree of `size` entries with this root.
///
/// # Errors
/// The path does not prove this.
pub fn verify_inclusion(leaf: Hash, index: u64, size: u64, path: &[Hash], root: &Hash) -> Result<(), ProofError> {
    let ranges = inclusion_ranges(index, size).ok_or(ProofError::Outside { position: index, size })?;
    if ranges.len() != path.len() {
        return Err(ProofError::Length { found: path.len(), expected: ranges.len(), size });
    }
    let computed = ranges.iter().zip(path).fold(leaf, |hash, (range, sibling)| {
        if range.begin > index { node_hash(&hash, sibling) } else { node_hash(sibling, &hash) }
    });
    if computed == *root { Ok(()) } else { Err(ProofError::Root) }
}

/// Checks that the tree of `to` entries begins with the tree of `from` entries.
///
/// # Errors
/// The path does not prove this.
pub fn verify_consistency(
    (from, from_root): (u64, &Hash),
    (to, to_root): (u64, &Hash),
    path: &[Hash],
) -> Result<(), ProofError> {
    let ranges = consistency_ranges(from, to).ok_or(ProofError::Outside { position: from, size: to })?;
    if ranges.len() != path.len() {
        return Err(ProofError::Length { found: path.len(), expected: ranges.len(), size: to });
    }
    if from == 0 {
        return if *from_root == empty_root() { Ok(()) } else { Err(ProofError::OlderRoot) };
    }
    let mut hashes = ranges.iter().zip(path);
    // Where the path does not begin with it, the old root itself is the subtree to start from.
    let start = match ranges.first() {
        Some(first) if first.end == from => hashes.next().map_or(*from_root, |(_, hash)| *hash),
        _ => *from_root,
    };
    let (older, newer) = hashes.fold((start, start), |(older, newer), (range, sibling)| {
        if range.begin >= from {
            (older, node_hash(&newer, sibling))
        } else {
            (node_hash(sibling, &older), node_hash(sibling, &newer))
        }
    });
    match (older == *from_root, newer == *to_root) {
        (false, _) => Err(ProofError::OlderRoot),
        (true, false) => Err(ProofError::Root),
        (true, true) => Ok(()),
    }
}

/// The roots of the complete subtrees of a tree, largest first. They suffice to append leaves and to compute the root.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    roots: Vec<Hash>,
}

impl Frontier {
    /// The frontier of the tree without leaves.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A frontier that was stored; `None` unless there is one root for each bit that is set in `size`.
    #[must_use]
    pub fn from_parts(size: u64, roots: Vec<Hash>) -> Option<Self> {
        (roots.len() == size.count_ones() as usize).then_some(Self { size, roots })
    }

    /// The number of leaves of the tree.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The roots of the complete subtrees, largest first.
    #[must_use]
    pub fn roots(&self) -> &[Hash] {
        &self.roots
    }

    /// The root of the tree.
    #[must_use]
    pub fn root(&self) -> Hash {
        join(&self.roots)
    }

    /// Appends a leaf. Calls `completed` for each node that the leaf completes, from the leaf upwards.
    pub fn push(&mut self, leaf: Hash, mut completed: impl FnMut(Node, Hash)) {
        let (mut hash, mut node) = (leaf, Node { level: 0, index: self.size });
        completed(node, hash);
        // Each bit that is set at the low end represents a subtree as large as the one just completed.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.roots.pop() {
                hash = node_hash(&left, &hash);
                node = Node { level: node.level + 1, index: node.index >> 1 };
                completed(node, hash);
            }
        }
        self.roots.push(hash);
        self.size += 1;
    }
}

impl fmt::Debug for Frontier {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Frontier").field("size", &self.size).finish_non_exhaustive()
    }
}
