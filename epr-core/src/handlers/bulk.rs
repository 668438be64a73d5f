//! Many changes in one transaction: all of them are kept, with their ledger entries and events, or none.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::assignment_log::log_revoked;
use super::assignments::{Assign, Assigned, Revoke, Wanted};
use super::entities::check_attributes;
use super::principals::{self, CreatePrincipal, UpdatePrincipal};
use super::roles::{self, CreateRole, UpdateRole};
use super::transaction::{Change, ChangeResult, Mutation, commit};
use crate::call::Call;
use crate::domain::assignment::PrincipalType;
use crate::domain::{Assignment, BulkStep, Principal, PrincipalPatch, Role, RolePatch, Timestamp};
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
    let mut all_ready = Vec::with_capacity(steps.len());
    for (at, step) in steps.iter().enumerate() {
        all_ready.push(ready(engines, now, step, &all_ready).map_err(failed(at))?);
    }
    let all = ApplyAll { engines, call, now, steps: &all_ready, at: AtomicUsize::new(0) };
    let outcome = commit(engines, call.answered_at.as_ref(), &all).await;
    let changed = outcome.map_err(|why| {
        let at = Some(all.at.load(Ordering::Relaxed)).filter(|at| *at < steps.len());
        BulkFailure { at, why }
    })?;
    changed.iter().for_each(Changed::log);
    Ok(changed.iter().map(|done| !matches!(done, Changed::Nothing)).collect())
}

/// Prepares `step`, which follows the steps `before`.
fn ready(engines: &Engines, now: Timestamp, step: &BulkStep, before: &[Ready]) -> Result<Ready> {
    Ok(match step {
        BulkStep::CreateRole(new) => Ready::CreateRole(roles::wanted_role(engines, now, new.clone())?),
        BulkStep::UpdateRole(id, patch) => {
            patch.scope_types.as_ref().map_or(Ok(()), |types| roles::check_types(engines, types))?;
            Ready::UpdateRole(*id, patch.clone())
        }
        BulkStep::CreatePrincipal(new) => {
            check_attributes(&new.attributes)?;
            Ready::CreatePrincipal(new.clone().into_record(engines.new_id(), now))
        }
        BulkStep::UpdatePrincipal(principal_type, id, patch) => {
            patch.attributes.as_ref().map_or(Ok(()), check_attributes)?;
            Ready::UpdatePrincipal(principal_type.clone(), *id, patch.clone())
        }
        BulkStep::Assign(request) => Ready::Assign(None, Box::new(Wanted::of(engines, now, request.clone())?)),
        BulkStep::AssignCreated(name, request) => {
            let created = before.iter().find_map(|step| match step {
                Ready::CreateRole(role) if role.name == *name => Some(role.id),
                _ => None,
            });
            let role_id = created.ok_or_else(|| Error::Refused(format!("No earlier step creates a role {name}")))?;
            Ready::Assign(None, Box::new(Wanted::of(engines, now, request.clone())?.with_role(role_id)))
        }
        BulkStep::ExpectRole(id, changed_at) => Ready::ExpectRole(*id, *changed_at),
        BulkStep::ExpectPrincipal(principal_type, id, changed_at) => {
            Ready::ExpectPrincipal(principal_type.clone(), *id, *changed_at)
        }
        BulkStep::Reassign(id, new) => {
            Ready::Assign(Some(*id), Box::new(Wanted::of(engines, now, new.clone().into())?))
        }
    })
}

/// A step with its ids, which stay the same when the transaction has to be started again.
enum Ready {
    CreateRole(Role),
    UpdateRole(uuid::Uuid, RolePatch),
    CreatePrincipal(Principal),
    UpdatePrincipal(PrincipalType, uuid::Uuid, PrincipalPatch),
    ExpectRole(uuid::Uuid, Timestamp),
    ExpectPrincipal(PrincipalType, uuid::Uuid, Timestamp),
    /// The assignment to revoke first, and the one to create.
    Assign(Option<uuid::Uuid>, Box<Wanted>),
}

/// What a step changed, for its log lines.
enum Changed {
    Nothing,
    RoleCreated(Role),
    RoleUpdated(uuid::Uuid),
    PrincipalCreated(Principal),
    PrincipalUpdated(Principal),
    /// What was revoked, and what was made.
    Assigned(Option<Box<Assignment>>, Box<Assigned>),
}

impl Changed {
    fn log(&self) {
        match self {
            Self::Nothing => {}
            Self::RoleCreated(role) => roles::log_created(role),
            Self::RoleUpdated(id) => roles::log_updated(*id),
            Self::PrincipalCreated(principal) => principals::log_created(principal),
            Self::PrincipalUpdated(principal) => principals::log_updated(principal),
            Self::Assigned(revoked, assigned) => {
                if let Some(revoked) = revoked {
                    log_revoked(revoked);
                }
                assigned.log();
            }
        }
    }
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
    type Done = Vec<Changed>;

    async fn apply(&self, change: &mut Change) -> ChangeResult<Vec<Changed>> {
        let mut changed = Vec::with_capacity(self.steps.len());
        for (at, step) in self.steps.iter().enumerate() {
            self.at.store(at, Ordering::Relaxed);
            changed.push(self.step(change, step).await?);
        }
        self.at.store(self.steps.len(), Ordering::Relaxed);
        Ok(changed)
    }
}

impl ApplyAll<'_> {
    async fn step(&self, change: &mut Change, step: &Ready) -> ChangeResult<Changed> {
        let Self { engines, call, now, .. } = *self;
        Ok(match step {
            Ready::CreateRole(role) => {
                CreateRole { call, role }.apply(change).await?;
                Changed::RoleCreated(role.clone())
            }
            Ready::UpdateRole(id, patch) => {
                let update = UpdateRole { engines, call, id: *id, patch: patch.clone(), now };
                if update.apply(change).await?.0 { Changed::RoleUpdated(*id) } else { Changed::Nothing }
            }
            Ready::CreatePrincipal(wanted) => {
                Changed::PrincipalCreated(CreatePrincipal { engines, call, wanted }.apply(change).await?)
            }
            Ready::UpdatePrincipal(principal_type, id, patch) => {
                let update = UpdatePrincipal { engines, call, principal_type, id: *id, patch, now };
                match update.apply(change).await? {
                    (true, principal) => Changed::PrincipalUpdated(principal),
                    (false, _) => Changed::Nothing,
                }
            }
            Ready::ExpectRole(id, changed_at) => {
                let role = change.tx.lock_role(*id).await?.ok_or_else(|| roles::not_found(*id))?;
                expect(role.updated_at, *changed_at, "Role", *id)?
            }
            Ready::ExpectPrincipal(principal_type, id, changed_at) => {
                let found = change.tx.lock_principal((principal_type.as_str(), *id)).await?;
                let principal = found.ok_or_else(|| principals::not_found(*id))?;
                expect(principal.updated_at, *changed_at, "Principal", *id)?
            }
            Ready::Assign(revoked, wanted) => {
                let revoked = match *revoked {
                    Some(id) => Some(Box::new(Revoke { engines, call, id, now }.apply(change).await?)),
                    None => None,
                };
                let assigned = Assign { engines, call, wanted }.apply(change).await?;
                if assigned.is_new() { Changed::Assigned(revoked, Box::new(assigned)) } else { Changed::Nothing }
            }
        })
    }
}

/// Returns an error when an object was changed at another time than the one that is expected.
fn expect(changed_at: Timestamp, expected: Timestamp, kind: &str, id: uuid::Uuid) -> Result<Changed> {
    if changed_at == expected {
        return Ok(Changed::Nothing);
    }
    Err(Error::Conflict(format!("{kind} {id} was changed at {changed_at}, after it was read")))
}
