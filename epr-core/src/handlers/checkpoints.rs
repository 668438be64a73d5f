//! What the ledger publishes about itself: checkpoints, tiles and proofs. Reads only.

use crate::domain::Incarnation;
use crate::engine::Engines;
use crate::engine::ledger_tree::{LedgerTree, unsigned, with_cosignatures};
use crate::engine::publication;
use crate::error::{Error, Result, chain};
use crate::handlers::audit;
use crate::ledger::merkle::{Hash, consistency_ranges, inclusion_ranges};
use crate::ledger::note::Note;
use crate::ledger::proof::InclusionProof;
use crate::ledger::tile::Tile;
use crate::store::{ScanRange, StoreError, StoredCheckpoint};

/// The newest checkpoint of the present incarnation, with its cosignatures.
pub(crate) async fn newest(engines: &Engines) -> Result<StoredCheckpoint> {
    let incarnation = engines.store().registry_state().await?.revision.incarnation;
    let none = || Error::NotFound("The ledger has no checkpoint yet".to_owned());
    let newest = engines.store().last_checkpoint(incarnation).await?.ok_or_else(none)?;
    Ok(with_cosignatures(engines.store(), newest).await?)
}

/// The bytes of a tile or bundle of the newest checkpoint's tree.
pub(crate) async fn tile(engines: &Engines, tile: Tile) -> Result<Vec<u8>> {
    let tree = newest_tree(engines).await?;
    if !tile.is_in_log(tree.size) {
        return Err(Error::NotFound(format!("The tree of {} entries has no {tile}", tree.size)));
    }
    Ok(tree.bytes(tile).await?)
}

/// The proof that an entry is in the newest checkpoint's tree, with the canonical text of the entry.
pub(crate) async fn prove(engines: &Engines, sequence: i64) -> Result<InclusionProof> {
    let checkpoint = newest(engines).await?;
    let (index, size) = (unsigned(sequence - 1), unsigned(checkpoint.size));
    let Some(ranges) = inclusion_ranges(index, size).filter(|_| sequence > 0) else {
        return Err(Error::NotFound(format!("Entry {sequence} is not among the {size} of the newest checkpoint")));
    };
    let path = tree(engines, checkpoint.incarnation, size).path(&ranges).await?;
    let mut extra = None;
    audit::export(engines, ScanRange { from: sequence, to: sequence }, &mut |entry| {
        extra = Some(entry.canonical.as_bytes().to_vec());
        false
    })
    .await?;
    let note = checkpoint.note.parse().map_err(|error| StoreError::corrupt("audit_checkpoints.note", error))?;
    Ok(InclusionProof { extra, index, path, checkpoint: note })
}

/// The hashes that prove that the tree of `to` entries (the newest checkpoint's, if `None`) begins with that of `from`.
pub(crate) async fn consistency(engines: &Engines, from: u64, to: Option<u64>) -> Result<Vec<Hash>> {
    let newest = newest_tree(engines).await?;
    let to = to.unwrap_or(newest.size);
    let Some(ranges) = consistency_ranges(from, to).filter(|_| to <= newest.size) else {
        let size = newest.size;
        return Err(Error::Refused(format!("No such sizes: `from` at most `to`, and `to` at most {size}")));
    };
    Ok(tree(engines, newest.incarnation, to).path(&ranges).await?)
}

/// The verifier keys of the present incarnation, one a line.
pub(crate) async fn verifier_keys(engines: &Engines) -> Result<Vec<String>> {
    let none = || Error::NotFound("This process has no key for checkpoints".to_owned());
    let signing = engines.core.settings.signing.as_ref().ok_or_else(none)?;
    let incarnation = engines.store().registry_state().await?.revision.incarnation;
    let keys = signing.keys.verifier_keys(&signing.origin_of(incarnation)).await?;
    Ok(keys.iter().map(ToString::to_string).collect())
}

/// The checkpoints that are published, one for each incarnation; none when nothing is published.
pub(crate) async fn published(engines: &Engines) -> Result<Vec<Note>> {
    let Some(target) = engines.core.settings.publication.as_deref() else { return Ok(Vec::new()) };
    let mut notes = Vec::new();
    for recorded in engines.store().incarnations().await? {
        let note = publication::published(target, recorded.incarnation).await;
        let note = note.map_err(|error| {
            let why = chain(&error);
            Error::Refused(format!("The published checkpoints cannot be compared: {why}"))
        })?;
        notes.extend(note.map(|(note, _)| note));
    }
    Ok(notes)
}

async fn newest_tree(engines: &Engines) -> Result<LedgerTree<'_>> {
    let checkpoint = newest(engines).await?;
    Ok(tree(engines, checkpoint.incarnation, unsigned(checkpoint.size)))
}

fn tree(engines: &Engines, incarnation: Incarnation, size: u64) -> LedgerTree<'_> {
    LedgerTree { store: engines.store(), incarnation, size }
}
