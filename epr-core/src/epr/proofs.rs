//! Checkpoints of the ledger, and proofs from its tree.

use super::Epr;
use crate::call::Call;
use crate::domain::Timestamp;
use crate::engine::checkpointer::{CheckpointFailure, CheckpointOutcome};
use crate::engine::publication;
use crate::error::{Error, Result};
use crate::handlers::archive::{
    self, ArchiveCheck, ArchiveCheckOptions, ArchiveOptions, Archived, DropOptions, Dropped,
};
use crate::handlers::audit::{self, KeptElsewhere, Verification};
use crate::handlers::checkpoints;
use crate::ledger::merkle::Hash;
use crate::ledger::proof::InclusionProof;
use crate::ledger::tile::Tile;
use crate::publish::ledger_target::LedgerTarget;
use crate::store::{ScanRange, StoreError, StoredCheckpoint};

/// What this process knows of the checkpoints that it signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointStatus {
    /// The number of entries of the newest checkpoint, and the time of its signature.
    pub newest: Option<(i64, Timestamp)>,
    /// Why nothing is signed any more.
    pub inconsistent: Option<String>,
    /// Why the last attempt failed to sign, cosign or publish. It is repeated after the interval.
    pub failing: Option<String>,
    /// The number of entries that are published, as this process knows.
    pub published: Option<u64>,
    /// The number of entries of the newest checkpoint that enough witnesses have cosigned, as this process knows.
    pub cosigned: Option<i64>,
}

/// Checkpoints and proofs.
impl Epr {
    /// Signs checkpoints until `stop` is ready. Returns at once when no key is configured. Any number of processes may
    /// do this at the same time: one of them signs.
    pub async fn sign_checkpoints(&self, stop: impl Future<Output = ()> + Send) {
        self.engines.checkpointer.run(stop).await;
    }

    /// Signs a checkpoint now if the ledger has grown; `None` when no key is configured.
    ///
    /// # Errors
    /// The database is unavailable, or the ledger does not begin with what was signed last.
    pub async fn make_checkpoint(&self) -> Result<Option<CheckpointOutcome>> {
        let made = self.engines.checkpointer.make_now().await.transpose();
        made.map_err(|failure| match failure {
            CheckpointFailure::Store(error) => error.into(),
            CheckpointFailure::Publication(error) => Error::Unavailable(StoreError::Dependency(Box::new(error))),
            CheckpointFailure::Inconsistent(why) => Error::Refused(format!("The ledger is inconsistent: {why}")),
            CheckpointFailure::Signing(error) => error.into(),
        })
    }

    /// Publishes the newest checkpoint with everything that it needs. Returns the checkpoint and the number of files
    /// that were written.
    ///
    /// # Errors
    /// There is no checkpoint, the database or the target is unavailable, or something else is published.
    pub async fn publish_ledger(&self, target: &dyn LedgerTarget) -> Result<(StoredCheckpoint, u64)> {
        let newest = self.newest_checkpoint().await?;
        let written = publication::publish(self.store(), target, &newest).await?;
        Ok((newest, written))
    }

    /// Archives every whole bundle of entries below the published checkpoint that the options admit and that is not
    /// archived yet: each is read back and verified before its manifest is written. Nothing is deleted. A run that was
    /// interrupted is completed by the next one.
    ///
    /// # Errors
    /// Nothing is published, the options name an entry that is not, the archive is that of another ledger, the entries
    /// do not lead to the published checkpoint, or the database or a place is unavailable.
    pub async fn archive_ledger(
        &self,
        options: &ArchiveOptions<'_>,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Archived> {
        archive::write(&self.engines, options, progress).await
    }

    /// Reads an archive back and verifies it: checksums, texts, chain, tiles, tree and checkpoints, and that the
    /// database has the same entries.
    ///
    /// # Errors
    /// There is no archive of this ledger, or the database or the place is unavailable.
    pub async fn check_archive(
        &self,
        options: &ArchiveCheckOptions<'_>,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<ArchiveCheck> {
        archive::check(&self.engines, options, progress).await
    }

    /// Drops entries from the database that are archived and that a published checkpoint of the wanted age covers,
    /// after the whole archive was read back and verified; without confirmation it says what it would drop. Entries
    /// about the registry stay. A run that was interrupted is completed by the next one.
    ///
    /// # Errors
    /// There is no archive of this ledger, another process drops entries, the database has another entry than the
    /// archive, or the database or a place is unavailable.
    pub async fn drop_archived(
        &self,
        call: &Call,
        options: &DropOptions<'_>,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Dropped> {
        archive::drop_archived(&self.engines, call, options, progress).await
    }

    /// What this process knows of the checkpoints that it signs; `None` when no key is configured.
    #[must_use]
    pub fn checkpoint_status(&self) -> Option<CheckpointStatus> {
        let state = self.engines.checkpointer.state()?;
        let newest = state.last.map(|(_, size, _, signed_at)| (size, signed_at));
        Some(CheckpointStatus {
            newest,
            inconsistent: state.inconsistent,
            failing: state.failing,
            published: state.published,
            cosigned: state.cosigned,
        })
    }

    /// The newest checkpoint of the ledger.
    ///
    /// # Errors
    /// There is none, or the database is unavailable.
    pub async fn newest_checkpoint(&self) -> Result<StoredCheckpoint> {
        checkpoints::newest(&self.engines).await
    }

    /// The bytes of a tile or bundle of the newest checkpoint's tree.
    ///
    /// # Errors
    /// The tree does not have it, or the database is unavailable.
    pub async fn ledger_tile(&self, tile: Tile) -> Result<Vec<u8>> {
        checkpoints::tile(&self.engines, tile).await
    }

    /// The proof that the newest checkpoint covers an entry, with the entry's canonical text.
    ///
    /// # Errors
    /// The newest checkpoint does not cover it, or the database is unavailable.
    pub async fn prove_entry(&self, sequence: i64) -> Result<InclusionProof> {
        checkpoints::prove(&self.engines, sequence).await
    }

    /// The hashes that prove that the tree of `to` entries, or of the newest checkpoint, begins with that of `from`.
    ///
    /// # Errors
    /// The newest checkpoint covers fewer entries, or the database is unavailable.
    pub async fn prove_consistency(&self, from: u64, to: Option<u64>) -> Result<Vec<Hash>> {
        checkpoints::consistency(&self.engines, from, to).await
    }

    /// [`Epr::verify_ledger`] that also compares the ledger with what was kept elsewhere, and with the checkpoints that
    /// are published where the settings say.
    ///
    /// # Errors
    /// The database or the place of publication is unavailable, so that nothing was verified.
    pub async fn verify_ledger_against(
        &self,
        mut elsewhere: KeptElsewhere<'_>,
        range: ScanRange,
        former_numbers_to: Option<i64>,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Verification> {
        // Before the entries are read: the ledger grows meanwhile, and so does what is published.
        if range.from == 1 {
            elsewhere.checkpoints.extend(checkpoints::published(&self.engines).await?);
        }
        audit::verify_and_keep(&self.engines, range, former_numbers_to, elsewhere, progress).await
    }

    /// The verifier keys (vkeys) of the ledger.
    ///
    /// # Errors
    /// This process has no key, or the database is unavailable.
    pub async fn verifier_keys(&self) -> Result<Vec<String>> {
        checkpoints::verifier_keys(&self.engines).await
    }
}
