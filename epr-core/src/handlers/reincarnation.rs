//! A new incarnation of the ledger, after a restore.
//!
//! Its first entry names the last checkpoint of the former incarnation: the largest one that is known, in the database
//! or published. Must never name a smaller one because the published one could not be read.

use super::former_checkpoint::FormerCheckpoint;
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
    /// The last checkpoint of the incarnation before, if it has one.
    pub checkpoint: Option<FormerCheckpoint>,
}

struct Reincarnate<'a> {
    engines: &'a Engines,
    call: &'a Call,
    why: &'a StatedReason,
    /// The checkpoint that is published for an incarnation.
    published: Option<(Incarnation, FormerCheckpoint)>,
}

impl Reincarnate<'_> {
    /// The largest known checkpoint of the incarnation that ends.
    fn last_checkpoint(&self, former: &FormerIncarnation) -> Option<FormerCheckpoint> {
        let stored = former.checkpoint.as_ref().map(FormerCheckpoint::stored);
        let published = self.published.as_ref().filter(|(incarnation, _)| *incarnation == former.incarnation);
        let published = published.map(|(_, published)| published.clone());
        match (stored, published) {
            (Some(stored), Some(published)) if published.size > stored.size => Some(published),
            (stored, published) => stored.or(published),
        }
    }
}

impl Mutation for Reincarnate<'_> {
    type Done = (FormerIncarnation, Option<FormerCheckpoint>);

    async fn apply(&self, change: &mut Change) -> ChangeResult<Self::Done> {
        let now = self.engines.now();
        let incarnation = Incarnation(self.engines.new_id());
        let former = change.tx.reincarnate(incarnation, now).await?;
        let checkpoint = self.last_checkpoint(&former);
        let names = (&former, checkpoint.as_ref());
        change.record(record::reincarnated(self.call, now, incarnation, names, self.why)?);
        Ok((former, checkpoint))
    }
}

/// Begins a new incarnation of the ledger.
pub(crate) async fn reincarnate(engines: &Engines, call: &Call, why: &StatedReason) -> Result<Reincarnated> {
    let published = published(engines).await?;
    let answered_at = AnsweredAt::default();
    let mutation = Reincarnate { engines, call, why, published };
    let (former, checkpoint) = commit(engines, Some(&answered_at), &mutation).await?;
    let revision = answered_at.get().ok_or(Error::Busy("The new incarnation is not known"))?;
    Ok(Reincarnated { revision, former, checkpoint })
}

/// The checkpoint that is published for the present incarnation.
#[cfg(feature = "proofs")]
async fn published(engines: &Engines) -> Result<Option<(Incarnation, FormerCheckpoint)>> {
    use crate::engine::ledger_tree::signed;
    use crate::engine::publication;

    let Some(target) = engines.core.settings.publication.as_deref() else { return Ok(None) };
    let incarnation = engines.store().registry_state().await?.revision.incarnation;
    let note = publication::published(target, incarnation).await.map_err(|error| {
        let why = crate::error::chain(&error);
        Error::Refused(format!(
            "The published checkpoint cannot be read ({why}). Without EPR_LEDGER_PUBLISH_URL, the last checkpoint of \
             the database is named instead"
        ))
    })?;
    Ok(note.map(|(_, checkpoint)| {
        let (origin, size) = (checkpoint.origin().to_owned(), signed(checkpoint.size));
        (incarnation, FormerCheckpoint { origin, size, root: checkpoint.root })
    }))
}

#[cfg(not(feature = "proofs"))]
async fn published(_: &Engines) -> Result<Option<(Incarnation, FormerCheckpoint)>> {
    Ok(None)
}
