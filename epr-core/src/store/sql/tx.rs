//! A transaction on this database.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use uuid::Uuid;

use super::cached_head::CachedHead;
use super::dialect::{
    Conn, STEP_DEADLINE, Transaction, changes, close_when_done, commit, generation, limit_lock_waits, lock_hierarchy,
    share_hierarchy,
};
use super::ledger::NewHead;
use super::step::{self, ends_connection, is_lock_timeout};
use super::{assignments, checkpoints, entities, events, hierarchy, ledger, revisions, roles, set_aside};
use crate::decision::Question;
use crate::domain::condition::Condition;
use crate::domain::role::Action;
use crate::domain::{Assignment, Entity, EntityType, Incarnation, Revision, Role, Timestamp};
use crate::ledger::chain::Draft;
use crate::store::continuity::LedgerContinuity;
use crate::store::foreign::ForeignRows;
use crate::store::{
    Appended, BatchQuestion, DraftDecision, DraftIdentifiedDecision, FormerIncarnation, InsertedAssignment,
    InsertedEvent, Invalidation, OutboxEvent, PathToRoot, Result, StoreError, Tx,
};

/// A transaction, and what it has appended to the ledger so far.
pub(super) struct SqlTx {
    tx: Transaction,
    continuity: Arc<LedgerContinuity>,
    cached_head: Arc<CachedHead>,
    appended: Option<NewHead>,
    waits_briefly: bool,
}

impl SqlTx {
    pub(super) fn new(tx: Transaction, continuity: Arc<LedgerContinuity>, cached_head: Arc<CachedHead>) -> Self {
        Self { tx, continuity, cached_head, appended: None, waits_briefly: false }
    }

    pub(super) async fn step<T>(&mut self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let outcome = step::run(&mut self.tx, &self.continuity, STEP_DEADLINE, step).await;
        if !outcome.reusable {
            close_when_done(&mut self.tx);
        }
        let waits_briefly = self.waits_briefly;
        outcome.result.map_err(|error| {
            if waits_briefly && is_lock_timeout(&error) { StoreError::Contention(error.into()) } else { error }
        })
    }

    pub(super) async fn append_drafts(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        let known = self.continuity.newest_change();
        let (appended, head) = self.step(async |conn| ledger::append(conn, known.as_ref(), drafts).await).await?;
        self.appended = Some(head);
        Ok(appended)
    }

    pub(super) async fn append_identified_decisions(
        &mut self,
        questions: &[BatchQuestion],
        draft: DraftIdentifiedDecision<'_>,
    ) -> Result<Vec<Option<Appended>>> {
        let known = self.continuity.newest_change();
        let step =
            async |conn: &mut Conn| ledger::append_identified_decisions(conn, known.as_ref(), questions, draft).await;
        let (appended, head) = self.step(step).await?;
        self.appended = Some(head);
        Ok(appended)
    }

    pub(super) async fn append_decisions(
        &mut self,
        questions: &[Question],
        draft: DraftDecision<'_>,
    ) -> Result<Vec<Option<Appended>>> {
        let known = self.continuity.newest_change();
        let step = async |conn: &mut Conn| ledger::append_decisions(conn, known.as_ref(), questions, draft).await;
        let (appended, head) = self.step(step).await?;
        self.appended = Some(head);
        Ok(appended)
    }

    /// Commits. INVARIANT: a change of facts is recorded in [`LedgerContinuity`] before it is answered, so that no
    /// later check of this process uses a server that lacks it.
    pub(super) async fn finish(self) -> Result<()> {
        let Self { tx, continuity, cached_head, appended, .. } = self;
        let generation = generation(&tx);
        if let Err(error) = continuity.while_current(generation, commit(tx)).await {
            ends_connection(&error, &continuity, generation);
            return Err(error);
        }
        if let Some(head) = appended {
            if let Some(entry) = &head.decisive {
                continuity.record(entry);
            }
            continuity.record_revision(head.revision);
            cached_head.offer(head);
        }
        Ok(())
    }
}

#[async_trait]
impl Tx for SqlTx {
    async fn insert_entity(&mut self, entity: &Entity) -> Result<bool> {
        self.step(async |conn| entities::insert(conn, entity).await).await
    }

    async fn lock_entity(&mut self, id: Uuid) -> Result<Option<Entity>> {
        self.step(async |conn| entities::lock(conn, id).await).await
    }

    async fn update_entity(&mut self, entity: &Entity) -> Result<bool> {
        self.step(async |conn| entities::update(conn, entity).await).await
    }

    async fn external_id_is_taken(&mut self, entity: &Entity) -> Result<bool> {
        self.step(async |conn| entities::has_external_id_of(conn, entity).await).await
    }

    async fn lock_hierarchy(&mut self) -> Result<()> {
        self.step(async |conn| lock_hierarchy(conn).await).await
    }

    async fn share_hierarchy(&mut self) -> Result<()> {
        self.step(async |conn| share_hierarchy(conn).await).await
    }

    async fn path_to_root(&mut self, id: Uuid, limit: usize) -> Result<PathToRoot> {
        self.step(async |conn| hierarchy::path_to_root(conn, id, limit).await).await
    }

    async fn has_levels_below(&mut self, id: Uuid, levels: usize) -> Result<bool> {
        self.step(async |conn| hierarchy::has_levels_below(conn, id, levels).await).await
    }

    async fn entity_type(&mut self, id: Uuid) -> Result<Option<EntityType>> {
        self.step(async |conn| entities::type_of(conn, id).await).await
    }

    async fn insert_role(&mut self, role: &Role) -> Result<bool> {
        self.step(async |conn| roles::insert(conn, role).await).await
    }

    async fn lock_role(&mut self, id: Uuid) -> Result<Option<Role>> {
        self.step(async |conn| roles::lock(conn, id).await).await
    }

    async fn update_role(&mut self, role: &Role) -> Result<()> {
        self.step(async |conn| roles::update(conn, role).await).await
    }

    async fn set_role_actions(
        &mut self,
        role_id: Uuid,
        actions: &[String],
        conditions: &BTreeMap<String, Condition>,
        now: Timestamp,
    ) -> Result<()> {
        self.step(async |conn| roles::set_actions(conn, role_id, actions, conditions, now).await).await
    }

    async fn role(&mut self, id: Uuid) -> Result<Option<Role>> {
        self.step(async |conn| roles::get(conn, id).await).await
    }

    async fn ensure_actions(&mut self, actions: &[Action], now: Timestamp) -> Result<()> {
        let mut sorted: Vec<&str> = actions.iter().map(Action::as_str).collect();
        sorted.sort_unstable();
        self.step(async |conn| roles::ensure_actions(conn, &sorted, now).await).await
    }

    async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<InsertedAssignment> {
        self.step(async |conn| assignments::insert(conn, assignment).await).await
    }

    async fn delete_assignment(&mut self, id: Uuid) -> Result<Option<Assignment>> {
        self.step(async |conn| assignments::delete(conn, id).await).await
    }

    async fn insert_events(&mut self, events: &[OutboxEvent]) -> Result<()> {
        self.step(async |conn| events::insert_all(conn, events).await).await
    }

    async fn insert_event(&mut self, new: &OutboxEvent) -> Result<InsertedEvent> {
        self.step(async |conn| events::insert(conn, new).await).await
    }

    async fn wait_for_locks(&mut self, briefly: bool) -> Result<()> {
        self.waits_briefly = briefly;
        self.step(async |conn| limit_lock_waits(conn, briefly).await).await
    }

    async fn invalidations(&mut self) -> Result<Vec<Invalidation>> {
        self.step(async |conn| changes::of_transaction(conn).await).await
    }

    async fn append(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        self.append_drafts(drafts).await
    }

    async fn revision(&mut self) -> Result<Revision> {
        match &self.appended {
            Some(head) => Ok(head.revision),
            None => self.step(async |conn| revisions::newest(conn).await).await,
        }
    }

    async fn reincarnate(&mut self, incarnation: Incarnation, now: Timestamp) -> Result<FormerIncarnation> {
        let known = self.continuity.newest_change();
        self.step(async |conn| {
            let (head, former) = ledger::lock_with_revision(&mut *conn, known.as_ref()).await?;
            let former = former.incarnation;
            let checkpoint = checkpoints::last_of_ending(&mut *conn, former).await?;
            revisions::reincarnate(conn, (incarnation, head.sequence + 1), now).await?;
            Ok(FormerIncarnation { incarnation: former, head, checkpoint })
        })
        .await
    }

    async fn set_aside_foreign_rows(&mut self) -> Result<ForeignRows> {
        let known = self.continuity.newest_change();
        self.step(async |conn| {
            let head = ledger::lock(&mut *conn, known.as_ref()).await?;
            set_aside::foreign_rows(conn, head).await
        })
        .await
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        (*self).finish().await
    }
}
