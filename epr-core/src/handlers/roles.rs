//! Roles: create, read, change.

use tracing::info;
use uuid::Uuid;

use super::change::{Change, Mutation, Step};
use super::{events, record};
use crate::domain::role::Action;
use crate::domain::{NewRole, Role, RolePatch, Text, Timestamp};
use crate::error::{Error, Result};
use crate::store::{Cursor, Page, Take, keep_rows};
use crate::{Call, Epr};

impl Epr {
    /// Creates a role, and with it the actions that are new to the registry.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn create_role(&self, call: &Call, new: NewRole) -> Result<Role> {
        let role = self.wanted_role(self.now(), new);
        self.commit(&CreateRole { call, role: &role }).await?;
        log_created(&role);
        Ok(role)
    }

    /// The role that `new` asks for at `now`.
    pub(super) fn wanted_role(&self, now: Timestamp, new: NewRole) -> Role {
        Role {
            id: self.new_id(),
            name: new.name.into_string(),
            description: new.description.map(Text::into_string),
            scope_types: new.scope_types,
            is_system: new.is_system,
            permissions: new.permissions.into_iter().map(Action::into_string).collect(),
            created_at: now,
            updated_at: now,
        }
    }

    /// One role.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn role(&self, id: Uuid) -> Result<Role> {
        self.store().role(id).await?.ok_or_else(|| not_found(id))
    }

    /// Roles, newest first.
    ///
    /// # Errors
    /// Only when the database is away or at fault.
    pub async fn roles(&self, page: &Page) -> Result<Vec<Role>> {
        let mut rows = Vec::new();
        self.store().roles(*page, &mut keep_rows(&mut rows)).await?;
        Ok(rows)
    }

    /// The same, row by row to `take`, until it says `false`.
    ///
    /// # Errors
    /// Only when the database is away or at fault.
    pub async fn show_roles(&self, page: Page, take: Take<'_, Role>) -> Result<()> {
        Ok(self.store().roles(page, take).await?)
    }

    /// The last row of the whole list that about `bytes` of JSON have room for; `None` when all of it has.
    ///
    /// # Errors
    /// Only when the database is away or at fault.
    pub async fn roles_end(&self, bytes: i64) -> Result<Option<Cursor>> {
        Ok(self.store().roles_end(bytes).await?)
    }

    /// Changes a role. A patch that changes nothing leaves no trace.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn update_role(&self, call: &Call, id: Uuid, patch: RolePatch) -> Result<Role> {
        let (changed, role) = self.commit(&UpdateRole { epr: self, call, id, patch, now: self.now() }).await?;
        if changed {
            log_updated(id);
        }
        Ok(role)
    }
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

    async fn apply(&self, change: &mut Change) -> Step<()> {
        let role = self.role;
        if !change.tx.insert_role(role).await? {
            return Err(Error::Conflict(format!("Role '{}' already exists", role.name)).into());
        }
        change.tx.set_role_actions(role.id, &role.permissions, role.created_at).await?;
        change.record(record::role_created(self.call, role)?);
        Ok(())
    }
}

pub(super) struct UpdateRole<'a> {
    pub(super) epr: &'a Epr,
    pub(super) call: &'a Call,
    pub(super) id: Uuid,
    pub(super) patch: RolePatch,
    pub(super) now: Timestamp,
}

impl Mutation for UpdateRole<'_> {
    /// Whether anything changed, and the role as it is now.
    type Done = (bool, Role);

    async fn apply(&self, change: &mut Change) -> Step<(bool, Role)> {
        let before = change.tx.lock_role(self.id).await?.ok_or_else(|| not_found(self.id))?;
        let mut after = patched(&before, &self.patch);
        if after == before {
            return Ok((false, before));
        }
        after.updated_at = self.now;
        change.tx.update_role(&after).await?;
        if after.permissions != before.permissions {
            change.tx.set_role_actions(self.id, &after.permissions, self.now).await?;
        }
        change.record(record::role_updated(self.call, &before, &after, &self.patch)?);
        change.emit(events::role_updated(self.epr, self.call, &after));
        Ok((true, after))
    }
}

fn patched(before: &Role, patch: &RolePatch) -> Role {
    let mut after = before.clone();
    if let Some(description) = &patch.description {
        after.description = description.as_ref().map(ToString::to_string);
    }
    if let Some(scope_types) = &patch.scope_types {
        after.scope_types.clone_from(scope_types);
    }
    if let Some(permissions) = &patch.permissions {
        after.permissions = permissions.iter().map(ToString::to_string).collect();
    }
    after
}

pub(super) fn not_found(id: Uuid) -> Error {
    Error::NotFound(format!("Role {id} not found"))
}
