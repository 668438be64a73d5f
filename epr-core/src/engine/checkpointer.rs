//! The checkpointer: signs the tree over the committed entries, one process at a time.
//!
//! It reads what is committed, signs, and then appends the checkpoint with the tiles that it needs in one transaction,
//! which fails if another signer came first: a note that was not stored never leaves the process. It takes no lock of
//! the ledger, and must never sign a smaller tree, or one that does not begin with the tree signed last.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::{error, info, warn};

use super::core::Core;
use super::ledger_tree::{LedgerTree, leaf_data, signed, unsigned, with_cosignatures};
use super::publication::{self, PublicationError};
#[cfg(feature = "publish")]
use super::witnessing::WitnessingError;
use crate::domain::{Incarnation, Timestamp};
use crate::error::chain;
use crate::ledger::GENESIS_HASH;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::edge::{FullTile, RightEdge};
use crate::ledger::merkle::{Hash, leaf_hash};
use crate::ledger::tile::{FULL_WIDTH, write_hashes};
use crate::metrics::CheckpointStep;
use crate::publish::ledger_target::TargetError;
use crate::signing::{LedgerSigning, SigningError};
use crate::store::{EntryHashes, StoreError, StoredCheckpoint, StoredTile};

/// Entries that are read and whose tiles are stored at a time: a multiple of 256.
const STEP: u64 = 65_536;

/// The state of the signer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct CheckpointerState {
    /// The newest checkpoint that this process has signed or read: its incarnation, size, root and time.
    pub(crate) last: Option<(Incarnation, i64, Hash, Timestamp)>,
    /// Why nothing is signed any more.
    pub(crate) inconsistent: Option<String>,
    /// Why the last attempt failed to sign, cosign or publish. It is repeated after the interval.
    pub(crate) failing: Option<String>,
    /// The number of entries that are published, as this process knows.
    pub(crate) published: Option<u64>,
    /// The number of entries of the newest checkpoint that enough witnesses have cosigned, as this process knows.
    pub(crate) cosigned: Option<i64>,
}

/// What an attempt came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckpointOutcome {
    /// A checkpoint of this many entries was stored.
    Signed(i64),
    /// The ledger has not grown since the last checkpoint.
    Unchanged,
    /// The last checkpoint is younger than the interval.
    TooEarly,
    /// Another signer came first.
    Overtaken,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckpointFailure {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Signing(#[from] SigningError),
    #[error("the ledger could not be published")]
    Publication(#[source] TargetError),
    #[error("{0}")]
    Inconsistent(String),
}

impl CheckpointFailure {
    /// The step that failed; `None` if nothing failed, but the ledger is inconsistent.
    fn step(&self) -> Option<CheckpointStep> {
        match self {
            Self::Store(_) => Some(CheckpointStep::read),
            Self::Signing(_) => Some(CheckpointStep::sign),
            Self::Publication(_) => Some(CheckpointStep::publish),
            Self::Inconsistent(_) => None,
        }
    }
}

#[cfg(feature = "publish")]
impl From<WitnessingError> for CheckpointFailure {
    fn from(error: WitnessingError) -> Self {
        match error {
            WitnessingError::Store(error) => Self::Store(error),
            WitnessingError::Inconsistent(why) => Self::Inconsistent(why),
        }
    }
}

impl From<PublicationError> for CheckpointFailure {
    fn from(error: PublicationError) -> Self {
        match error {
            PublicationError::Store(error) => Self::Store(error),
            PublicationError::Target(error) => Self::Publication(error),
            PublicationError::Inconsistent(why) => Self::Inconsistent(why),
        }
    }
}

/// Signs checkpoints of one ledger.
pub(crate) struct Checkpointer {
    core: Arc<Core>,
    state: Mutex<CheckpointerState>,
}

impl Checkpointer {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Self { core, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, CheckpointerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state; `None` when no key is configured.
    pub(crate) fn state(&self) -> Option<CheckpointerState> {
        self.core.settings.signing.as_ref().map(|_| self.lock().clone())
    }

    /// Signs at the interval of the settings until `stop` is ready. Returns at once when no key is configured.
    pub(crate) async fn run(&self, stop: impl Future<Output = ()> + Send) {
        let Some(signing) = self.core.settings.signing.clone() else { return };
        let mut stop = std::pin::pin!(stop);
        loop {
            let round = async {
                self.sign_and_publish(&signing).await;
                tokio::time::sleep(signing.interval).await;
            };
            // The key, the witnesses and the place of publication can be slow. What is left undone is done after the
            // next start: a note that was not stored never leaves the process, and a file is written once.
            tokio::select! {
                () = &mut stop => return,
                () = round => {}
            }
        }
    }

    async fn sign_and_publish(&self, signing: &LedgerSigning) {
        match self.sign_then_publish(signing, false).await {
            Ok(CheckpointOutcome::Signed(size)) => info!(size, "ledger_checkpoint_signed"),
            Ok(_) => {}
            Err(failure) => self.report(failure),
        }
    }

    async fn sign_then_publish(
        &self,
        signing: &LedgerSigning,
        now: bool,
    ) -> Result<CheckpointOutcome, CheckpointFailure> {
        // At the start, and not only when the ledger has grown.
        signing.keys.check().await?;
        // What was published before binds the first signature of a process.
        if self.lock().published.is_none() {
            self.compare_with_published().await?;
        }
        let outcome = self.attempt(signing, now).await?;
        let is_cosigned = self.cosign_and_publish().await?;
        self.lock().failing = (!is_cosigned).then(|| "too few witnesses have cosigned the checkpoint".to_owned());
        Ok(outcome)
    }

    /// Has the newest checkpoint cosigned and published, unless that has been done. It is not published before enough
    /// witnesses have cosigned it: then this is `false`.
    async fn cosign_and_publish(&self) -> Result<bool, CheckpointFailure> {
        #[cfg(feature = "publish")]
        if let Some(witnessing) = &self.core.settings.witnessing {
            let store = &*self.core.store;
            let incarnation = store.registry_state().await?.revision.incarnation;
            let Some(newest) = store.last_checkpoint(incarnation).await? else { return Ok(true) };
            if !witnessing.cosign(store, &*self.core.clock, &newest).await? {
                self.core.metrics.checkpoint_failed(CheckpointStep::cosign);
                return Ok(false);
            }
            self.lock().cosigned = Some(newest.size);
        }
        self.publish().await?;
        Ok(true)
    }

    fn report(&self, failure: CheckpointFailure) {
        let known = self.note(&failure);
        let CheckpointFailure::Inconsistent(why) = failure else {
            warn!(error = chain(&failure), "ledger_checkpoint_failed");
            return;
        };
        if known.as_ref() != Some(&why) {
            let hint = "nothing is signed until this is explained: see docs/PROOFS.md";
            error!(why, hint, "ledger_inconsistent");
        }
    }

    /// Counts a failure, and keeps it for `/readyz`. Returns the inconsistency that was known before.
    fn note(&self, failure: &CheckpointFailure) -> Option<String> {
        if let Some(step) = failure.step() {
            self.core.metrics.checkpoint_failed(step);
            self.lock().failing = Some(chain(failure));
        }
        match failure {
            CheckpointFailure::Inconsistent(why) => self.lock().inconsistent.replace(why.clone()),
            _ => None,
        }
    }

    async fn compare_with_published(&self) -> Result<(), CheckpointFailure> {
        let Some(target) = self.core.settings.publication.as_deref() else { return Ok(()) };
        let store = &*self.core.store;
        let incarnation = store.registry_state().await?.revision.incarnation;
        let newest = store.last_checkpoint(incarnation).await?;
        let size = publication::compare(store, target, incarnation, newest.as_ref()).await?;
        self.lock().published = Some(size);
        Ok(())
    }

    /// Publishes the newest checkpoint unless that has been done.
    async fn publish(&self) -> Result<(), CheckpointFailure> {
        let Some(target) = self.core.settings.publication.as_deref() else { return Ok(()) };
        let store = &*self.core.store;
        let incarnation = store.registry_state().await?.revision.incarnation;
        let Some(newest) = store.last_checkpoint(incarnation).await? else { return Ok(()) };
        if self.lock().published.is_some_and(|size| size >= unsigned(newest.size)) {
            return Ok(());
        }
        let newest = with_cosignatures(store, newest).await?;
        publication::publish(store, target, &newest).await?;
        self.lock().published = Some(unsigned(newest.size));
        Ok(())
    }

    /// Makes a checkpoint now if the ledger has grown, whatever the interval is.
    pub(crate) async fn make_now(&self) -> Option<Result<CheckpointOutcome, CheckpointFailure>> {
        let signing = self.core.settings.signing.clone()?;
        let made = self.sign_then_publish(&signing, true).await;
        if let Err(failure) = &made {
            self.note(failure);
        }
        Some(made)
    }

    async fn attempt(&self, signing: &LedgerSigning, now: bool) -> Result<CheckpointOutcome, CheckpointFailure> {
        let store = &*self.core.store;
        let state = store.registry_state().await?;
        let (incarnation, head) = (state.revision.incarnation, unsigned(state.head));
        let last = store.last_checkpoint(incarnation).await?;
        self.compare_with_memory(incarnation, last.as_ref())?;
        let previous = last.as_ref().map_or(0, |last| unsigned(last.size));
        if head < previous {
            return Err(CheckpointFailure::Inconsistent(format!(
                "a checkpoint of {previous} entries was signed, but the ledger has only {head}"
            )));
        }
        let age = |last: &StoredCheckpoint| self.core.now().unix_micros() - last.signed_at.unix_micros();
        let interval = i64::try_from(signing.interval.as_micros()).unwrap_or(i64::MAX);
        if head == previous {
            self.remember(last.as_ref());
            return Ok(CheckpointOutcome::Unchanged);
        }
        // Another process signs. A time in the future is that of a clock that was wrong.
        if !now && last.as_ref().is_some_and(|last| (0..interval / 10 * 9).contains(&age(last))) {
            self.remember(last.as_ref());
            return Ok(CheckpointOutcome::TooEarly);
        }
        let (edge, tiles) = self.grow(incarnation, last.as_ref(), head).await?;
        let (root, now) = (edge.root(), self.core.now());
        let checkpoint = Checkpoint::new(&signing.origin_of(incarnation), head, root).map_err(SigningError::from)?;
        let note = signing.keys.sign(&checkpoint, unsigned(now.unix_micros() / 1_000_000)).await?.to_string();
        let checkpoint = StoredCheckpoint { incarnation, size: signed(head), root, note, signed_at: now };
        if !store.add_checkpoint(signed(previous), &checkpoint, &tiles).await? {
            return Ok(CheckpointOutcome::Overtaken);
        }
        self.remember(Some(&checkpoint));
        Ok(CheckpointOutcome::Signed(checkpoint.size))
    }

    /// Grows the tree from the stored tiles to `head` entries. Returns its edge, and the tiles that are not stored yet.
    async fn grow(
        &self,
        incarnation: Incarnation,
        last: Option<&StoredCheckpoint>,
        head: u64,
    ) -> Result<(RightEdge, Vec<StoredTile>), CheckpointFailure> {
        let store = &*self.core.store;
        let covered = unsigned(store.tile_count(incarnation, 0).await?) * u64::from(FULL_WIDTH);
        if covered > head {
            return Err(CheckpointFailure::Inconsistent(format!(
                "tiles of {covered} entries are stored, but the ledger has only {head}"
            )));
        }
        if let Some(last) = last {
            let signed_tree = LedgerTree { store, incarnation, size: unsigned(last.size) };
            if signed_tree.root().await? != last.root {
                return Err(CheckpointFailure::Inconsistent(format!(
                    "the first {} entries no longer have the root that was signed for them",
                    last.size
                )));
            }
        }
        let mut edge = LedgerTree { store, incarnation, size: covered }.edge().await?;
        let mut tiles = Vec::new();
        let mut previous_hash = match covered {
            0 => GENESIS_HASH.to_owned(),
            _ => store.entry_hashes(signed(covered), signed(covered)).await?.pop().map_or_else(String::new, hash_of),
        };
        while edge.size() < head {
            if !tiles.is_empty() {
                store.add_tiles(incarnation, &tiles).await?;
                tiles.clear();
            }
            let end = (edge.size() + STEP).min(head);
            for entry in store.entry_hashes(signed(edge.size() + 1), signed(end)).await? {
                let data = following(&entry, edge.size() + 1, &previous_hash)?;
                edge.push(leaf_hash(&data), |tile| tiles.push(stored(&tile)));
                previous_hash = entry.entry_hash;
            }
            if edge.size() < end {
                return Err(CheckpointFailure::Inconsistent(format!("entry {} is missing", edge.size() + 1)));
            }
        }
        Ok((edge, tiles))
    }

    /// Compares the database with what this process has seen: one that was replaced by an older copy lacks it.
    fn compare_with_memory(
        &self,
        incarnation: Incarnation,
        last: Option<&StoredCheckpoint>,
    ) -> Result<(), CheckpointFailure> {
        let mut state = self.lock();
        let Some((known, size, root, _)) = state.last else { return Ok(()) };
        if known != incarnation {
            *state = CheckpointerState::default();
            return Ok(());
        }
        let why = match last {
            Some(last) if last.size > size || (last.size == size && last.root == root) => return Ok(()),
            Some(last) if last.size == size => format!("the checkpoint of {size} entries has another root than before"),
            _ => format!("the checkpoint of {size} entries, which this process has seen, is gone"),
        };
        Err(CheckpointFailure::Inconsistent(why))
    }

    fn remember(&self, last: Option<&StoredCheckpoint>) {
        let mut state = self.lock();
        state.inconsistent = None;
        if let Some(StoredCheckpoint { incarnation, size, root, signed_at, .. }) = last {
            state.last = Some((*incarnation, *size, *root, *signed_at));
        }
    }
}

fn hash_of(entry: EntryHashes) -> String {
    entry.entry_hash
}

/// The leaf of `entry`, which must be entry `sequence` and follow the entry with this hash.
fn following(entry: &EntryHashes, sequence: u64, previous_hash: &str) -> Result<Hash, CheckpointFailure> {
    if unsigned(entry.sequence) != sequence {
        return Err(CheckpointFailure::Inconsistent(format!("entry {sequence} is missing")));
    }
    if entry.previous_hash != previous_hash {
        return Err(CheckpointFailure::Inconsistent(format!("entry {sequence} does not follow the entry before it")));
    }
    leaf_data(&entry.entry_hash)
        .ok_or_else(|| CheckpointFailure::Inconsistent(format!("the hash of entry {sequence} is not 64 hex digits")))
}

fn stored(tile: &FullTile) -> StoredTile {
    StoredTile { level: tile.level, number: signed(tile.index), root: tile.root, hashes: write_hashes(&tile.hashes) }
}
