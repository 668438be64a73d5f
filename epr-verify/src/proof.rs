//! Proof files: one entry, its path in the tree, and a signed checkpoint.

use serde::Deserialize;

use crate::finding::{Level, Stop};
use crate::ledger::entry_hash;
use crate::ledger::merkle::{leaf_hash, verify_inclusion};
use crate::ledger::proof::InclusionProof;
use crate::signatures::{self, Keys, Signed};

/// What a proof file proves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenEntry {
    /// The sequence of the entry.
    pub sequence: u64,
    /// The canonical text of the entry.
    pub canonical: String,
    /// The checkpoint.
    pub signed: Signed,
}

/// The members of an entry that its place in the chain depends on.
#[derive(Deserialize)]
struct Link {
    previous_hash: String,
    sequence: u64,
}

/// Verifies a proof file.
///
/// # Errors
/// The file proves nothing.
pub fn verify(text: &str, keys: &Keys) -> Result<ProvenEntry, Stop> {
    let proof: InclusionProof = text.parse().map_err(|error| Stop::Unreadable(format!("{error}")))?;
    let signed = signatures::verify(&proof.checkpoint, keys)?;
    let canonical = proof.extra.and_then(|extra| String::from_utf8(extra).ok());
    let canonical = canonical.ok_or_else(|| Stop::Unreadable("the file has no text of an entry (extra)".into()))?;
    let Ok(link) = serde_json::from_str::<Link>(&canonical) else {
        return Stop::found(Level::Entry, "the text of the entry has no sequence or previous_hash");
    };
    if link.sequence != proof.index.saturating_add(1) {
        let (index, sequence) = (proof.index, link.sequence);
        return Stop::found(Level::Entry, format!("the text is that of entry {sequence}, but the index is {index}"));
    }
    let leaf = leaf_hash(&entry_hash(link.previous_hash.as_bytes(), canonical.as_bytes()));
    let checkpoint = &signed.checkpoint;
    if let Err(error) = verify_inclusion(leaf, proof.index, checkpoint.size, &proof.path, &checkpoint.root) {
        return Stop::found(Level::Root, error.to_string());
    }
    Ok(ProvenEntry { sequence: link.sequence, canonical, signed })
}
