//! Every use case of EPR, by subject. Each method delegates to its handler, or to the store where there is nothing to
//! decide. `operations.rs` has the methods for operating the service.
//!
//! A scan passes rows to its callback one at a time, in constant memory, until the callback returns `false`. Reads that
//! name no errors of their own fail only when the database is unavailable or its data cannot be read.

use uuid::Uuid;

use super::Epr;
use crate::call::{AtLeast, Call};
use crate::decision::{Decision, Explanation, Question};
use crate::domain::audit::KeptRejection;
use crate::domain::event::{Event, EventFilter, IngestedEvent, NewEvent};
use crate::domain::{
    Assignment, AssignmentFilter, AssignmentRequest, AssignmentScan, BulkStep, Entity, EntityFilter, EntityPatch,
    EntityType, Invalid, JsonObject, Moment, NamedAssignment, NewEntity, NewRole, Orphan, Role, RolePatch, UnheldRole,
};
use crate::engine::cache::TierState;
use crate::engine::revisions;
use crate::error::{Error, Result};
use crate::handlers::asked::Asked;
use crate::handlers::audit::{ExportedEntry, KeptElsewhere, SetAside, Verification};
use crate::handlers::bulk::BulkFailure;
#[cfg(feature = "ingest")]
use crate::handlers::ingest::{self, Ingested, Message};
use crate::handlers::once::first;
use crate::handlers::{assignment_groups, assignments, audit, bulk, check, entities, events, explain, review, roles};
use crate::ledger::chain::Draft;
use crate::store::{Appended, Backlog, Cursor, HierarchyState, Page, RowVisitor, ScanRange, StoreError, collect_into};

/// Checks.
impl Epr {
    /// Decides `question` at this moment.
    ///
    /// # Errors
    /// `NotFound` when the resource is unknown. `Unavailable` when the facts cannot be read or the decision cannot be
    /// recorded: then there is no decision.
    pub async fn check(&self, call: &Call, question: &Question) -> Result<Decision> {
        self.check_in_context(call, question, &JsonObject::new()).await
    }

    /// Decides `question` at this moment in a context, which conditions read: at most
    /// [`MAX_CONTEXT_BYTES`](crate::MAX_CONTEXT_BYTES) of JSON.
    ///
    /// # Errors
    /// Those of [`Epr::check`]; `Invalid` when the context is too large, or has a parameter of a condition that was
    /// evaluated with another type than the declared one.
    pub async fn check_in_context(&self, call: &Call, question: &Question, context: &JsonObject) -> Result<Decision> {
        check::check(&self.engines, Asked { call, question, context }).await
    }

    /// Explains the decision of `question` in `context` at `moment`: everything that it rests on, by name. Never from a
    /// cache.
    ///
    /// # Errors
    /// Those of [`Epr::check_at`]: an explanation that cannot be recorded is not given.
    pub async fn explain(
        &self,
        call: &Call,
        question: &Question,
        context: &JsonObject,
        moment: impl Into<Moment>,
    ) -> Result<Explanation> {
        let (asked, moment) = (Asked { call, question, context }, moment.into());
        if moment.is_now() {
            return explain::explain(&self.engines, asked).await;
        }
        Ok(review::explain(&self.engines, asked, moment).await?.0)
    }

    /// Waits until the database has reached a state, for a read that follows; does nothing for `None`. Checks and
    /// explanations do it themselves, by [`Call::at_least`].
    ///
    /// # Errors
    /// `Busy` when the database does not reach it in time; `Conflict` when it is of another incarnation.
    pub async fn await_revision(&self, at_least: Option<AtLeast>) -> Result<()> {
        match at_least {
            Some(at_least) => revisions::reach_in_database(&self.engines, at_least).await,
            None => Ok(()),
        }
    }

    /// The state of the decision cache in this process, and the kind and state of the shared one. A check is right in
    /// every state.
    #[must_use]
    pub fn cache_state(&self) -> (TierState, Option<(&'static str, TierState)>) {
        self.engines.cache.state()
    }
}

/// Entities.
impl Epr {
    /// Registers an entity.
    ///
    /// # Errors
    /// `Conflict` when `(name, type)` or `(external_id, type)` is taken; `Refused` when the parent does not exist or is
    /// on the last level.
    pub async fn create_entity(&self, call: &Call, new: NewEntity) -> Result<Entity> {
        Ok(first(entities::create(&self.engines, call, None, new).await?))
    }

    /// One entity, archived or not.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn entity(&self, id: Uuid) -> Result<Entity> {
        self.store().entity(id).await?.ok_or_else(|| entities::not_found(id))
    }

    /// The entity with this name and type, archived or not.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn entity_named(&self, entity_type: &EntityType, name: &str) -> Result<Option<Entity>> {
        Ok(self.store().entity_named(entity_type, name).await?)
    }

    /// A page of the entities that match `filter`, newest first. Without a status in it, archived ones are left out.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn entities(&self, filter: &EntityFilter, page: &Page) -> Result<Vec<Entity>> {
        let mut rows = Vec::new();
        self.store().entities(filter, *page, &mut collect_into(&mut rows)).await?;
        Ok(rows)
    }

    /// [`Epr::entities`] as a scan.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn show_entities(&self, filter: &EntityFilter, page: Page, take: RowVisitor<'_, Entity>) -> Result<()> {
        Ok(self.store().entities(filter, page, take).await?)
    }

    /// The last entity, from the beginning of the list, that fits into about `bytes` of JSON; `None` when all of them
    /// fit.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn entities_end(&self, filter: &EntityFilter, bytes: i64) -> Result<Option<Cursor>> {
        Ok(self.store().entities_end(filter, bytes).await?)
    }

    /// Changes an entity. A patch that changes nothing is neither recorded nor published.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` when the new name or external id is taken; `Refused` when the new parent does not exist,
    /// would close a cycle, or would make the hierarchy too deep.
    pub async fn update_entity(&self, call: &Call, id: Uuid, patch: EntityPatch) -> Result<Entity> {
        entities::update(&self.engines, call, id, patch).await
    }

    /// Archives an entity; it can be restored by an update. Archiving it again changes nothing.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn archive_entity(&self, call: &Call, id: Uuid) -> Result<Entity> {
        entities::archive(&self.engines, call, id).await
    }

    /// Scans the entities in use whose parent is archived, by the parent's name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn orphans(&self, take: RowVisitor<'_, Orphan>) -> Result<()> {
        Ok(self.store().scan_orphans(take).await?)
    }

    /// Finds entities that are too deep, and cycles. Reads all entities.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn hierarchy(&self) -> Result<HierarchyState> {
        Ok(self.store().hierarchy().await?)
    }
}

/// Roles.
impl Epr {
    /// Creates a role, and the actions of it that are new to the registry.
    ///
    /// # Errors
    /// `Conflict` when the name is taken.
    pub async fn create_role(&self, call: &Call, new: NewRole) -> Result<Role> {
        Ok(first(roles::create(&self.engines, call, None, new).await?))
    }

    /// One role.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn role(&self, id: Uuid) -> Result<Role> {
        self.store().role(id).await?.ok_or_else(|| roles::not_found(id))
    }

    /// The role with this name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn role_named(&self, name: &str) -> Result<Option<Role>> {
        Ok(self.store().role_named(name).await?)
    }

    /// A page of the roles, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn roles(&self, page: &Page) -> Result<Vec<Role>> {
        let mut rows = Vec::new();
        self.store().roles(*page, &mut collect_into(&mut rows)).await?;
        Ok(rows)
    }

    /// [`Epr::roles`] as a scan.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn show_roles(&self, page: Page, take: RowVisitor<'_, Role>) -> Result<()> {
        Ok(self.store().roles(page, take).await?)
    }

    /// The last role, from the beginning of the list, that fits into about `bytes` of JSON; `None` when all of them
    /// fit.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn roles_end(&self, bytes: i64) -> Result<Option<Cursor>> {
        Ok(self.store().roles_end(bytes).await?)
    }

    /// Changes a role. A patch that changes nothing is neither recorded nor published.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn update_role(&self, call: &Call, id: Uuid, patch: RolePatch) -> Result<Role> {
        roles::update(&self.engines, call, id, patch).await
    }

    /// Scans the roles without an assignment that is in force or begins later, by name.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn unheld_roles(&self, take: RowVisitor<'_, UnheldRole>) -> Result<()> {
        Ok(self.store().scan_unheld_roles(self.now(), take).await?)
    }
}

/// Assignments.
impl Epr {
    /// Assigns a role to a principal, which a [`NewAssignment`](crate::domain::NewAssignment) names by its id and an
    /// [`AssignmentRequest`] perhaps by its external id: an unknown one registers the principal in the same
    /// transaction. Returns the existing assignment, unchanged, when the principal already has this role on this
    /// entity.
    ///
    /// # Errors
    /// `NotFound` when the role is unknown; `Refused` when the entity is unknown or the role's scope types exclude its
    /// type; `Invalid` when the window ends before it starts.
    pub async fn assign(&self, call: &Call, new: impl Into<AssignmentRequest>) -> Result<Assignment> {
        Ok(first(assignment_groups::assign((&self.engines, &self.assignment_groups), call, None, new.into()).await?))
    }

    /// Checks that `call` states a reason if the settings require one for a grant. [`Epr::assign`] checks it too; a
    /// caller that reports every error of a request checks it beside the others.
    ///
    /// # Errors
    /// The missing header.
    pub fn check_reason(&self, call: &Call) -> std::result::Result<(), Invalid> {
        assignments::check_reason(&self.engines, call)
    }

    /// One assignment, in force or not.
    ///
    /// # Errors
    /// `NotFound`, also when it was revoked.
    pub async fn assignment(&self, id: Uuid) -> Result<Assignment> {
        self.store().assignment(id).await?.ok_or_else(|| assignments::not_found(id))
    }

    /// A page of the assignments that match `filter` at the present time, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn assignments(&self, filter: &AssignmentFilter, page: &Page) -> Result<Vec<Assignment>> {
        let mut rows = Vec::new();
        self.store().assignments(filter, self.now(), *page, &mut collect_into(&mut rows)).await?;
        Ok(rows)
    }

    /// [`Epr::assignments`] as a scan.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn show_assignments(
        &self,
        filter: &AssignmentFilter,
        page: Page,
        take: RowVisitor<'_, Assignment>,
    ) -> Result<()> {
        Ok(self.store().assignments(filter, self.now(), page, take).await?)
    }

    /// The last assignment, from the beginning of the list, that fits into about `bytes` of JSON; `None` when all of
    /// them fit.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn assignments_end(&self, filter: &AssignmentFilter, bytes: i64) -> Result<Option<Cursor>> {
        Ok(self.store().assignments_end(filter, self.now(), bytes).await?)
    }

    /// Scans assignments with the names of their roles and entities, all from one snapshot: all of them, or the first
    /// `most`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn scan_assignments(
        &self,
        scan: &AssignmentScan,
        most: Option<u32>,
        take: RowVisitor<'_, NamedAssignment>,
    ) -> Result<()> {
        Ok(self.store().scan_assignments(scan, most, take).await?)
    }

    /// Revokes an assignment.
    ///
    /// # Errors
    /// `NotFound`, also when it was revoked before.
    pub async fn revoke(&self, call: &Call, id: Uuid) -> Result<Assignment> {
        assignments::revoke(&self.engines, call, id).await
    }

    /// Applies up to [`crate::MAX_STEPS`] steps in order, in one transaction. Returns for each whether it changed
    /// anything.
    ///
    /// # Errors
    /// The first step that fails; then nothing has changed.
    pub async fn apply_all(&self, call: &Call, steps: &[BulkStep]) -> std::result::Result<Vec<bool>, BulkFailure> {
        bulk::apply_all(&self.engines, call, steps).await
    }
}

/// Events.
impl Epr {
    /// Accepts an event from another service and tries to deliver it. A repeat with the same source and correlation id
    /// returns the first one. A failed delivery is no error: the returned event has its delivery state. An audit event
    /// (`EPR_AUDIT_EVENTS`) is also recorded in the ledger, in the same transaction, repeats included.
    ///
    /// # Errors
    /// `Invalid` when it is too large to deliver, or names EPR itself as its source.
    pub async fn ingest_event(&self, call: &Call, new: NewEvent) -> Result<IngestedEvent> {
        Ok(first(events::ingest(&self.engines, call, None, new).await?))
    }

    /// One event, by its `event_id`.
    ///
    /// # Errors
    /// `NotFound`.
    pub async fn event(&self, event_id: Uuid) -> Result<Event> {
        let found = self.store().event(event_id).await?;
        found.ok_or_else(|| Error::NotFound(format!("Event {event_id} not found")))
    }

    /// A page of the events, by `occurred_at`, newest first.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn events_list(&self, filter: &EventFilter, page: &Page) -> Result<Vec<Event>> {
        let mut rows = Vec::new();
        self.store().events(filter, *page, &mut collect_into(&mut rows)).await?;
        Ok(rows)
    }

    /// [`Epr::events_list`] as a scan.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn show_events(&self, filter: &EventFilter, page: Page, take: RowVisitor<'_, Event>) -> Result<()> {
        Ok(self.store().events(filter, page, take).await?)
    }

    /// The numbers of pending and failed events, and the age of the oldest pending one.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn event_backlog(&self) -> Result<Backlog> {
        Ok(self.store().event_backlog().await?)
    }

    /// Makes failed events pending again: one, or all of them, in transactions of 1,000. Returns their number.
    ///
    /// # Errors
    /// The database is unavailable. The transactions before remain.
    pub async fn requeue_events(&self, event_id: Option<Uuid>) -> Result<u64> {
        events::requeue(&self.engines, event_id).await
    }
}

/// The ledger.
impl Epr {
    /// Records events through the group-commit writer. Returns when they are committed, together with those of other
    /// callers.
    ///
    /// # Errors
    /// `Unavailable` when they were not recorded, or when the connection broke and the outcome is unknown.
    pub async fn record(&self, drafts: Vec<Draft>) -> Result<Vec<Appended>> {
        Ok(self.engines.ledger.record(drafts).await.map_err(StoreError::from)?)
    }

    /// Cancels what a process that is about to be frozen must not continue later, for every user of this service: the
    /// appends that are waiting or in progress, whose lock of the ledger it would keep, and the deliveries of events by
    /// requests that are in progress. The callers of the appends get an error; the outcome of an append in progress is
    /// unknown. The events are delivered after their lease; the topic may have taken them already.
    pub async fn abandon(&self) {
        self.engines.delivery.cancel();
        self.engines.ledger.abandon().await;
    }

    /// Recomputes the chain over `range`, and compares its end with the head when the range reaches the end of the
    /// ledger. A range with an end must be complete; a range without one that starts after the last entry is empty.
    /// `progress` receives the number of entries checked so far and their total.
    ///
    /// Numbers in the form of an earlier version are accepted up to the entry that the database names, or up to
    /// `former_numbers_to` if that is later.
    ///
    /// # Errors
    /// The database is unavailable, so that nothing was verified.
    pub async fn verify_ledger(
        &self,
        range: ScanRange,
        former_numbers_to: Option<i64>,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<Verification> {
        audit::verify_and_keep(&self.engines, range, former_numbers_to, KeptElsewhere::default(), progress).await
    }

    /// Scans the entries of `range` with their canonical texts.
    ///
    /// # Errors
    /// The database is unavailable, or a row cannot be read.
    pub async fn export_ledger(
        &self,
        range: ScanRange,
        take: &mut (dyn FnMut(ExportedEntry<'_>) -> bool + Send),
    ) -> Result<()> {
        audit::export(&self.engines, range, take).await
    }

    /// Moves rows of `audit_logs` after the head of the chain, which another program wrote, to `audit_logs_set_aside`,
    /// and records an entry that names them. Changes nothing without `apply`.
    ///
    /// # Errors
    /// The database is unavailable, or its user lacks a privilege.
    pub async fn set_aside_foreign_rows(
        &self,
        call: &Call,
        apply: bool,
        progress: &mut (dyn FnMut(u64, u64) + Send),
    ) -> Result<SetAside> {
        audit::set_aside_foreign_rows(&self.engines, call, apply, progress).await
    }
}

/// Audit events from a queue.
impl Epr {
    /// Records the events in `messages` in one transaction, together with those of other callers. A message that cannot
    /// become an entry is kept in `audit_rejections` and does not affect the others. Every message has an outcome. The
    /// same messages may be ingested again at any time.
    #[cfg(feature = "ingest")]
    pub async fn ingest(&self, messages: &[Message]) -> Ingested {
        ingest::ingest(&self.engines, messages).await
    }

    /// Ingests again the messages of a batch whose outcome is a retry, and no others.
    #[cfg(feature = "ingest")]
    pub async fn ingest_rest(&self, messages: &[Message], ingested: &mut Ingested) {
        ingest::ingest_rest(&self.engines, messages, ingested).await;
    }

    /// At most `limit` rejected messages, newest first, starting after `before`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn rejections(&self, limit: u32, before: Option<i64>) -> Result<Vec<KeptRejection>> {
        Ok(self.store().rejections(limit, before).await?)
    }
}
