//! Cosignatures: asks each witness to cosign the newest checkpoint, and stores what it answers.
//!
//! A witness that has seen more than the ledger has, or something else, is as good a proof of a cut or rewritten ledger
//! as a published checkpoint. Must never ask about a checkpoint that is not stored.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tracing::warn;

use super::ledger_tree::{LedgerTree, unsigned};
use crate::clock::Clock;
use crate::ledger::merkle::consistency_ranges;
use crate::ledger::note::Note;
use crate::publish::witness::{Witness, WitnessAnswer};
use crate::store::{Cosignature, Store, StoreError, StoredCheckpoint};

/// The most requests to one witness for one checkpoint: the first one may not know what the witness has seen, and
/// another process may ask at the same time.
const MAX_REQUESTS: usize = 3;

/// The witnesses, and what is known of each.
pub(crate) struct Witnessing {
    witnesses: Vec<Witness>,
    /// The cosignatures without which a checkpoint is not published.
    quorum: usize,
    /// The last size that each witness has seen, as this process knows.
    seen: Mutex<HashMap<String, u64>>,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum WitnessingError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{0}")]
    Inconsistent(String),
}

impl Witnessing {
    pub(crate) fn new(witnesses: Vec<Witness>, quorum: usize) -> Self {
        Self { witnesses, quorum, seen: Mutex::default() }
    }

    /// Asks the witnesses that have not cosigned the newest checkpoint. Returns whether enough have.
    pub(crate) async fn cosign(
        &self,
        store: &dyn Store,
        clock: &dyn Clock,
        newest: &StoredCheckpoint,
    ) -> Result<bool, WitnessingError> {
        let known = store.cosignatures(newest.incarnation, newest.size).await?;
        let mut count = known.len();
        for witness in &self.witnesses {
            if known.iter().any(|one| one.witness == witness.name()) {
                continue;
            }
            if let Some(line) = self.ask(store, newest, witness).await? {
                let cosignature = Cosignature { witness: witness.name().to_owned(), line, received_at: clock.now() };
                store.add_cosignature(newest.incarnation, newest.size, &cosignature).await?;
                count += 1;
            }
        }
        Ok(count >= self.quorum)
    }

    async fn ask(
        &self,
        store: &dyn Store,
        newest: &StoredCheckpoint,
        witness: &Witness,
    ) -> Result<Option<String>, WitnessingError> {
        let (name, size) = (witness.name(), unsigned(newest.size));
        let note: Note = newest.note.parse().map_err(|error| StoreError::corrupt("audit_checkpoints.note", error))?;
        let mut old = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied().unwrap_or(0);
        for _ in 0..MAX_REQUESTS {
            let Some(ranges) = consistency_ranges(old, size) else {
                return Err(WitnessingError::Inconsistent(format!(
                    "the witness {name} has seen {old} entries, but the newest checkpoint has {size}"
                )));
            };
            let path = LedgerTree { store, incarnation: newest.incarnation, size }.path(&ranges).await?;
            match witness.add_checkpoint(old, &path, &note).await {
                WitnessAnswer::Cosigned(line) => {
                    self.seen.lock().unwrap_or_else(PoisonError::into_inner).insert(name.to_owned(), size);
                    return Ok(Some(line));
                }
                WitnessAnswer::OtherSize(seen) if seen != old => old = seen,
                // The same size with another root, or a path that leads elsewhere.
                WitnessAnswer::OtherSize(_) | WitnessAnswer::Inconsistent => {
                    return Err(WitnessingError::Inconsistent(format!(
                        "the witness {name} says that the checkpoint of {size} entries does not continue what it has \
                         seen"
                    )));
                }
                WitnessAnswer::Failed(why) => {
                    warn!(witness = name, why, "ledger_witness_failed");
                    return Ok(None);
                }
            }
        }
        warn!(witness = name, why = "it names another size each time", "ledger_witness_failed");
        Ok(None)
    }
}
