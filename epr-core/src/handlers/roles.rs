//! Roles: create, read, change.

use std::collections::BTreeMap;

use tracing::info;
use uuid::Uuid;

use super::once::{commit_once, kept};
use super::transaction::{Change, ChangeResult, Mutation, commit};
use super::{events, record};
use crate::call::Call;
use crate::decision::condition;
use crate::domain::condition::Condition;
use crate::domain::role::unheld;
use crate::domain::{EntityType, KeyedRequest, NewRole, Once, Role, RolePatch, Timestamp};
use crate::engine::Engines;
use crate::error::{Error, Result};

/// Creates a role, and with it the actions that are new to the registry; under an idempotency key at most once.
///
/// # Errors
/// `Conflict` when the name is taken, or the key was used otherwise.
pub(crate) async fn create(
    engines: &Engines,
    call: &Call,
    request: Option<&KeyedRequest>,
    new: NewRole,
) -> Result<Once<Role>> {
    let role = wanted_role(engines, engines.now(), new)?;
    let done =
        commit_once(engines, call.answered_at.as_ref(), request, &CreateRole { call, role: &role }, |()| kept(&role))
            .await?;
    Ok(done.map(|()| {
        log_created(&role);
        role
    }))
}

/// The role that `new` asks for at `now`.
pub(super) fn wanted_role(engines: &Engines, now: Timestamp, new: NewRole) -> Result<Role> {
    check_types(engines, &new.scope_types)?;
    let role = new.into_record(engines.new_id(), now);
    check_conditions(&role.conditions, &role.permissions)?;
    Ok(role)
}

/// Returns an error when a condition does not compile, or is for an action that is not among `permissions`. Bodies are
/// checked when they are read; this is for requests that were built in code.
fn check_conditions(conditions: &BTreeMap<String, Condition>, permissions: &[String]) -> Result<()> {
    for (action, condition) in conditions {
        if !permissions.contains(action) {
            return Err(Error::field("conditions", unheld(action)));
        }
        condition::check(condition).map_err(|problem| Error::field("conditions", problem.under(action)))?;
    }
    Ok(())
}

/// Changes a role. A patch that changes nothing leaves no trace. An action that is removed loses its condition.
///
/// # Errors
/// `NotFound`; `Invalid` when a condition does not compile, or is for an action that the role does not hold.
pub(crate) async fn update(engines: &Engines, call: &Call, id: Uuid, patch: RolePatch) -> Result<Role> {
    patch.scope_types.as_ref().map_or(Ok(()), |types| check_types(engines, types))?;
    let (changed, role) =
        commit(engines, call.answered_at.as_ref(), &UpdateRole { engines, call, id, patch, now: engines.now() })
            .await?;
    if changed {
        log_updated(id);
    }
    Ok(role)
}

/// Behind HTTP they have been checked; a program that embeds the service may bring any types.
pub(super) fn check_types(engines: &Engines, types: &[EntityType]) -> Result<()> {
    let problem = engines.core.settings.entity_types.problem_in(types);
    problem.map_or(Ok(()), |problem| Err(Error::field("scope_types", problem)))
}

pub(super) fn log_created(role: &Role) {
    info!(role_id = %role.id, name = role.name, "role_created");
}

pub(super) fn log_updated(id: Uuid) {
    info!(role_id = %id, "role_updated");
}

pub(super) struct CreateRole<'a> {
    pub(super) call: &'a Call,
    pub(super) role: &'a Role,
}

impl Mutation for CreateRole<'_> {
    type Done = ();

    async fn apply(&self, change: &mut Change) -> ChangeResult<()> {
        let role = self.role;
        if !change.tx.insert_role(role).await? {
            return Err(Error::Conflict(format!("Role '{}' already exists", role.name)).into());
        }
        change.tx.set_role_actions(role.id, &role.permissions, &role.conditions, role.created_at).await?;
        change.record(record::role_created(self.call, role)?);
        Ok(())
    }
}

pub(super) struct UpdateRole<'a> {
    pub(super) engines: &'a Engines,
    pub(super) call: &'a Call,
    pub(super) id: Uuid,
    pub(super) patch: RolePatch,
    pub(super) now: Timestamp,
}

impl Mutation for UpdateRole<'_> {
    /// Whether anything changed, and the role as it is now.
    type Done = (bool, Role);

    async fn apply(&self, change: &mut Change) -> ChangeResult<(bool, Role)> {
        let before = change.tx.lock_role(self.id).await?.ok_or_else(|| not_found(self.id))?;
        let mut after = self.patch.apply(&before);
        if self.patch.conditions.is_some() {
            check_conditions(&after.conditions, &after.permissions)?;
        } else {
            after.conditions.retain(|action, _| after.permissions.contains(action));
        }
        if after == before {
            return Ok((false, before));
        }
        after.updated_at = self.now;
        change.tx.update_role(&after).await?;
        if (&after.permissions, &after.conditions) != (&before.permissions, &before.conditions) {
            change.tx.set_role_actions(self.id, &after.permissions, &after.conditions, self.now).await?;
        }
        change.record(record::role_updated(self.call, &before, &after)?);
        change.emit(events::role_updated(self.engines, self.call, &after));
        Ok((true, after))
    }
}

pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound(format!("Role {id} not found"))
}
