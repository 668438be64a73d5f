//! Verification of the ledger's tree: stored tiles and checkpoints, and those that were kept elsewhere, compared with
//! what the entries say.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use tokio::task::JoinHandle;

use super::verify_incarnations::Beginning;
use crate::domain::Incarnation;
use crate::engine::Engines;
use crate::engine::ledger_tree::{leaf_data, signed, unsigned};
use crate::error::Result;
use crate::ledger::checkpoint::Checkpoint;
use crate::ledger::edge::tile_root;
use crate::ledger::merkle::Hash;
use crate::ledger::note::{Note, VerifierKey};
use crate::ledger::tile::{FULL_WIDTH, read_hashes};
use crate::ledger::verify::Finding;
use crate::ledger::verify_tree::{TreeVerifier, partial_entries};
use crate::store::{RecordedIncarnation, StoreError, StoredCheckpoint};

/// Entries whose hashes are handed to the tree at a time.
const CHUNK: usize = 2048;
/// Rows that are read at a time.
const PAGE: u32 = 256;

/// Computes the tree on a thread of its own, while entries are being read and verified.
pub(crate) struct GrowingTree {
    chunk: Vec<Hash>,
    chunks: SyncSender<Vec<Hash>>,
    tree: JoinHandle<TreeVerifier>,
}

impl GrowingTree {
    pub(crate) fn start() -> Self {
        let (chunks, received) = sync_channel(64);
        Self { chunk: Vec::with_capacity(CHUNK), chunks, tree: tokio::task::spawn_blocking(move || grow(&received)) }
    }

    /// Appends a verified entry.
    pub(crate) fn entry(&mut self, entry_hash: &str) {
        // A verified hash has 64 digits.
        self.chunk.extend(leaf_data(entry_hash));
        if self.chunk.len() == CHUNK {
            let chunk = std::mem::replace(&mut self.chunk, Vec::with_capacity(CHUNK));
            // The thread ends after the sender does.
            let _ = self.chunks.send(chunk);
        }
    }

    pub(crate) async fn finish(self) -> Result<TreeVerifier> {
        let Self { chunk, chunks, tree } = self;
        let _ = chunks.send(chunk);
        drop(chunks);
        Ok(tree.await.map_err(|error| StoreError::corrupt("tree", error))?)
    }
}

fn grow(chunks: &Receiver<Vec<Hash>>) -> TreeVerifier {
    let mut tree = TreeVerifier::new();
    for chunk in chunks {
        for data in &chunk {
            tree.push(data);
        }
    }
    tree
}

/// The tiles and checkpoints that agree with the entries.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct TreeComparison {
    pub(crate) tiles: u64,
    pub(crate) checkpoints: u64,
    /// Checkpoints whose signatures were verified.
    pub(crate) signatures: u64,
    /// The number of entries of the largest stored checkpoint that agrees.
    pub(crate) covered: u64,
    pub(crate) finding: Option<Finding>,
}

/// Whether there is anything to compare a tree with: a checkpoint, or an incarnation that names one.
pub(crate) async fn has_checkpoints(engines: &Engines) -> Result<bool> {
    for recorded in engines.store().incarnations().await? {
        if recorded.why == REINCARNATE || engines.store().last_checkpoint(recorded.incarnation).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What the database calls an incarnation that an entry begins.
const REINCARNATE: &str = "reincarnate";

/// Compares every stored tile and checkpoint, and those that were kept elsewhere, with the tree. A verification of a
/// part of the ledger compares what lies within.
pub(crate) async fn compare(
    engines: &Engines,
    tree: &TreeVerifier,
    beginnings: &[Beginning],
    kept: &[Note],
    is_whole: bool,
) -> Result<TreeComparison> {
    let incarnations = engines.store().incarnations().await?;
    let mut found = Comparing {
        engines,
        tree,
        beginnings,
        is_whole,
        leaves: (0, Vec::new()),
        comparison: TreeComparison::default(),
    };
    for (at, recorded) in incarnations.iter().enumerate() {
        // What an earlier incarnation had from here on is another ledger.
        let end = incarnations.get(at + 1).map(|next| unsigned(next.first_sequence) - 1);
        if found.tiles(recorded.incarnation, end).await?.is_none()
            || found.checkpoints(recorded.incarnation, end).await?.is_none()
        {
            return Ok(found.comparison);
        }
    }
    if found.beginnings(&incarnations).await?.is_none() {
        return Ok(found.comparison);
    }
    for note in kept {
        if found.kept(note).await?.is_none() {
            break;
        }
    }
    Ok(found.comparison)
}

struct Comparing<'a> {
    engines: &'a Engines,
    tree: &'a TreeVerifier,
    /// The entries that begin incarnations, in their order.
    beginnings: &'a [Beginning],
    is_whole: bool,
    /// The number of a tile of leaves, and the data of the entries in it.
    leaves: (u64, Vec<Hash>),
    comparison: TreeComparison,
}

/// `None` after a finding.
type GoesOn = Result<Option<()>>;

impl Comparing<'_> {
    /// Ends the comparison with a finding.
    fn report(&mut self, finding: Finding) -> Option<()> {
        self.comparison.finding = Some(finding);
        None
    }

    async fn tiles(&mut self, incarnation: Incarnation, end: Option<u64>) -> GoesOn {
        let size = end.unwrap_or(u64::MAX).min(self.tree.size());
        for level in 0..8_u8 {
            let count = signed(size >> ((u32::from(level) + 1) * 8).min(63));
            let stored = self.engines.store().tile_count(incarnation, level).await?;
            let mut number = 0;
            while number < stored.min(count) {
                let page = self.engines.store().tiles(incarnation, level, number, PAGE).await?;
                for tile in page.iter().take_while(|tile| tile.number < count) {
                    if tile.number != number {
                        return Ok(self.report(Finding::MissingTile {
                            sequence: last_of(level, number),
                            level,
                            number,
                        }));
                    }
                    let expected = usize::try_from(number).ok().and_then(|at| self.tree.tile_roots(level).get(at));
                    let hashes = read_hashes(&tile.hashes, FULL_WIDTH).unwrap_or_default();
                    if expected != Some(&tile.root) || expected != Some(&tile_root(&hashes)) {
                        return Ok(self.report(Finding::ChangedTile {
                            sequence: last_of(level, number),
                            level,
                            number,
                        }));
                    }
                    number += 1;
                    self.comparison.tiles += 1;
                }
                if page.is_empty() {
                    return Ok(self.report(Finding::MissingTile { sequence: last_of(level, number), level, number }));
                }
            }
        }
        Ok(Some(()))
    }

    async fn checkpoints(&mut self, incarnation: Incarnation, end: Option<u64>) -> GoesOn {
        let keys = self.keys(incarnation).await?;
        let mut after = 0;
        loop {
            let page = self.engines.store().checkpoints(incarnation, after, PAGE).await?;
            for checkpoint in &page {
                if end.is_some_and(|end| unsigned(checkpoint.size) > end)
                    || (!self.is_whole && unsigned(checkpoint.size) > self.tree.size())
                {
                    return Ok(Some(()));
                }
                after = checkpoint.size;
                if self.stored(checkpoint, &keys).await?.is_none() {
                    return Ok(None);
                }
            }
            if page.is_empty() {
                return Ok(Some(()));
            }
        }
    }

    /// The public keys of this process, by which its own checkpoints are verified.
    async fn keys(&self, incarnation: Incarnation) -> Result<Vec<VerifierKey>> {
        match &self.engines.core.settings.signing {
            None => Ok(Vec::new()),
            Some(signing) => Ok(signing.keys.verifier_keys(&signing.origin_of(incarnation)).await?),
        }
    }

    async fn stored(&mut self, stored: &StoredCheckpoint, keys: &[VerifierKey]) -> GoesOn {
        let sequence = stored.size;
        let wrong = |why: &str| Finding::WrongCheckpoint { sequence, why: why.to_owned() };
        let Ok(note) = stored.note.parse::<Note>() else { return Ok(self.report(wrong("it is not a signed note"))) };
        let Ok(checkpoint) = note.text.parse::<Checkpoint>() else {
            return Ok(self.report(wrong("its text is not a checkpoint")));
        };
        if signed(checkpoint.size) != stored.size || checkpoint.root != stored.root {
            return Ok(self.report(wrong("its text has another size or root than its row")));
        }
        for key in keys {
            if let Err(error) = Checkpoint::verified(&note, key) {
                return Ok(self.report(wrong(&error.to_string())));
            }
        }
        self.comparison.signatures += u64::from(!keys.is_empty());
        self.comparison.checkpoints += 1;
        let agrees = self.root(&checkpoint).await?;
        if agrees.is_some() {
            self.comparison.covered = self.comparison.covered.max(checkpoint.size);
        }
        Ok(agrees)
    }

    /// Every recorded incarnation that an entry begins is tied to the one before it, and every such entry is recorded.
    async fn beginnings(&mut self, incarnations: &[RecordedIncarnation]) -> GoesOn {
        let store = self.engines.store();
        for (at, recorded) in incarnations.iter().enumerate().filter(|(_, one)| one.why == REINCARNATE) {
            let sequence = recorded.first_sequence;
            let Some(beginning) = self.beginnings.iter().find(|one| one.sequence() == sequence) else {
                // It began after this verification did, or lies after its range.
                let is_later = unsigned(sequence) > self.tree.size();
                if is_later && (!self.is_whole || store.registry_state().await?.head >= sequence) {
                    break;
                }
                let why = format!("it does not begin the incarnation {}", recorded.incarnation);
                return Ok(self.report(Finding::WrongIncarnation { sequence, why }));
            };
            let former = at.checked_sub(1).and_then(|at| incarnations.get(at));
            let stored = store.last_checkpoint(beginning.former()).await?;
            let named = match beginning.compare(recorded, former, stored.as_ref()) {
                Ok(named) => named,
                Err(finding) => return Ok(self.report(finding)),
            };
            if let Some(named) = named
                && self.root(&named).await?.is_none()
            {
                return Ok(None);
            }
        }
        let is_recorded = |one: &&Beginning| incarnations.iter().any(|known| known.first_sequence == one.sequence());
        if let Some(unknown) = self.beginnings.iter().find(|one| !is_recorded(one)) {
            let why = "the incarnation that it begins is not recorded".to_owned();
            return Ok(self.report(Finding::WrongIncarnation { sequence: unknown.sequence(), why }));
        }
        Ok(Some(()))
    }

    async fn root(&mut self, checkpoint: &Checkpoint) -> GoesOn {
        let sequence = signed(checkpoint.size);
        if checkpoint.size > self.tree.size() {
            let first_missing = signed(self.tree.size() + 1);
            return Ok(self.report(Finding::ShorterThanCheckpoint { sequence: first_missing, size: sequence }));
        }
        let leaves = self.leaves(checkpoint.size).await?;
        if self.tree.root_at(checkpoint.size, &leaves) != Some(checkpoint.root) {
            return Ok(self.report(Finding::DiffersFromCheckpoint { sequence }));
        }
        Ok(Some(()))
    }

    /// The data of the last entries of a tree of this size, which are in no full tile.
    async fn leaves(&mut self, size: u64) -> Result<Vec<Hash>> {
        let width = usize::try_from(partial_entries(size)).unwrap_or(0);
        let (number, known) = &self.leaves;
        if *number != size / u64::from(FULL_WIDTH) || known.len() < width {
            let number = size / u64::from(FULL_WIDTH);
            let first = number * u64::from(FULL_WIDTH);
            let last = (first + u64::from(FULL_WIDTH)).min(self.tree.size());
            let entries = self.engines.store().entry_hashes(signed(first + 1), signed(last)).await?;
            self.leaves = (number, entries.iter().filter_map(|entry| leaf_data(&entry.entry_hash)).collect());
        }
        Ok(self.leaves.1.get(..width).map(<[Hash]>::to_vec).unwrap_or_default())
    }

    /// A checkpoint that was kept elsewhere: the tree must have its root, and the ledger must still have it; or the
    /// ledger says that a restore lost entries below it.
    async fn kept(&mut self, note: &Note) -> GoesOn {
        let Ok(checkpoint) = note.text.parse::<Checkpoint>() else { return Ok(Some(())) };
        if self.beginnings.iter().any(|beginning| beginning.admits_loss_of(&checkpoint)) {
            self.comparison.checkpoints += 1;
            return Ok(Some(()));
        }
        if self.root(&checkpoint).await?.is_none() {
            return Ok(None);
        }
        self.comparison.checkpoints += 1;
        let sequence = signed(checkpoint.size);
        let incarnation = checkpoint.origin().rsplit('/').next().and_then(|id| id.parse().ok()).map(Incarnation);
        let Some(incarnation) = incarnation else { return Ok(Some(())) };
        for key in self.keys(incarnation).await? {
            if key.name() == checkpoint.origin()
                && let Err(error) = Checkpoint::verified(note, &key)
            {
                return Ok(self.report(Finding::WrongCheckpoint { sequence, why: error.to_string() }));
            }
        }
        let stored = self.engines.store().checkpoints(incarnation, sequence - 1, 1).await?;
        if stored.first().is_none_or(|stored| stored.size != sequence) {
            return Ok(self.report(Finding::MissingCheckpoint { sequence }));
        }
        Ok(Some(()))
    }
}

/// The sequence of the last entry below a full tile.
fn last_of(level: u8, number: i64) -> i64 {
    let below = 1_i64.checked_shl((u32::from(level) + 1) * 8).unwrap_or(i64::MAX);
    number.saturating_add(1).saturating_mul(below)
}
