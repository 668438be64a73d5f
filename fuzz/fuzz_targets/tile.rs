//! Tiles and bundles: one path each, one content for each sequence of bytes, and paths of any sizes through a tree.

#![no_main]

use epr_fuzz::ledger::merkle::{Node, verify_consistency, verify_inclusion};
use epr_fuzz::ledger::tile::{
    FULL_WIDTH, Tile, TileKind, node_in_tile, read_entries, read_hashes, write_entry, write_hashes,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(path) = std::str::from_utf8(bytes)
        && let Ok(tile) = path.parse::<Tile>()
    {
        assert_eq!(tile.to_string(), path);
        assert!((1..=FULL_WIDTH).contains(&tile.width));
        assert!(!tile.is_in_log(0));
        // A log as long as the tile reaches holds it, and a shorter one does not.
        let level = if let TileKind::Hashes { level } = tile.kind { level } else { 0 };
        let hashes = tile.index.checked_mul(256).and_then(|before| before.checked_add(u64::from(tile.width)));
        if let Some(size) = hashes.and_then(|hashes| hashes.checked_mul(1 << (8 * u32::from(level)))) {
            assert!(tile.is_in_log(size) && !tile.is_in_log(size - 1), "{path}");
        }
    }
    let Some(([first, second, size @ ..], rest)) = bytes.split_first_chunk::<10>() else { return };
    let size = u64::from_be_bytes(*size);
    let width = u16::from(*first) + 1;
    if let Ok(entries) = read_entries(rest, width) {
        let mut written = Vec::new();
        entries.iter().for_each(|entry| write_entry(&mut written, entry).expect("an entry that was read"));
        assert_eq!(written, rest);
    }
    if let Ok(hashes) = read_hashes(rest, width) {
        assert_eq!(write_hashes(&hashes), rest);
        let _ = node_in_tile(&hashes, Node { level: *second, index: size });
    }
    // As many hashes as there are, for a tree of any size.
    let hashes = rest.as_chunks::<32>().0;
    if let [root, older, path @ ..] = hashes {
        let index = size >> (second % 64);
        assert!(verify_inclusion(*older, index, size, path, root).is_err() || (size == 1 && older == root));
        let same = index == size && older == root;
        let empty = index == 0;
        assert!(verify_consistency((index, older), (size, root), path).is_err() || same || empty);
    }
});
