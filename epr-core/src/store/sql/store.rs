//! The storage contract on this database.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use super::schema::Target;
use super::{
    Conn, Loan, Pool, Transaction, acquire, acquire_timeout, assignments, begin, begin_list, changes, classify, commit,
    connections, end_list, entities, events, forsake, hand_back, hierarchy, keep_open, ledger, ledger_page,
    lock_hierarchy, missing_privileges, most, outbox_signals, pooler, rejections, renewals, reports, roles, same,
    schema, share_hierarchy, together, unless_silent, within,
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
use crate::store::lanes::Lanes;
use crate::store::pools::Waits;
use crate::store::{
    Appended, Backlog, Claim, Claimed, Connections, Cursor, HierarchyState, Inserted, InsertedEvent, LedgerVisitor,
    OutboxEvent, Page, PathToRoot, PoolState, Renewal, Result, ScanRange, SchemaState, Settlement, SinceTakeover,
    Store, StoreError, TableRow, Take, Told, Tx,
};

/// A database behind a pool for reading and one for writing, which may be the same.
pub struct SqlStore {
    read: Pool,
    write: Pool,
    lanes: Lanes,
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

/// How long what checks rest on may be waited for before another connection is asked. Above the server's limit for locks.
const CHECK: Duration = Duration::from_secs(7);

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
    pub(in super::super) fn new(read: Pool, write: Pool, target: Target) -> Self {
        Self {
            lanes: Lanes::new(most(&read), acquire_timeout(&read)),
            read,
            write,
            read_waits: Waits::default(),
            write_waits: Waits::default(),
            target,
            end: Mutex::default(),
        }
    }

    async fn transaction(&self) -> Result<Transaction> {
        self.write_waits.during(begin(&self.write)).await
    }

    async fn writer(&self) -> Result<Loan> {
        self.write_waits.during(acquire(&self.write)).await
    }

    fn end(&self) -> MutexGuard<'_, End> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn reader(&self) -> Result<Loan> {
        self.read_waits.during(acquire(&self.read)).await
    }

    /// Reads a page of a list, on one of the connections that lists may take and within the time that they have.
    async fn list<T>(&self, read: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let _lane = self.lanes.list().await?;
        let mut conn = self.read_waits.during(begin_list(&self.read)).await?;
        let listed = unless_silent(read(&mut conn)).await;
        end_list(conn, listed).await
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn begin(&self) -> Result<Box<dyn Tx>> {
        Ok(Box::new(SqlTx { tx: self.transaction().await? }))
    }

    async fn entity(&self, id: Uuid) -> Result<Option<Entity>> {
        unless_silent(entities::get(&mut *self.reader().await?, id)).await
    }

    async fn entities(&self, filter: &EntityFilter, page: Page, take: Take<'_, Entity>) -> Result<()> {
        self.list(async |conn| entities::list(conn, filter, page, take).await).await
    }

    async fn entities_end(&self, filter: &EntityFilter, bytes: i64) -> Result<Option<Cursor>> {
        self.list(async |conn| entities::end(conn, filter, bytes).await).await
    }

    async fn role(&self, id: Uuid) -> Result<Option<Role>> {
        unless_silent(roles::get(&mut *self.reader().await?, id)).await
    }

    async fn roles(&self, page: Page, take: Take<'_, Role>) -> Result<()> {
        self.list(async |conn| roles::list(conn, page, take).await).await
    }

    async fn roles_end(&self, bytes: i64) -> Result<Option<Cursor>> {
        self.list(async |conn| roles::end(conn, bytes).await).await
    }

    async fn assignments(&self, filter: &AssignmentFilter, page: Page, take: Take<'_, Assignment>) -> Result<()> {
        self.list(async |conn| assignments::list(conn, filter, page, take).await).await
    }

    async fn assignments_end(&self, filter: &AssignmentFilter, bytes: i64) -> Result<Option<Cursor>> {
        self.list(async |conn| assignments::end(conn, filter, bytes).await).await
    }

    async fn entity_named(&self, entity_type: EntityType, name: &str) -> Result<Option<Entity>> {
        unless_silent(entities::named(&mut *self.reader().await?, entity_type, name)).await
    }

    async fn role_named(&self, name: &str) -> Result<Option<Role>> {
        unless_silent(roles::named(&mut *self.reader().await?, name)).await
    }

    async fn scan_assignments(&self, scan: &AssignmentScan, take: Take<'_, NamedAssignment>) -> Result<()> {
        let _lane = self.lanes.scan().await?;
        reports::assignments(&self.read, scan, take).await
    }

    async fn scan_unheld_roles(&self, now: Timestamp, take: Take<'_, UnheldRole>) -> Result<()> {
        let _lane = self.lanes.scan().await?;
        reports::unheld_roles(&self.read, now, take).await
    }

    async fn scan_orphans(&self, take: Take<'_, Orphan>) -> Result<()> {
        let _lane = self.lanes.scan().await?;
        reports::orphans(&self.read, take).await
    }

    async fn hierarchy(&self) -> Result<HierarchyState> {
        let _lane = self.lanes.scan().await?;
        hierarchy::state(&self.read).await
    }

    async fn connections(&self) -> Result<Option<Connections>> {
        unless_silent(connections(&mut *self.reader().await?)).await
    }

    async fn missing_privileges(&self) -> Result<Vec<String>> {
        unless_silent(missing_privileges(&mut *self.reader().await?)).await
    }

    async fn facts(&self, questions: &[Question]) -> Result<Vec<Option<Facts>>> {
        let mut conn = self.reader().await?;
        match within(CHECK, together::read(&mut conn, questions)).await {
            // It was cut, or nobody is at the other end, and many may have asked at once; nothing is done twice by asking again.
            Err(fault) if is_cut(&fault) => {
                forsake(conn);
                let mut conn = self.reader().await?;
                within(CHECK, together::read(&mut conn, questions)).await
            }
            outcome => outcome,
        }
    }

    async fn append(&self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        if ledger::may_go_behind(drafts) {
            let known = self.end().head.take();
            if let Some(mut head) = known {
                let mut conn = self.writer().await?;
                if let Some(appended) = unless_silent(ledger::append_behind(&mut conn, &mut head, drafts)).await? {
                    self.end().head = Some(head);
                    return Ok(appended);
                }
                self.end().rest = REST;
            }
        }
        let mut tx = self.transaction().await?;
        let (appended, head) = unless_silent(ledger::append(&mut tx, drafts)).await?;
        commit(tx).await?;
        self.end().learn(head);
        Ok(appended)
    }

    async fn audit_entries(&self, filter: &AuditFilter, page: AuditPage, take: Take<'_, AuditEntry>) -> Result<()> {
        self.list(async |conn| ledger_page::list(conn, filter, page, take).await).await
    }

    async fn scan_ledger(&self, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()> {
        let _lane = self.lanes.scan().await?;
        ledger::scan(&self.read, range, visitor).await
    }

    async fn event(&self, event_id: Uuid) -> Result<Option<Event>> {
        unless_silent(events::get(&mut *self.reader().await?, event_id)).await
    }

    async fn events(&self, filter: &EventFilter, page: Page, take: Take<'_, Event>) -> Result<()> {
        self.list(async |conn| events::list(conn, filter, page, take).await).await
    }

    async fn claim_events(&self, claim: Claim, now: Timestamp, limit: u32) -> Result<Vec<Claimed>> {
        unless_silent(events::claim(&mut *self.writer().await?, claim, now, limit)).await
    }

    async fn settle_events(&self, token: Uuid, now: Timestamp, settlements: &[Settlement]) -> Result<bool> {
        let mut tx = self.transaction().await?;
        let waiting = unless_silent(events::settle(&mut tx, token, now, settlements)).await?;
        commit(tx).await?;
        Ok(waiting)
    }

    async fn requeue_events(&self, event_id: Option<Uuid>, now: Timestamp) -> Result<u64> {
        unless_silent(events::requeue(&mut *self.writer().await?, event_id, now)).await
    }

    async fn event_backlog(&self) -> Result<Backlog> {
        unless_silent(events::backlog(&mut *self.reader().await?)).await
    }

    fn outbox_signals(&self) -> BoxStream<'static, ()> {
        outbox_signals(&self.read)
    }

    async fn keep_rejections(&self, kept: &[Rejection], now: Timestamp) -> Result<()> {
        let mut tx = self.transaction().await?;
        unless_silent(rejections::keep(&mut tx, kept, now)).await?;
        commit(tx).await
    }

    async fn rejections(&self, limit: u32, before: Option<i64>) -> Result<Vec<KeptRejection>> {
        self.list(async |conn| rejections::list(conn, limit, before).await).await
    }

    async fn tell_changes(&self, tell: &(dyn Fn(Told) + Send + Sync)) {
        changes::tell(&self.read, &self.target, tell).await;
    }

    async fn renewed(&self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() { Ok(()) } else { unless_silent(renewals::done(&mut *self.writer().await?, ids)).await }
    }

    async fn forget_renewals(&self) -> Result<u64> {
        unless_silent(renewals::forget(&mut *self.writer().await?)).await
    }

    async fn reach(&self) -> std::result::Result<(), crate::store::Unreached> {
        super::reach(&self.write).await
    }

    async fn ping(&self) -> Result<()> {
        let mut conn = self.reader().await?;
        unless_silent(async { sqlx::query("SELECT 1").execute(&mut *conn).await.map_err(classify) }).await?;
        Ok(())
    }

    async fn schema(&self) -> Result<SchemaState> {
        schema::state(&self.write).await
    }

    async fn migrate(&self) -> Result<SchemaState> {
        schema::migrate(&self.write, &self.target).await
    }

    async fn since_takeover(&self) -> Result<Option<SinceTakeover>> {
        hand_back::since_takeover(&mut *self.reader().await?).await
    }

    async fn scan_since_takeover(&self, take: Take<'_, TableRow>) -> Result<()> {
        let _lane = self.lanes.scan().await?;
        hand_back::scan(&self.read, take).await
    }

    async fn hand_back(&self, seen: &SinceTakeover) -> Result<()> {
        hand_back::hand_back(&self.write, seen).await
    }

    fn pools(&self) -> Vec<PoolState> {
        let state = |name, pool: &Pool, (acquires, waited): (u64, Duration)| PoolState {
            name,
            open: pool.size(),
            idle: u32::try_from(pool.num_idle()).unwrap_or(u32::MAX),
            most: most(pool),
            acquires,
            waited,
        };
        let (reads, writes) = (self.read_waits.so_far(), self.write_waits.so_far());
        if same(&self.read, &self.write) {
            return vec![state("all", &self.read, (reads.0 + writes.0, reads.1 + writes.1))];
        }
        vec![state("read", &self.read, reads), state("write", &self.write, writes)]
    }

    fn pooler(&self) -> Option<&'static str> {
        pooler(&self.read)
    }

    fn keep_open(&self) {
        keep_open(&self.read);
    }

    async fn close(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

struct SqlTx {
    tx: Transaction,
}

#[async_trait]
impl Tx for SqlTx {
    async fn insert_entity(&mut self, entity: &Entity) -> Result<bool> {
        unless_silent(entities::insert(&mut self.tx, entity)).await
    }

    async fn lock_entity(&mut self, id: Uuid) -> Result<Option<Entity>> {
        unless_silent(entities::lock(&mut self.tx, id)).await
    }

    async fn update_entity(&mut self, entity: &Entity) -> Result<bool> {
        unless_silent(entities::update(&mut self.tx, entity)).await
    }

    async fn lock_hierarchy(&mut self) -> Result<()> {
        unless_silent(lock_hierarchy(&mut self.tx)).await
    }

    async fn share_hierarchy(&mut self) -> Result<()> {
        unless_silent(share_hierarchy(&mut self.tx)).await
    }

    async fn path_to_root(&mut self, id: Uuid, limit: usize) -> Result<PathToRoot> {
        unless_silent(hierarchy::path_to_root(&mut self.tx, id, limit)).await
    }

    async fn has_levels_below(&mut self, id: Uuid, levels: usize) -> Result<bool> {
        unless_silent(hierarchy::has_levels_below(&mut self.tx, id, levels)).await
    }

    async fn entity_type(&mut self, id: Uuid) -> Result<Option<EntityType>> {
        unless_silent(entities::type_of(&mut self.tx, id)).await
    }

    async fn insert_role(&mut self, role: &Role) -> Result<bool> {
        unless_silent(roles::insert(&mut self.tx, role)).await
    }

    async fn lock_role(&mut self, id: Uuid) -> Result<Option<Role>> {
        unless_silent(roles::lock(&mut self.tx, id)).await
    }

    async fn update_role(&mut self, role: &Role) -> Result<()> {
        unless_silent(roles::update(&mut self.tx, role)).await
    }

    async fn set_role_actions(&mut self, role_id: Uuid, actions: &[String], now: Timestamp) -> Result<()> {
        unless_silent(roles::set_actions(&mut self.tx, role_id, actions, now)).await
    }

    async fn role(&mut self, id: Uuid) -> Result<Option<Role>> {
        unless_silent(roles::get(&mut self.tx, id)).await
    }

    async fn ensure_actions(&mut self, actions: &[Action], now: Timestamp) -> Result<()> {
        let mut sorted: Vec<&str> = actions.iter().map(Action::as_str).collect();
        sorted.sort_unstable();
        unless_silent(roles::ensure_actions(&mut self.tx, &sorted, now)).await
    }

    async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<Inserted> {
        unless_silent(assignments::insert(&mut self.tx, assignment)).await
    }

    async fn delete_assignment(&mut self, id: Uuid) -> Result<Option<Assignment>> {
        unless_silent(assignments::delete(&mut self.tx, id)).await
    }

    async fn insert_event(&mut self, new: &OutboxEvent) -> Result<InsertedEvent> {
        unless_silent(events::insert(&mut self.tx, new)).await
    }

    async fn renewals(&mut self) -> Result<Vec<Renewal>> {
        unless_silent(changes::own(&mut self.tx)).await
    }

    async fn append(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        Ok(unless_silent(ledger::append(&mut self.tx, drafts)).await?.0)
    }

    async fn commit(self: Box<Self>) -> Result<()> {
        commit(self.tx).await
    }
}
