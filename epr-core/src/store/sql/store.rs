//! The storage contract on this database.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use super::schema::Target;
use super::{
    Conn, Db, assignments, begin, changes, classify, connections, entities, events, ledger, lock_hierarchy,
    outbox_signals, rejections, renewals, reports, roles, schema, together,
};
use crate::authz::{Facts, Question};
use crate::domain::audit::{KeptRejection, Rejection};
use crate::domain::event::{Event, EventFilter};
use crate::domain::role::Action;
use crate::domain::{
    Assignment, AssignmentFilter, AssignmentScan, AuditEntry, AuditFilter, AuditPage, Entity, EntityFilter, EntityType,
    NamedAssignment, Orphan, Role, Timestamp, UnheldRole,
};
use crate::ledger::chain::{Draft, Head};
use crate::store::pools::Waits;
use crate::store::{
    Appended, Backlog, Claim, Claimed, Connections, Inserted, InsertedEvent, LedgerVisitor, OutboxEvent, Page,
    PoolState, Renewal, Result, ScanRange, SchemaState, Settlement, Store, StoreError, Take, Told, Tx,
};

/// A database behind a pool for reading and one for writing, which may be the same.
pub struct SqlStore {
    read: sqlx::Pool<Db>,
    write: sqlx::Pool<Db>,
    read_waits: Waits,
    write_waits: Waits,
    target: Target,
    end: Mutex<End>,
}

/// What is remembered of the chain's end.
#[derive(Default)]
struct End {
    /// Where it was after an append of this process. May be behind; the statement that builds upon it compares.
    head: Option<Head>,
    /// How many appends to go before it is remembered again.
    rest: u32,
}

impl End {
    fn learn(&mut self, head: Head) {
        match self.rest.checked_sub(1) {
            Some(rest) => self.rest = rest,
            None => self.head = Some(head),
        }
    }
}

/// After how many appends to try again by one statement when somebody else was faster: an attempt in vain waits for the ledger's lock and
/// flushes the disk under it.
const REST: u32 = 16;

/// How long a statement may take. Above the limits that the server itself keeps: only a server that has gone silent meets it.
const SILENCE: Duration = Duration::from_secs(20);

/// Does `work` on `conn`, unless the server has gone silent. Such a connection is thrown away: given back, it would wait for an answer
/// as long as the kernel does.
async fn unless_silent<T>(
    conn: &mut sqlx::pool::PoolConnection<Db>,
    work: impl AsyncFnOnce(&mut Conn) -> Result<T>,
) -> Result<T> {
    let done = tokio::time::timeout(SILENCE, work(conn)).await;
    done.unwrap_or_else(|_| {
        conn.close_on_drop();
        Err(StoreError::Unavailable("the database does not answer".into()))
    })
}

/// Whether the connection ended, rather than what was asked for.
fn is_cut(fault: &StoreError) -> bool {
    /// The server ends this session.
    const ADMIN_SHUTDOWN: &str = "57P01";
    let StoreError::Unavailable(cause) = fault else { return false };
    match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Io(_)) => true,
        Some(sqlx::Error::Database(told)) => told.code().as_deref() == Some(ADMIN_SHUTDOWN),
        _ => false,
    }
}

impl SqlStore {
    pub(in super::super) fn new(read: sqlx::Pool<Db>, write: sqlx::Pool<Db>, target: Target) -> Self {
        Self { read, write, read_waits: Waits::default(), write_waits: Waits::default(), target, end: Mutex::default() }
    }

    async fn writer(&self) -> Result<sqlx::pool::PoolConnection<Db>> {
        self.write_waits.during(self.write.acquire()).await.map_err(classify)
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reader(&self) -> Result<sqlx::pool::PoolConnection<Db>> {
        self.read_waits.during(self.read.acquire()).await.map_err(classify)
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn begin(&self) -> Result<Box<dyn Tx>> {
        Ok(Box::new(SqlTx { tx: self.write_waits.during(begin(&self.write)).await? }))
    }

    async fn entity(&self, id: Uuid) -> Result<Option<Entity>> {
        entities::get(&mut *self.reader().await?, id).await
    }

    async fn entities(&self, filter: &EntityFilter, page: &Page) -> Result<Vec<Entity>> {
        entities::list(&mut *self.reader().await?, filter, page).await
    }

    async fn role(&self, id: Uuid) -> Result<Option<Role>> {
        roles::get(&mut *self.reader().await?, id).await
    }

    async fn roles(&self, page: &Page) -> Result<Vec<Role>> {
        roles::list(&mut *self.reader().await?, page).await
    }

    async fn assignments(&self, filter: &AssignmentFilter, page: &Page) -> Result<Vec<Assignment>> {
        assignments::list(&mut *self.reader().await?, filter, page).await
    }

    async fn entity_named(&self, entity_type: EntityType, name: &str) -> Result<Option<Entity>> {
        entities::named(&mut *self.reader().await?, entity_type, name).await
    }

    async fn role_named(&self, name: &str) -> Result<Option<Role>> {
        roles::named(&mut *self.reader().await?, name).await
    }

    async fn scan_assignments(&self, scan: &AssignmentScan, take: Take<'_, NamedAssignment>) -> Result<()> {
        reports::assignments(&self.read, scan, take).await
    }

    async fn scan_unheld_roles(&self, now: Timestamp, take: Take<'_, UnheldRole>) -> Result<()> {
        reports::unheld_roles(&self.read, now, take).await
    }

    async fn scan_orphans(&self, take: Take<'_, Orphan>) -> Result<()> {
        reports::orphans(&self.read, take).await
    }

    async fn connections(&self) -> Result<Option<Connections>> {
        connections(&mut *self.reader().await?).await
    }

    async fn facts(&self, questions: &[Question]) -> Result<Vec<Option<Facts>>> {
        let mut conn = self.reader().await?;
        match unless_silent(&mut conn, async |conn| together::read(conn, questions).await).await {
            // It was cut since it was last used, and many may have asked at once; nothing is done twice by asking again.
            Err(fault) if is_cut(&fault) => {
                drop(conn);
                let mut conn = self.reader().await?;
                unless_silent(&mut conn, async |conn| together::read(conn, questions).await).await
            }
            outcome => outcome,
        }
    }

    async fn append(&self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        if ledger::may_go_behind(drafts) {
            let known = self.end().head.take();
            if let Some(mut head) = known {
                let mut conn = self.writer().await?;
                let attempt = async |conn: &mut Conn| ledger::append_behind(conn, &mut head, drafts).await;
                if let Some(appended) = unless_silent(&mut conn, attempt).await? {
                    self.end().head = Some(head);
                    return Ok(appended);
                }
                self.end().rest = REST;
            }
        }
        let mut tx = self.write_waits.during(begin(&self.write)).await?;
        let (appended, head) = ledger::append(&mut tx, drafts).await?;
        tx.commit().await.map_err(classify)?;
        self.end().learn(head);
        Ok(appended)
    }

    async fn audit_entries(&self, filter: &AuditFilter, page: &AuditPage) -> Result<Vec<AuditEntry>> {
        ledger::list(&mut *self.reader().await?, filter, page).await
    }

    async fn scan_ledger(&self, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()> {
        ledger::scan(&self.read, range, visitor).await
    }

    async fn event(&self, event_id: Uuid) -> Result<Option<Event>> {
        events::get(&mut *self.reader().await?, event_id).await
    }

    async fn events(&self, filter: &EventFilter, page: &Page) -> Result<Vec<Event>> {
        events::list(&mut *self.reader().await?, filter, page).await
    }

    async fn claim_events(&self, claim: Claim, now: Timestamp, limit: u32) -> Result<Vec<Claimed>> {
        events::claim(&mut *self.writer().await?, claim, now, limit).await
    }

    async fn settle_events(&self, token: Uuid, now: Timestamp, settlements: &[Settlement]) -> Result<bool> {
        let mut tx = begin(&self.write).await?;
        let waiting = events::settle(&mut tx, token, now, settlements).await?;
        tx.commit().await.map_err(classify)?;
        Ok(waiting)
    }

    async fn requeue_events(&self, event_id: Option<Uuid>, now: Timestamp) -> Result<u64> {
        events::requeue(&mut *self.writer().await?, event_id, now).await
    }

    async fn event_backlog(&self) -> Result<Backlog> {
        events::backlog(&mut *self.reader().await?).await
    }

    fn outbox_signals(&self) -> BoxStream<'static, ()> {
        outbox_signals(&self.read)
    }

    async fn keep_rejections(&self, kept: &[Rejection], now: Timestamp) -> Result<()> {
        let mut tx = begin(&self.write).await?;
        rejections::keep(&mut tx, kept, now).await?;
        tx.commit().await.map_err(classify)
    }

    async fn rejections(&self, limit: u32, before: Option<i64>) -> Result<Vec<KeptRejection>> {
        rejections::list(&mut *self.reader().await?, limit, before).await
    }

    async fn tell_changes(&self, tell: &(dyn Fn(Told) + Send + Sync)) {
        changes::tell(&self.read, &self.target, tell).await;
    }

    async fn renewed(&self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() { Ok(()) } else { renewals::done(&mut *self.writer().await?, ids).await }
    }

    async fn forget_renewals(&self) -> Result<u64> {
        renewals::forget(&mut *self.writer().await?).await
    }

    async fn ping(&self) -> Result<()> {
        sqlx::query("SELECT 1").execute(&mut *self.reader().await?).await.map_err(classify)?;
        Ok(())
    }

    async fn schema(&self) -> Result<SchemaState> {
        schema::state(&self.write).await
    }

    async fn migrate(&self) -> Result<SchemaState> {
        schema::migrate(&self.write, &self.target).await
    }

    fn pools(&self) -> Vec<PoolState> {
        let state = |name, pool: &sqlx::Pool<Db>, (acquires, waited): (u64, Duration)| PoolState {
            name,
            open: pool.size(),
            idle: u32::try_from(pool.num_idle()).unwrap_or(u32::MAX),
            most: pool.options().get_max_connections(),
            acquires,
            waited,
        };
        let (reads, writes) = (self.read_waits.so_far(), self.write_waits.so_far());
        // Two handles of one pool share its options.
        if std::ptr::eq(self.read.options(), self.write.options()) {
            return vec![state("all", &self.read, (reads.0 + writes.0, reads.1 + writes.1))];
        }
        vec![state("read", &self.read, reads), state("write", &self.write, writes)]
    }

    async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

struct SqlTx {
    tx: sqlx::Transaction<'static, Db>,
}

#[async_trait]
impl Tx for SqlTx {
    async fn insert_entity(&mut self, entity: &Entity) -> Result<bool> {
        entities::insert(&mut self.tx, entity).await
    }

    async fn lock_entity(&mut self, id: Uuid) -> Result<Option<Entity>> {
        entities::lock(&mut self.tx, id).await
    }

    async fn update_entity(&mut self, entity: &Entity) -> Result<bool> {
        entities::update(&mut self.tx, entity).await
    }

    async fn lock_hierarchy(&mut self) -> Result<()> {
        lock_hierarchy(&mut self.tx).await
    }

    async fn lineage(&mut self, id: Uuid) -> Result<Vec<Uuid>> {
        entities::lineage(&mut self.tx, id).await
    }

    async fn entity_type(&mut self, id: Uuid) -> Result<Option<EntityType>> {
        entities::type_of(&mut self.tx, id).await
    }

    async fn insert_role(&mut self, role: &Role) -> Result<bool> {
        roles::insert(&mut self.tx, role).await
    }

    async fn lock_role(&mut self, id: Uuid) -> Result<Option<Role>> {
        roles::lock(&mut self.tx, id).await
    }

    async fn update_role(&mut self, role: &Role) -> Result<()> {
        roles::update(&mut self.tx, role).await
    }

    async fn set_role_actions(&mut self, role_id: Uuid, actions: &[String], now: Timestamp) -> Result<()> {
        roles::set_actions(&mut self.tx, role_id, actions, now).await
    }

    async fn role(&mut self, id: Uuid) -> Result<Option<Role>> {
        roles::get(&mut self.tx, id).await
    }

    async fn ensure_actions(&mut self, actions: &[Action], now: Timestamp) -> Result<()> {
        let mut sorted: Vec<&str> = actions.iter().map(Action::as_str).collect();
        sorted.sort_unstable();
        roles::ensure_actions(&mut self.tx, &sorted, now).await
    }

    async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<Inserted> {
        assignments::insert(&mut self.tx, assignment).await
    }

    async fn delete_assignment(&mut self, id: Uuid) -> Result<Option<Assignment>> {
        assignments::delete(&mut self.tx, id).await
    }

    async fn insert_event(&mut self, new: &OutboxEvent) -> Result<InsertedEvent> {
        events::insert(&mut self.tx, new).await
    }

    async fn renewals(&mut self) -> Result<Vec<Renewal>> {
        changes::own(&mut self.tx).await
    }

    async fn append(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        Ok(ledger::append(&mut self.tx, drafts).await?.0)
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        self.tx.commit().await.map_err(classify)
    }
}
