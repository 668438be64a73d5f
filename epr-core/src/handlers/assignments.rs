//! Assignments: assign, revoke.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use uuid::Uuid;

use super::assignment_log::{log_assigned, log_revoked};
use super::once::kept;
use super::transaction::{Change, ChangeResult, Mutation, commit};
use super::{events, principals, record, roles};
use crate::call::Call;
use crate::decision::condition;
use crate::domain::assignment::{PrincipalType, window_problem};
use crate::domain::fields::Problem;
use crate::domain::{
    Assignment, AssignmentRequest, EntityType, ExternalId, Invalid, KeptAnswer, Principal, Role, Timestamp,
};
use crate::engine::Engines;
use crate::error::{Error, Result};
use crate::ledger::chain::Draft;
use crate::settings::RequireReason;
use crate::store::{InsertedAssignment, StoreError};

/// An assignment that was asked for, with the id that it gets.
pub(super) struct Wanted {
    /// Its `principal_id` means nothing when there is an external id.
    assignment: Assignment,
    /// The external id of the principal, and its type, when a request names it so.
    known_as: Option<(PrincipalType, ExternalId)>,
}

impl Wanted {
    /// Whether it names its principal by the id, so that it registers none.
    pub(super) fn is_to_id(&self) -> bool {
        self.known_as.is_none()
    }

    /// The order in which a transaction writes several: two transactions that write the same ones do not deadlock.
    pub(super) fn order(&self) -> impl Ord + use<> {
        let Assignment { principal_id, principal_type, entity_id, role_id, .. } = &self.assignment;
        (*principal_id, principal_type.clone(), *entity_id, *role_id)
    }

    /// What `request` asks for at `now`.
    pub(super) fn of(engines: &Engines, now: Timestamp, request: AssignmentRequest) -> Result<Self> {
        let (known_as, new) = match request {
            AssignmentRequest::ToId(new) => (None, new),
            AssignmentRequest::ToExternalId(external_id, new) => (Some((new.principal_type.clone(), external_id)), new),
        };
        let assignment = new.into_record(engines.new_id(), now);
        if let Some(problem) = window_problem(assignment.effective_at, assignment.expires_at) {
            return Err(Error::field("expires_at", problem));
        }
        if let Some(condition) = &assignment.condition {
            condition::check(condition).map_err(|problem| Error::field("condition", problem))?;
        }
        Ok(Self { assignment, known_as })
    }

    /// The same, to this role.
    pub(super) fn with_role(mut self, role_id: Uuid) -> Self {
        self.assignment.role_id = role_id;
        self
    }
}

/// What an assignment became.
pub(super) struct Assigned {
    /// The entry of a new assignment: its index among those of the transaction.
    pub(super) entry: Option<usize>,
    pub(super) assignment: Assignment,
    /// The principal that was registered for it.
    registered: Option<Principal>,
}

impl Assigned {
    /// The answer that is kept under a key. The request may name the principal by its external id, of which the hash of
    /// the request must not outlive an erasure.
    pub(super) fn answer(&self) -> Result<KeptAnswer> {
        let Assignment { principal_id, principal_type, .. } = &self.assignment;
        let principal_type = PrincipalType::new(principal_type.as_str()).ok();
        let principal = principal_type.map(|principal_type| (principal_type, *principal_id));
        Ok(KeptAnswer { principal, ..kept(&self.assignment)? })
    }

    /// Whether the assignment is new.
    pub(super) fn is_new(&self) -> bool {
        self.entry.is_some()
    }

    /// Logs what is new.
    pub(super) fn log(&self) {
        if let Some(principal) = &self.registered {
            principals::log_created(principal);
        }
        if self.is_new() {
            log_assigned(&self.assignment);
        }
    }
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

pub(crate) fn not_found(id: Uuid) -> Error {
    Error::NotFound(format!("Assignment {id} not found"))
}

/// Revokes an assignment.
///
/// # Errors
/// `NotFound`, also when it was revoked before.
pub(crate) async fn revoke(engines: &Engines, call: &Call, id: Uuid) -> Result<Assignment> {
    let assignment =
        commit(engines, call.answered_at.as_ref(), &Revoke { engines, call, id, now: engines.now() }).await?;
    log_revoked(&assignment);
    Ok(assignment)
}

pub(super) struct Assign<'a> {
    pub(super) engines: &'a Engines,
    pub(super) call: &'a Call,
    pub(super) wanted: &'a Wanted,
}

/// What a transaction has read for its assignments: many of them name the same roles and entities. A scope type that a
/// role loses meanwhile may still be assigned, as between a read and a commit of one assignment; a check looks at the
/// role as it is.
#[derive(Default)]
pub(super) struct AlreadyRead {
    roles: HashMap<Uuid, Role>,
    entity_types: HashMap<Uuid, EntityType>,
}

impl AlreadyRead {
    /// The role, and the type of the entity if there is one.
    async fn role_on(
        &mut self,
        change: &mut Change,
        role: Uuid,
        entity: Option<Uuid>,
    ) -> ChangeResult<(&Role, Option<&EntityType>)> {
        let role = match self.roles.entry(role) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                unknown.insert(change.tx.role(role).await?.ok_or_else(|| roles::not_found(role))?)
            }
        };
        let Some(entity) = entity else { return Ok((role, None)) };
        let refused = || Error::Refused(format!("Entity {entity} not found for assignment"));
        let entity_type = match self.entity_types.entry(entity) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(change.tx.entity_type(entity).await?.ok_or_else(refused)?),
        };
        Ok((role, Some(entity_type)))
    }
}

/// An assignment that fits the registry, with its entry.
pub(super) struct Fitting {
    assignment: Assignment,
    /// The principal that was registered for it.
    registered: Option<Principal>,
    draft: Draft,
}

impl Mutation for Assign<'_> {
    type Done = Assigned;

    async fn apply(&self, change: &mut Change) -> ChangeResult<Assigned> {
        let fitting = self.check(change, &mut AlreadyRead::default()).await?;
        Ok(self.write(change, fitting).await?)
    }
}

impl Assign<'_> {
    /// Checks that the assignment fits what is registered.
    ///
    /// INVARIANT: an assignment to a principal's id is refused here or not at all, and nothing is written here for it:
    /// a group goes on without it.
    pub(super) async fn check(&self, change: &mut Change, read: &mut AlreadyRead) -> ChangeResult<Fitting> {
        check_reason(self.engines, self.call).map_err(Error::from)?;
        let (assignment, registered) = self.to_principal(change).await?;
        let (role, on_type) = read.role_on(change, assignment.role_id, assignment.entity_id).await?;
        if let Some(entity_type) = on_type.filter(|_| !role.scope_types.is_empty())
            && !role.scope_types.contains(entity_type)
        {
            let why = format!("Role {} cannot be assigned to entity type {entity_type}", role.name);
            return Err(Error::Refused(why).into());
        }
        let draft = record::assigned(self.call, &assignment, on_type)?;
        Ok(Fitting { assignment, registered, draft })
    }

    /// Writes an assignment that was checked in this transaction.
    pub(super) async fn write(
        &self,
        change: &mut Change,
        fitting: Fitting,
    ) -> std::result::Result<Assigned, StoreError> {
        let Fitting { assignment, registered, draft } = fitting;
        Ok(match change.tx.insert_assignment(&assignment).await? {
            InsertedAssignment::New => {
                let entry = change.record(draft);
                let at = assignment.created_at;
                change.emit(events::assignment_changed(self.engines, self.call, at, &assignment, "created"));
                Assigned { entry: Some(entry), assignment, registered }
            }
            InsertedAssignment::Existing(existing) => Assigned { entry: None, assignment: *existing, registered },
        })
    }
}

impl Assign<'_> {
    /// The assignment with the id of its principal, and the principal if it was registered for it.
    ///
    /// INVARIANT: a registered principal is locked or shared, so that an erasure revokes either this assignment or none
    /// that the ledger has before it.
    async fn to_principal(&self, change: &mut Change) -> ChangeResult<(Assignment, Option<Principal>)> {
        let mut assignment = self.wanted.assignment.clone();
        let Some((principal_type, external_id)) = &self.wanted.known_as else {
            let registered = change.tx.share_principal((&assignment.principal_type, assignment.principal_id)).await?;
            if let Some(at) = registered.and_then(|principal| principal.erased_at) {
                let sentence = format!(
                    "Principal {} was erased at {at} and gets no assignment; register the person under a new id",
                    assignment.principal_id
                );
                return Err(Error::Conflict(sentence).into());
            }
            return Ok((assignment, None));
        };
        let named = (principal_type, external_id);
        let found = principals::known_as(self.engines, self.call, change, named, assignment.created_at).await?;
        let (principal, is_new) = found;
        assignment.principal_id = principal.id;
        Ok((assignment, is_new.then_some(principal)))
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
        let gone = gone.ok_or_else(|| not_found(self.id))?;
        let on_type = match gone.entity_id {
            Some(entity) => change.tx.entity_type(entity).await?,
            None => None,
        };
        change.record(record::revoked(self.call, self.now, &gone, on_type.as_ref())?);
        change.emit(events::assignment_changed(self.engines, self.call, self.now, &gone, "revoked"));
        Ok(gone)
    }
}
