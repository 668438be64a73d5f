//! Publishing the ledger: the newest checkpoint with its tiles and bundles, at a place that the database's owner does
//! not control.
//!
//! Everything that a checkpoint needs is there before the checkpoint is. What was published binds the signer: the
//! database must contain it. Must never publish less than what is there.

use futures_util::future::join_all;

use super::ledger_tree::{LedgerTree, signed, unsigned};
use crate::domain::Incarnation;
use crate::error::{Error, chain};
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::note::Note;
use crate::ledger::tile::Tile;
use crate::publish::ledger_target::{LedgerTarget, Put, TargetError};
use crate::store::{Store, StoreError, StoredCheckpoint};

/// The file with the newest checkpoint.
const CHECKPOINT: &str = "checkpoint";
/// Tiles that are written at a time. Few, because each one is read from the database first.
const CONCURRENT_WRITES: usize = 4;

#[derive(Debug, thiserror::Error)]
pub(crate) enum PublicationError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Target(#[from] TargetError),
    /// What is published is not what the database has.
    #[error("{0}")]
    Inconsistent(String),
}

impl From<PublicationError> for Error {
    fn from(error: PublicationError) -> Self {
        match error {
            PublicationError::Store(error) => error.into(),
            PublicationError::Target(error) => Self::Refused(chain(&error)),
            PublicationError::Inconsistent(why) => Self::Refused(format!("The ledger is inconsistent: {why}")),
        }
    }
}

/// The checkpoint that is published for an incarnation, with the note around it; `None` when there is none.
pub(crate) async fn published(
    target: &dyn LedgerTarget,
    incarnation: Incarnation,
) -> Result<Option<(Note, Checkpoint)>, PublicationError> {
    let path = format!("{incarnation}/{CHECKPOINT}");
    let Some(bytes) = target.read(&path).await? else { return Ok(None) };
    let unreadable = || PublicationError::Inconsistent(format!("{path} is published, but is not a checkpoint"));
    let note: Note = String::from_utf8(bytes).ok().and_then(|text| text.parse().ok()).ok_or_else(unreadable)?;
    let checkpoint = note.text.parse().map_err(|_| unreadable())?;
    Ok(Some((note, checkpoint)))
}

/// Compares what is published with the newest checkpoint of the database. Returns the published size.
pub(crate) async fn compare(
    store: &dyn Store,
    target: &dyn LedgerTarget,
    incarnation: Incarnation,
    newest: Option<&StoredCheckpoint>,
) -> Result<u64, PublicationError> {
    let Some((_, there)) = published(target, incarnation).await? else { return Ok(0) };
    compare_published(store, incarnation, &there, newest).await?;
    Ok(there.size)
}

/// Compares the published checkpoint with the newest one of the database, which must have been read after it: another
/// process publishes meanwhile.
pub(crate) async fn compare_published(
    store: &dyn Store,
    incarnation: Incarnation,
    there: &Checkpoint,
    newest: Option<&StoredCheckpoint>,
) -> Result<(), PublicationError> {
    let (known, size) = (there.size, newest.map_or(0, |newest| unsigned(newest.size)));
    if known > size {
        return Err(PublicationError::Inconsistent(format!(
            "a checkpoint of {known} entries is published, but the newest one of the database has {size}"
        )));
    }
    let tree = LedgerTree { store, incarnation, size: known };
    if known > 0 && tree.root().await? != there.root {
        return Err(PublicationError::Inconsistent(format!(
            "the first {known} entries have another root than the published checkpoint"
        )));
    }
    Ok(())
}

/// Publishes the newest checkpoint and everything that it needs and that is not there yet. Returns the number of files
/// that were written.
pub(crate) async fn publish(
    store: &dyn Store,
    target: &dyn LedgerTarget,
    newest: &StoredCheckpoint,
) -> Result<u64, PublicationError> {
    let from = compare(store, target, newest.incarnation, Some(newest)).await?;
    let size = unsigned(newest.size);
    if from == size {
        return Ok(0);
    }
    let prefix = newest.incarnation;
    let tree = LedgerTree { store, incarnation: prefix, size };
    let mut written = 0;
    let mut tiles = Tile::grown(from, size).peekable();
    while tiles.peek().is_some() {
        let writes = tiles.by_ref().take(CONCURRENT_WRITES).map(|tile| put_tile(target, &tree, tile));
        written += join_all(writes).await.into_iter().sum::<Result<u64, _>>()?;
    }
    let path = format!("{prefix}/checkpoints/{:019}", signed(size));
    written += match target.put_new(&path, newest.note.as_bytes()).await? {
        Put::Written => 1,
        // It may have had other cosignatures.
        Put::Exists if text_of(target.read(&path).await?.as_deref()) == text_of(Some(newest.note.as_bytes())) => 0,
        Put::Exists => return Err(PublicationError::Inconsistent(format!("{path} is published with other content"))),
    };
    // Another process may have published more meanwhile.
    if published(target, newest.incarnation).await?.is_some_and(|(_, there)| there.size >= size) {
        return Ok(written);
    }
    target.replace(&format!("{prefix}/{CHECKPOINT}"), newest.note.as_bytes()).await?;
    Ok(written + 1)
}

/// The text of a note, without its signatures.
pub(crate) fn text_of(note: Option<&[u8]>) -> Option<String> {
    let note: Note = std::str::from_utf8(note?).ok()?.parse().ok()?;
    Some(note.text)
}

async fn put_tile(target: &dyn LedgerTarget, tree: &LedgerTree<'_>, tile: Tile) -> Result<u64, PublicationError> {
    put(target, &format!("{}/{tile}", tree.incarnation), &tree.bytes(tile).await?).await
}

/// Writes a new file; one that exists must have this content.
async fn put(target: &dyn LedgerTarget, path: &str, content: &[u8]) -> Result<u64, PublicationError> {
    if target.put_new(path, content).await? == Put::Written {
        return Ok(1);
    }
    match target.read(path).await? {
        Some(there) if there == content => Ok(0),
        _ => Err(PublicationError::Inconsistent(format!("{path} is published with other content"))),
    }
}
