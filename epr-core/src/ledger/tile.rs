//! Tiles and entry bundles (C2SP tlog-tiles, height 8): their paths, their bytes, and the nodes that they hold.
//!
//! Owns the addresses and encodings. Must never read or write storage.

use std::fmt;
use std::str::FromStr;

use super::merkle::{HASH_BYTES, Hash, Node, node_hash};

/// Hashes in a full tile, and entries in a full bundle.
pub const FULL_WIDTH: u16 = 256;
/// Levels of the tree in one tile.
const TILE_HEIGHT: u8 = 8;
/// The highest level of tiles: above it there is no tree of 64-bit size.
const MAX_TILE_LEVEL: u8 = 7;
/// The longest path accepted, in bytes: longer ones name indexes beyond 64 bits.
const MAX_PATH_BYTES: usize = 64;

/// The content of a tile: hashes or entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of the tree: nodes of level `8 * level`.
    Hashes {
        /// The level of the tile, 0 to 7.
        level: u8,
    },
    /// The data of the leaves.
    Entries,
}

/// The address of a tile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    /// The content of the tile.
    pub kind: TileKind,
    /// The index among the tiles of the same level, from 0.
    pub index: u64,
    /// The number of hashes or entries in the tile, 1 to 256.
    pub width: u16,
}

/// The error for a path that names no tile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no tile has the path {0:?}; expected, for example, tile/0/x001/067 or tile/entries/000.p/12")]
pub struct NotATile(String);

impl Tile {
    /// The tile of this kind and index in a log of `size` entries; `None` when the log has none there.
    #[must_use]
    pub fn in_log(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let before = index.checked_mul(u64::from(FULL_WIDTH))?;
        let there = hashes_at(kind, size).checked_sub(before)?;
        let width = u16::try_from(there).unwrap_or(FULL_WIDTH).min(FULL_WIDTH);
        (width > 0).then_some(Self { kind, index, width })
    }

    /// The tile in a log of `size` entries that holds this node or, for a node inside a tile, the nodes below it.
    #[must_use]
    pub fn holding(node: Node, size: u64) -> Option<Self> {
        let (level, within) = (node.level / TILE_HEIGHT, node.level % TILE_HEIGHT);
        let first = node.index.checked_shl(u32::from(within))?;
        Self::in_log(TileKind::Hashes { level }, first / u64::from(FULL_WIDTH), size)
    }

    /// Whether the tile holds 256 hashes or entries. A full tile never changes again.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.width == FULL_WIDTH
    }

    /// Whether a log of `size` entries contains every hash or entry of the tile, so that the log has published it.
    #[must_use]
    pub fn is_in_log(&self, size: u64) -> bool {
        Self::in_log(self.kind, self.index, size).is_some_and(|there| self.width <= there.width)
    }

    /// Every tile that a log gains when it grows from `from` to `to` entries: bundles, then hashes from the leaves up.
    /// A partial tile appears once, with its width at `to`.
    pub fn grown(from: u64, to: u64) -> impl Iterator<Item = Self> {
        let levels = (0..=MAX_TILE_LEVEL).map(|level| TileKind::Hashes { level });
        std::iter::once(TileKind::Entries).chain(levels).flat_map(move |kind| {
            let (before, after) = (hashes_at(kind, from), hashes_at(kind, to));
            let full = u64::from(FULL_WIDTH);
            let indexes = if after > before { before / full..after.div_ceil(full) } else { 0..0 };
            indexes.filter_map(move |index| Self::in_log(kind, index, to))
        })
    }
}

/// The number of hashes or entries of this kind in a log of `size` entries.
fn hashes_at(kind: TileKind, size: u64) -> u64 {
    match kind {
        TileKind::Entries => size,
        TileKind::Hashes { level } => size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(0),
    }
}

impl fmt::Display for Tile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes { level } => write!(out, "tile/{level}/")?,
            TileKind::Entries => out.write_str("tile/entries/")?,
        }
        let mut groups = Vec::new();
        let mut rest = self.index;
        while rest >= 1000 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        groups.push(rest);
        while groups.len() > 1 {
            if let Some(group) = groups.pop() {
                write!(out, "x{group:03}/")?;
            }
        }
        write!(out, "{:03}", groups.first().copied().unwrap_or(0))?;
        if self.is_full() { Ok(()) } else { write!(out, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = NotATile;

    fn from_str(path: &str) -> Result<Self, NotATile> {
        let read = || {
            let rest = path.strip_prefix("tile/")?;
            let (level, rest) = rest.split_once('/')?;
            let kind = match level {
                "entries" => TileKind::Entries,
                _ => TileKind::Hashes { level: level.parse().ok().filter(|level| *level <= MAX_TILE_LEVEL)? },
            };
            let (index, width) = match rest.split_once(".p/") {
                Some((index, width)) => (index, width.parse().ok().filter(|width| (1..FULL_WIDTH).contains(width))?),
                None => (rest, FULL_WIDTH),
            };
            let mut number = 0_u64;
            for group in index.split('/') {
                let digits = group.strip_prefix('x').unwrap_or(group);
                let value = digits.parse::<u64>().ok().filter(|_| digits.len() == 3)?;
                number = number.checked_mul(1000)?.checked_add(value)?;
            }
            Some(Self { kind, index: number, width })
        };
        let tile = if path.len() <= MAX_PATH_BYTES { read() } else { None };
        // One path a tile: signs, leading zeros and a misplaced `x` are refused by writing it again.
        let tile = tile.filter(|tile| tile.to_string() == path);
        tile.ok_or_else(|| NotATile(path.chars().take(MAX_PATH_BYTES).collect()))
    }
}

/// The reason why bytes are not the content of a tile or bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TileError {
    /// A tile of hashes has the wrong size.
    #[error("the tile has {found} bytes, but {width} hashes have {expected}")]
    Length {
        /// The number of bytes found.
        found: usize,
        /// The number of bytes required.
        expected: usize,
        /// The number of hashes in the tile.
        width: u16,
    },
    /// A bundle ends inside an entry, or has more or fewer entries than its width.
    #[error("the bundle does not hold exactly {width} entries")]
    Entries {
        /// The number of entries in the bundle.
        width: u16,
    },
}

/// Reads the hashes of a tile of this width.
///
/// # Errors
/// The number of bytes does not fit the width.
pub fn read_hashes(bytes: &[u8], width: u16) -> Result<Vec<Hash>, TileError> {
    let expected = usize::from(width) * HASH_BYTES;
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    if bytes.len() != expected || !rest.is_empty() {
        return Err(TileError::Length { found: bytes.len(), expected, width });
    }
    Ok(hashes.to_vec())
}

/// The bytes of a tile with these hashes.
#[must_use]
pub fn write_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.concat()
}

/// Reads the entries of a bundle of this width.
///
/// # Errors
/// The bytes are not exactly `width` entries.
pub fn read_entries(mut bytes: &[u8], width: u16) -> Result<Vec<&[u8]>, TileError> {
    let wrong = TileError::Entries { width };
    let mut entries = Vec::with_capacity(usize::from(width));
    while let Some((length, rest)) = bytes.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let (entry, rest) = rest.split_at_checked(length).ok_or_else(|| wrong.clone())?;
        entries.push(entry);
        bytes = rest;
    }
    if bytes.is_empty() && entries.len() == usize::from(width) { Ok(entries) } else { Err(wrong) }
}

/// Appends one entry to a bundle; `None` when it is longer than 65,535 bytes.
#[must_use]
pub fn write_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Option<()> {
    bundle.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
    bundle.extend_from_slice(entry);
    Some(())
}

/// The hash of a node, from the tile of hashes that holds it ([`Tile::holding`]); `None` when the tile is too narrow.
#[must_use]
pub fn node_in_tile(hashes: &[Hash], node: Node) -> Option<Hash> {
    let within = node.level % TILE_HEIGHT;
    let below = 1_usize << within;
    let first = node.index.checked_shl(u32::from(within))? % u64::from(FULL_WIDTH);
    let first = usize::try_from(first).ok()?;
    let mut level = hashes.get(first..first + below)?.to_vec();
    while level.len() > 1 {
        level = level.as_chunks::<2>().0.iter().map(|[left, right]| node_hash(left, right)).collect();
    }
    level.first().copied()
}
