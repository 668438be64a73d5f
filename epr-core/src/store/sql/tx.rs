//! A transaction on this database, and when its connection is not to be used again.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use uuid::Uuid;

use super::dialect::{
    Conn, Transaction, changes, close_after, commit, generation, lock_hierarchy, share_hierarchy, unless_silent,
};
use super::ledger::Extended;
use super::store::End;
use super::{assignments, entities, events, hierarchy, ledger, roles, set_aside};
use crate::decision::Question;
use crate::domain::role::Action;
use crate::domain::{Assignment, Entity, EntityType, Role, Timestamp};
use crate::ledger::chain::Draft;
use crate::store::foreign::ForeignRows;
use crate::store::lineage::{Lineage, is_wrong_server};
use crate::store::{
    Appended, Decide, Inserted, InsertedEvent, OutboxEvent, PathToRoot, Renewal, Result, StoreError, Tx,
};

/// A transaction, and what it has appended to the ledger so far.
pub(super) struct SqlTx {
    tx: Transaction,
    lineage: Arc<Lineage>,
    end: Arc<Mutex<End>>,
    appended: Option<Extended>,
}

/// A change, or a transaction for changes, on a server that takes none, as one in recovery.
const READ_ONLY: [&str; 2] = ["25006", "0A000"];

fn code(fault: &StoreError) -> Option<String> {
    let StoreError::Unavailable(cause) = fault else { return None };
    match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(told)) => told.code().map(Into::into),
        _ => None,
    }
}

/// Whether a lock was not given in time.
pub(super) fn is_lock_timeout(fault: &StoreError) -> bool {
    code(fault).is_some_and(|code| code == "55P03")
}

/// Whether `fault` says that its connection is not to be used again: it was cut, the server ends it, or it leads to a server that is in
/// recovery or is not the one that has the ledger.
pub(super) fn is_about_connection(fault: &StoreError) -> bool {
    if is_wrong_server(fault) {
        return true;
    }
    let StoreError::Unavailable(cause) = fault else { return false };
    match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => true,
        Some(sqlx::Error::Database(_)) => code(fault)
            .is_some_and(|code| READ_ONLY.contains(&&*code) || code.starts_with("08") || code.starts_with("57P")),
        _ => false,
    }
}

/// [`is_about_connection`], and if it leads to a wrong server, no connection of its `generation` is used any more.
pub(super) fn ends_connection(fault: &StoreError, lineage: &Lineage, generation: u64) -> bool {
    if is_wrong_server(fault) || code(fault).is_some_and(|code| READ_ONLY.contains(&&*code)) {
        lineage.suspect(generation);
    }
    is_about_connection(fault)
}

impl SqlTx {
    pub(super) fn new(tx: Transaction, lineage: Arc<Lineage>, end: Arc<Mutex<End>>) -> Self {
        Self { tx, lineage, end, appended: None }
    }

    pub(super) async fn step<T>(&mut self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let generation = generation(&self.tx);
        let outcome = self.lineage.while_current(generation, unless_silent(step(&mut self.tx))).await;
        if outcome.as_ref().is_err_and(|fault| ends_connection(fault, &self.lineage, generation)) {
            close_after(&mut self.tx);
        }
        outcome
    }

    pub(super) async fn append_drafts(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        let known = self.lineage.known();
        let (appended, end) = self.step(async |conn| ledger::append(conn, known.as_ref(), drafts).await).await?;
        self.appended = Some(end);
        Ok(appended)
    }

    pub(super) async fn append_decisions(
        &mut self,
        questions: &[Question],
        decide: Decide<'_>,
    ) -> Result<Vec<Option<Appended>>> {
        let known = self.lineage.known();
        let step = async |conn: &mut Conn| ledger::append_decisions(conn, known.as_ref(), questions, decide).await;
        let (appended, end) = self.step(step).await?;
        self.appended = Some(end);
        Ok(appended)
    }

    /// Commits. INVARIANT: what decisions depend on is known to be changed before the change is answered, so that no later check
    /// of this process rests on a server that lacks it.
    pub(super) async fn finish(self) -> Result<()> {
        let Self { tx, lineage, end, appended } = self;
        let generation = generation(&tx);
        if let Err(fault) = lineage.while_current(generation, commit(tx)).await {
            ends_connection(&fault, &lineage, generation);
            return Err(fault);
        }
        if let Some(extended) = appended {
            if let Some(entry) = &extended.decisive {
                lineage.learn(entry);
            }
            end.lock().unwrap_or_else(PoisonError::into_inner).learn(extended);
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

    async fn set_role_actions(&mut self, role_id: Uuid, actions: &[String], now: Timestamp) -> Result<()> {
        self.step(async |conn| roles::set_actions(conn, role_id, actions, now).await).await
    }

    async fn role(&mut self, id: Uuid) -> Result<Option<Role>> {
        self.step(async |conn| roles::get(conn, id).await).await
    }

    async fn ensure_actions(&mut self, actions: &[Action], now: Timestamp) -> Result<()> {
        let mut sorted: Vec<&str> = actions.iter().map(Action::as_str).collect();
        sorted.sort_unstable();
        self.step(async |conn| roles::ensure_actions(conn, &sorted, now).await).await
    }

    async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<Inserted> {
        self.step(async |conn| assignments::insert(conn, assignment).await).await
    }

    async fn delete_assignment(&mut self, id: Uuid) -> Result<Option<Assignment>> {
        self.step(async |conn| assignments::delete(conn, id).await).await
    }

    async fn insert_event(&mut self, new: &OutboxEvent) -> Result<InsertedEvent> {
        self.step(async |conn| events::insert(conn, new).await).await
    }

    async fn renewals(&mut self) -> Result<Vec<Renewal>> {
        self.step(async |conn| changes::own(conn).await).await
    }

    async fn append(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        self.append_drafts(drafts).await
    }

    async fn set_aside_foreign_rows(&mut self) -> Result<ForeignRows> {
        let known = self.lineage.known();
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
