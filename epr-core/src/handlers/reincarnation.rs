//! A new incarnation of the ledger, after a restore.

use super::record;
use super::transaction::{Change, ChangeResult, Mutation, commit};
use crate::call::{AnsweredAt, Call};
use crate::domain::{Incarnation, Revision, StatedReason};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::store::FormerIncarnation;

/// A new incarnation of the ledger, and the one that it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reincarnated {
    /// The first revision of the new incarnation.
    pub revision: Revision,
    /// The incarnation before.
    pub former: FormerIncarnation,
}

struct Reincarnate<'a> {
    engines: &'a Engines,
    call: &'a Call,
    why: &'a StatedReason,
}

impl Mutation for Reincarnate<'_> {
    type Done = FormerIncarnation;

    async fn apply(&self, change: &mut Change) -> ChangeResult<FormerIncarnation> {
        let now = self.engines.now();
        let incarnation = Incarnation(self.engines.new_id());
        let former = change.tx.reincarnate(incarnation, now).await?;
        change.record(record::reincarnated(self.call, now, incarnation, &former, self.why)?);
        Ok(former)
    }
}

/// Begins a new incarnation of the ledger.
pub(crate) async fn reincarnate(engines: &Engines, call: &Call, why: &StatedReason) -> Result<Reincarnated> {
    let answered_at = AnsweredAt::default();
    let former = commit(engines, Some(&answered_at), &Reincarnate { engines, call, why }).await?;
    let revision = answered_at.get().ok_or(Error::Busy("The new incarnation is not known"))?;
    Ok(Reincarnated { revision, former })
}
