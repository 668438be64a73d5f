//! Assignments: assign, list, revoke.

use tracing::info;
use uuid::Uuid;

use super::transaction::{Change, ChangeResult, Mutation, commit};
use super::{events, record, roles};
use crate::call::Call;
use crate::decision::condition;
use crate::domain::assignment::window_problem;
use crate::domain::fields::Problem;
use crate::domain::{Assignment, Invalid, NewAssignment, Timestamp};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::settings::RequireReason;
use crate::store::InsertedAssignment;

/// Assigns a role. The same principal, role and entity again returns the existing assignment, unchanged.
///
/// # Errors
/// `NotFound` when the role is unknown; `Refused` when the entity is unknown or the role is not meant for its
/// type; `Invalid` when the window ends before it starts, the condition does not compile, or the settings require a
/// reason and there is none.
pub(crate) async fn assign(engines: &Engines, call: &Call, new: NewAssignment) -> Result<Assignment> {
    let wanted = wanted_assignment(engines, engines.now(), new)?;
    let (created, assignment) = commit(engines, &Assign { engines, call, wanted: &wanted }).await?;
    if created {
        log_assigned(&assignment);
    }
    Ok(assignment)
}

/// The assignment that `new` asks for at `now`.
pub(super) fn wanted_assignment(engines: &Engines, now: Timestamp, new: NewAssignment) -> Result<Assignment> {
    let wanted = new.into_record(engines.new_id(), now);
    if let Some(problem) = window_problem(wanted.effective_at, wanted.expires_at) {
        return Err(Error::field("expires_at", problem));
    }
    if let Some(condition) = &wanted.condition {
        condition::check(condition).map_err(|problem| Error::field("condition", problem))?;
    }
    Ok(wanted)
}

/// Refuses a grant without a stated reason where the settings require one.
///
/// # Errors
/// The missing header.
pub(crate) fn check_reason(engines: &Engines, call: &Call) -> std::result::Result<(), Invalid> {
    let is_required = engines.core.settings.require_reason == RequireReason::Assignments;
    if is_required && call.stated_reason.is_none() {
        let sentence = "A grant needs a reason (EPR_REQUIRE_REASON=assignments): state it in this header, or with \
                        --reason on the command line";
        return Err(Invalid::one("header", Some("EPR-Reason"), Problem::new("missing", sentence)));
    }
    Ok(())
}

/// Revokes an assignment.
///
/// # Errors
/// `NotFound`, also when it was revoked before.
pub(crate) async fn revoke(engines: &Engines, call: &Call, id: Uuid) -> Result<Assignment> {
    let assignment = commit(engines, &Revoke { engines, call, id, now: engines.now() }).await?;
    log_revoked(&assignment);
    Ok(assignment)
}

pub(super) fn log_assigned(assignment: &Assignment) {
    info!(
        assignment_id = %assignment.id,
        principal_id = %assignment.principal_id,
        principal_type = assignment.principal_type,
        role_id = %assignment.role_id,
        entity_id = assignment.entity_id.map(tracing::field::display),
        "role_assigned"
    );
}

pub(super) fn log_revoked(assignment: &Assignment) {
    info!(
        assignment_id = %assignment.id,
        principal_id = %assignment.principal_id,
        role_id = %assignment.role_id,
        "role_assignment_revoked"
    );
}

pub(super) struct Assign<'a> {
    pub(super) engines: &'a Engines,
    pub(super) call: &'a Call,
    pub(super) wanted: &'a Assignment,
}

impl Mutation for Assign<'_> {
    /// Whether the assignment is new, and the assignment.
    type Done = (bool, Assignment);

    async fn apply(&self, change: &mut Change) -> ChangeResult<(bool, Assignment)> {
        check_reason(self.engines, self.call).map_err(Error::from)?;
        let wanted = self.wanted;
        let mut on_type = None;
        let role = change.tx.role(wanted.role_id).await?.ok_or_else(|| roles::not_found(wanted.role_id))?;
        if let Some(entity_id) = wanted.entity_id {
            let Some(entity_type) = change.tx.entity_type(entity_id).await? else {
                return Err(Error::Refused(format!("Entity {entity_id} not found for assignment")).into());
            };
            if !role.scope_types.is_empty() && !role.scope_types.contains(&entity_type) {
                let (role, entity_type) = (&role.name, &entity_type);
                let why = format!("Role {role} cannot be assigned to entity type {entity_type}");
                return Err(Error::Refused(why).into());
            }
            on_type = Some(entity_type);
        }
        Ok(match change.tx.insert_assignment(wanted).await? {
            InsertedAssignment::New => {
                change.record(record::assigned(self.call, wanted, on_type.as_ref())?);
                change.emit(events::assignment_changed(self.engines, self.call, wanted.created_at, wanted, "created"));
                (true, wanted.clone())
            }
            InsertedAssignment::Existing(existing) => (false, *existing),
        })
    }
}

pub(super) struct Revoke<'a> {
    pub(super) engines: &'a Engines,
    pub(super) call: &'a Call,
    pub(super) id: Uuid,
    pub(super) now: Timestamp,
}

impl Mutation for Revoke<'_> {
    type Done = Assignment;

    async fn apply(&self, change: &mut Change) -> ChangeResult<Assignment> {
        let gone = change.tx.delete_assignment(self.id).await?;
        let gone = gone.ok_or_else(|| Error::NotFound(format!("Assignment {} not found", self.id)))?;
        let on_type = match gone.entity_id {
            Some(entity) => change.tx.entity_type(entity).await?,
            None => None,
        };
        change.record(record::revoked(self.call, self.now, &gone, on_type.as_ref())?);
        change.emit(events::assignment_changed(self.engines, self.call, self.now, &gone, "revoked"));
        Ok(gone)
    }
}
