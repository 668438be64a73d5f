//! Many changes in one transaction: all of them are kept, with their ledger entries and events, or none.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::assignments::{self, Assign, Revoke};
use super::roles::{self, CreateRole, UpdateRole};
use super::transaction::{Change, ChangeResult, Mutation, commit};
use crate::call::Call;
use crate::domain::{Assignment, BulkStep, Role, RolePatch, Timestamp};
use crate::engine::Engines;
use crate::error::{Error, Result};

/// Most steps in one transaction: locks are held for a moment only.
pub const MAX_STEPS: usize = 1000;

/// The step that kept a whole transaction from being committed, by its index from 0; `None` when it was the commit.
#[derive(Debug)]
pub struct BulkFailure {
    /// Which step.
    pub at: Option<usize>,
    /// Why.
    pub why: Error,
}

/// Applies up to [`MAX_STEPS`] steps in their order, in one transaction. Tells of each whether it changed anything.
///
/// # Errors
/// The first step that fails; then nothing has changed.
pub(crate) async fn apply_all(
    engines: &Engines,
    call: &Call,
    steps: &[BulkStep],
) -> std::result::Result<Vec<bool>, BulkFailure> {
    let now = engines.now();
    let failed = |at| move |why| BulkFailure { at: Some(at), why };
    if steps.len() > MAX_STEPS {
        let why = Error::Refused(format!("at most {MAX_STEPS} changes fit into one transaction"));
        return Err(BulkFailure { at: None, why });
    }
    let ready = steps.iter().enumerate().map(|(at, step)| ready(engines, now, step).map_err(failed(at)));
    let ready = ready.collect::<std::result::Result<Vec<_>, _>>()?;
    let all = ApplyAll { engines, call, now, steps: &ready, at: AtomicUsize::new(0) };
    let outcome = commit(engines, &all).await;
    let changed = outcome.map_err(|why| {
        let at = Some(all.at.load(Ordering::Relaxed)).filter(|at| *at < steps.len());
        BulkFailure { at, why }
    })?;
    for (step, _) in ready.iter().zip(&changed).filter(|(_, changed)| **changed) {
        match step {
            Ready::CreateRole(role) => roles::log_created(role),
            Ready::UpdateRole(id, _) => roles::log_updated(*id),
            Ready::Assign(revoked, assignment) => {
                if let Some(id) = revoked {
                    assignments::log_revoked(&Assignment { id: *id, ..assignment.clone() });
                }
                assignments::log_assigned(assignment);
            }
        }
    }
    Ok(changed)
}

fn ready(engines: &Engines, now: Timestamp, step: &BulkStep) -> Result<Ready> {
    Ok(match step {
        BulkStep::CreateRole(new) => Ready::CreateRole(roles::wanted_role(engines, now, new.clone())?),
        BulkStep::UpdateRole(id, patch) => {
            patch.scope_types.as_ref().map_or(Ok(()), |types| roles::check_types(engines, types))?;
            Ready::UpdateRole(*id, patch.clone())
        }
        BulkStep::Assign(new) => Ready::Assign(None, assignments::wanted_assignment(engines, now, new.clone())?),
        BulkStep::Reassign(id, new) => {
            Ready::Assign(Some(*id), assignments::wanted_assignment(engines, now, new.clone())?)
        }
    })
}

/// A step with its ids, which stay the same when the transaction has to be started again.
enum Ready {
    CreateRole(Role),
    UpdateRole(uuid::Uuid, RolePatch),
    /// The assignments to revoke first, and those to create.
    Assign(Option<uuid::Uuid>, Assignment),
}

struct ApplyAll<'a> {
    engines: &'a Engines,
    call: &'a Call,
    now: Timestamp,
    steps: &'a [Ready],
    /// The step that is being applied, for the report of a failure.
    at: AtomicUsize,
}

impl Mutation for ApplyAll<'_> {
    /// Of each step, whether it changed anything.
    type Done = Vec<bool>;

    async fn apply(&self, change: &mut Change) -> ChangeResult<Vec<bool>> {
        let mut changed = Vec::with_capacity(self.steps.len());
        let Self { engines, call, now, .. } = *self;
        for (at, step) in self.steps.iter().enumerate() {
            self.at.store(at, Ordering::Relaxed);
            changed.push(match step {
                Ready::CreateRole(role) => {
                    CreateRole { call, role }.apply(change).await?;
                    true
                }
                Ready::UpdateRole(id, patch) => {
                    UpdateRole { engines, call, id: *id, patch: patch.clone(), now }.apply(change).await?.0
                }
                Ready::Assign(revoked, wanted) => {
                    if let Some(id) = *revoked {
                        Revoke { engines, call, id, now }.apply(change).await?;
                    }
                    Assign { engines, call, wanted }.apply(change).await?.0
                }
            });
        }
        self.at.store(self.steps.len(), Ordering::Relaxed);
        Ok(changed)
    }
}
