//! The storage contract on this database.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use super::dialect::{
    Conn, Loan, Pool, Transaction, acquire, acquire_timeout, begin, begin_list, changes, classify, connections,
    end_list, forsake, generation, keep_open, missing_privileges, most, outbox_signals, pooler, same, server_time,
    together, unless_silent, wait_briefly, within,
};
use super::ledger::Extended;
use super::schema::Target;
use super::takeover::hand_back;
use super::tx::{SqlTx, ends_connection, is_about_connection, is_lock_timeout};
use super::{
    assignments, dialect, entities, events, hierarchy, ledger, ledger_page, rejections, renewals, reports, roles,
    schema,
};
use crate::decision::Question;
use crate::domain::audit::{KeptRejection, Rejection};
use crate::domain::event::{Event, EventFilter};
use crate::domain::{
    Assignment, AssignmentFilter, AssignmentScan, AuditEntry, AuditFilter, AuditPage, Entity, EntityFilter, EntityType,
    NamedAssignment, Orphan, Role, Timestamp, UnheldRole,
};
use crate::ledger::chain::Draft;
use crate::store::lanes::Lanes;
use crate::store::lineage::Lineage;
use crate::store::pools::Waits;
use crate::store::{
    Appended, Backlog, Claim, Claimed, Connections, Cursor, Decide, FactsRead, HierarchyState, LedgerVisitor, Page,
    PoolState, Result, ScanRange, SchemaState, Settlement, SinceTakeover, Store, StoreError, TableRow, Take,
    TakeoverReport, Told, Tx,
};

/// A database behind a pool for reading and one for writing, which may be the same.
pub struct SqlStore {
    read: Pool,
    write: Pool,
    lanes: Lanes,
    read_waits: Waits,
    write_waits: Waits,
    target: Target,
    end: Arc<Mutex<End>>,
    lineage: Arc<Lineage>,
}

/// What is remembered of the chain's end.
#[derive(Default)]
pub(super) struct End {
    /// Where it was after an append of this process. May be behind; the statement that builds upon it compares.
    last: Option<Extended>,
    /// How many appends to go before it is remembered again.
    rest: u32,
}

impl End {
    /// Remembers the end of the chain after a commit.
    pub(super) fn learn(&mut self, end: Extended) {
        match self.rest.checked_sub(1) {
            Some(rest) => self.rest = rest,
            None => self.last = Some(end),
        }
    }
}

/// After how many appends to try again by one statement when somebody else was faster: an attempt in vain waits for the ledger's lock and
/// flushes the disk under it.
const REST: u32 = 16;

/// How long what checks rest on may be waited for before another connection is asked. Above the server's limit for locks.
const CHECK: Duration = Duration::from_secs(7);

/// Most connections that the facts of a check are read on, one after the other, when they are cut or lead to a wrong server.
const CHECK_ATTEMPTS: u32 = 3;

impl SqlStore {
    pub(in super::super) fn new(read: Pool, write: Pool, target: Target, lineage: Arc<Lineage>) -> Self {
        Self {
            lanes: Lanes::new(most(&read), acquire_timeout(&read)),
            read,
            write,
            read_waits: Waits::default(),
            write_waits: Waits::default(),
            target,
            end: Arc::default(),
            lineage,
        }
    }

    async fn transaction(&self) -> Result<Transaction> {
        let generation = self.lineage.generation();
        let begun = self.write_waits.during(begin(&self.write)).await;
        if let Err(fault) = &begun {
            // Its connection is closed already.
            ends_connection(fault, &self.lineage, generation);
        }
        begun
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
        let generation = generation(&conn);
        let listed = self.lineage.while_current(generation, unless_silent(read(&mut conn))).await;
        end_list(conn, listed).await
    }

    fn session(&self, tx: Transaction) -> SqlTx {
        SqlTx::new(tx, Arc::clone(&self.lineage), Arc::clone(&self.end))
    }

    /// What a step on `loan` came to. INVARIANT: a connection that was cut or leads to a wrong server is not used again.
    async fn noted<T>(&self, mut loan: Loan, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let generation = generation(&loan);
        let outcome = self.lineage.while_current(generation, step(&mut loan)).await;
        if outcome.as_ref().is_err_and(|fault| ends_connection(fault, &self.lineage, generation)) {
            forsake(loan);
        }
        outcome
    }

    /// Runs one step on a connection for reading.
    async fn read<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let conn = self.reader().await?;
        self.noted(conn, async |conn| unless_silent(step(conn)).await).await
    }

    /// Runs one step on a connection for writing.
    async fn write<T>(&self, step: impl AsyncFnOnce(&mut Conn) -> Result<T>) -> Result<T> {
        let conn = self.writer().await?;
        self.noted(conn, async |conn| unless_silent(step(conn)).await).await
    }

    async fn read_facts(&self, questions: &[Question]) -> Result<FactsRead> {
        // Before the statement: what it sees is not older.
        let known = self.lineage.known();
        let conn = self.reader().await?;
        let read = async |conn: &mut Conn| within(CHECK, together::read(conn, questions, known.as_ref())).await;
        let (facts, revision) = self.noted(conn, read).await?;
        self.lineage.learn(&revision);
        Ok(FactsRead { facts, revision: revision.sequence })
    }

    /// Notes where the chain ends after a commit.
    fn committed(&self, end: Extended) {
        if let Some(entry) = &end.decisive {
            self.lineage.learn(entry);
        }
        self.end().last = Some(end);
    }
}

#[async_trait]
impl Store for SqlStore {
    async fn begin(&self) -> Result<Box<dyn Tx>> {
        Ok(Box::new(self.session(self.transaction().await?)))
    }

    async fn entity(&self, id: Uuid) -> Result<Option<Entity>> {
        self.read(async |conn| entities::get(conn, id).await).await
    }

    async fn entities(&self, filter: &EntityFilter, page: Page, take: Take<'_, Entity>) -> Result<()> {
        self.list(async |conn| entities::list(conn, filter, page, take).await).await
    }

    async fn entities_end(&self, filter: &EntityFilter, bytes: i64) -> Result<Option<Cursor>> {
        self.list(async |conn| entities::end(conn, filter, bytes).await).await
    }

    async fn role(&self, id: Uuid) -> Result<Option<Role>> {
        self.read(async |conn| roles::get(conn, id).await).await
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
        self.read(async |conn| entities::named(conn, entity_type, name).await).await
    }

    async fn role_named(&self, name: &str) -> Result<Option<Role>> {
        self.read(async |conn| roles::named(conn, name).await).await
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
        self.read(async |conn| connections(conn).await).await
    }

    async fn missing_privileges(&self) -> Result<Vec<String>> {
        self.read(async |conn| missing_privileges(conn).await).await
    }

    async fn facts(&self, questions: &[Question]) -> Result<FactsRead> {
        let begun = Instant::now();
        let mut attempt = 1;
        loop {
            match self.read_facts(questions).await {
                // It was cut, leads to a wrong server, or nothing is at the other end. Nothing is done twice by asking again.
                Err(fault)
                    if is_about_connection(&fault)
                        && attempt < CHECK_ATTEMPTS
                        && (attempt == 1 || begun.elapsed() < CHECK) =>
                {
                    attempt += 1;
                }
                outcome => return outcome,
            }
        }
    }

    async fn append(&self, drafts: &[Draft]) -> Result<Vec<Appended>> {
        if ledger::BY_ONE_STATEMENT {
            let last = self.end().last.take();
            if let Some(mut end) = last.filter(|end| ledger::can_append_after(end, drafts)) {
                let appended = self.write(async |conn| ledger::append_after(conn, &mut end, drafts).await).await?;
                if let Some(appended) = appended {
                    self.committed(end);
                    return Ok(appended);
                }
                self.end().rest = REST;
            }
        }
        let mut tx = self.session(self.transaction().await?);
        let appended = tx.append_drafts(drafts).await?;
        tx.finish().await?;
        Ok(appended)
    }

    async fn append_decisions(&self, questions: &[Question], decide: Decide<'_>) -> Result<Vec<Option<Appended>>> {
        let mut tx = self.session(self.transaction().await?);
        let appended = tx.append_decisions(questions, decide).await?;
        tx.finish().await?;
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
        self.read(async |conn| events::get(conn, event_id).await).await
    }

    async fn events(&self, filter: &EventFilter, page: Page, take: Take<'_, Event>) -> Result<()> {
        self.list(async |conn| events::list(conn, filter, page, take).await).await
    }

    async fn claim_events(&self, claim: Claim, now: Timestamp, limit: u32) -> Result<Vec<Claimed>> {
        self.write(async |conn| events::claim(conn, claim, now, limit).await).await
    }

    async fn settle_events(&self, token: Uuid, now: Timestamp, settlements: &[Settlement]) -> Result<bool> {
        let mut tx = self.session(self.transaction().await?);
        let waiting = tx.step(async |conn| events::settle(conn, token, now, settlements).await).await?;
        tx.finish().await?;
        Ok(waiting)
    }

    async fn requeue_events(&self, event_id: Option<Uuid>, now: Timestamp) -> Result<u64> {
        self.write(async |conn| events::requeue(conn, event_id, now).await).await
    }

    async fn any_event_pending(&self) -> Result<bool> {
        self.read(async |conn| events::any_pending(conn).await).await
    }

    async fn event_backlog(&self) -> Result<Backlog> {
        self.read(async |conn| events::backlog(conn).await).await
    }

    fn outbox_signals(&self) -> BoxStream<'static, ()> {
        outbox_signals(&self.read)
    }

    async fn keep_rejections(&self, kept: &[Rejection], now: Timestamp) -> Result<()> {
        let mut tx = self.session(self.transaction().await?);
        tx.step(async |conn| rejections::keep(conn, kept, now).await).await?;
        tx.finish().await
    }

    async fn rejections(&self, limit: u32, before: Option<i64>) -> Result<Vec<KeptRejection>> {
        self.list(async |conn| rejections::list(conn, limit, before).await).await
    }

    async fn tell_changes(&self, tell: &(dyn Fn(Told) + Send + Sync)) {
        changes::tell(&self.read, &self.target, tell).await;
    }

    async fn renewed(&self, ids: &[i64]) -> Result<()> {
        if ids.is_empty() { Ok(()) } else { self.write(async |conn| renewals::done(conn, ids).await).await }
    }

    async fn forget_renewals(&self) -> Result<u64> {
        self.write(async |conn| renewals::forget(conn).await).await
    }

    async fn reach(&self) -> std::result::Result<(), crate::store::Unreached> {
        dialect::reach(&self.write).await
    }

    async fn ready(&self) -> Result<()> {
        let known = self.lineage.known();
        let tx = match self.transaction().await {
            // Others are writing.
            Err(StoreError::Contention(_)) => return Ok(()),
            begun => begun?,
        };
        // Rolled back when it is dropped.
        let mut tx = self.session(tx);
        let probe = async |conn: &mut Conn| {
            wait_briefly(&mut *conn).await?;
            ledger::ready(conn, known.as_ref()).await
        };
        match tx.step(probe).await {
            // Another transaction has locked a table, as a migration does: that passes.
            Err(fault) if is_lock_timeout(&fault) => Ok(()),
            outcome => outcome,
        }
    }

    async fn server_time(
        &self,
        now: &(dyn Fn() -> Timestamp + Send + Sync),
    ) -> Result<Option<(Timestamp, Timestamp, Timestamp)>> {
        // The clock is read on the connection: waiting for one is no difference of clocks.
        self.read(async |conn| {
            let before = now();
            Ok(server_time(conn).await?.map(|time| (before, time, now())))
        })
        .await
    }

    async fn ping(&self) -> Result<()> {
        self.read(async |conn| sqlx::query("SELECT 1").execute(conn).await.map_err(classify)).await?;
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

    async fn plan_takeover(&self) -> Result<Option<TakeoverReport>> {
        schema::plan_takeover(&self.write, &self.target).await
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
