//! The storage contract: what the handlers may ask of a database, and what they can rely on.
//!
//! The only place that knows sqlx. Everything above sees the two traits here, which both adapters keep; one
//! conformance suite runs on both. The SQL in `sql/` is written once and compiled twice, inside `postgres` and
//! inside `sqlite`, each of which brings the few things that differ.

mod changes;
mod error;
mod foreign;
pub mod grants;
mod hierarchy;
mod lanes;
mod lineage;
mod misfits;
mod page;
mod pools;
pub mod postgres;
pub mod sqlite;
mod takeover;
pub mod url;

use async_trait::async_trait;
use futures_util::stream::BoxStream;
use uuid::Uuid;

use crate::decision::{Facts, Question};
use crate::domain::audit::{KeptRejection, Rejection};
use crate::domain::event::{DeliveryState, Event, EventFilter};
use crate::domain::role::Action;
use crate::domain::{
    Assignment, AssignmentFilter, AssignmentScan, AuditEntry, AuditFilter, AuditPage, Entity, EntityFilter, EntityType,
    NamedAssignment, Orphan, Role, Timestamp, UnheldRole,
};
use crate::ledger::chain::{Draft, Head, HexHash};
use crate::ledger::verify::{StoredEntry, UnreadableRow};

pub use changes::{Renewal, Told};
pub use error::{StoreError, Unreached};
pub use foreign::ForeignRows;
pub use hierarchy::{HierarchyState, MAX_LEVELS, MAX_WALK, PathEnd, PathToRoot, chain_text};
pub use lineage::WrongServer;
pub use misfits::{Misfit, TakeoverReport};
pub use page::{Cursor, CursorFault, Page, decode_place, encode_place};
pub use pools::PoolState;
pub use takeover::{SinceTakeover, TableRow};

/// The logger under which statements appear when they are echoed.
pub const STATEMENT_LOGGER: &str = "sqlx::query";

/// What a storage call gives.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Makes an entry of the facts of one question: its position, its facts, and the revision they were read at.
pub type Decide<'a> = &'a (dyn Fn(usize, Option<&Facts>, i64) -> Option<Draft> + Send + Sync);

/// Facts, all from one snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactsRead {
    /// Of each question; `None` where the resource is unknown.
    pub facts: Vec<Option<Facts>>,
    /// The sequence of the newest ledger entry that changed what decisions depend on; 0 when there is none.
    pub revision: i64,
}

/// Sees the rows of a scan one at a time; `false` ends it.
pub type Take<'a, T> = &'a mut (dyn FnMut(T) -> bool + Send);

/// A [`Take`] that keeps every row.
pub(crate) fn keep_rows<T: Send>(rows: &mut Vec<T>) -> impl FnMut(T) -> bool + Send {
    |row| {
        rows.push(row);
        true
    }
}

/// Connections of a database server, whoever holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// How many there are now.
    pub used: i64,
    /// How many it admits.
    pub max: i64,
}

/// How the database's schema stands to what this program knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaState {
    /// The newest migration applied; 0 when there is none.
    pub applied: i64,
    /// The newest migration this program knows.
    pub known: i64,
}

/// A database. Reads see committed data only; each call is one consistent snapshot.
#[async_trait]
pub trait Store: Send + Sync {
    /// Starts a transaction. SQLite admits one at a time and makes the others wait.
    async fn begin(&self) -> Result<Box<dyn Tx>>;

    /// One entity, archived or not.
    async fn entity(&self, id: Uuid) -> Result<Option<Entity>>;

    /// Shows entities that are not archived to `take`, newest first, until it says `false`. Read in batches, each of which is one
    /// snapshot: a row that stays is seen once, one that is removed meanwhile may be missing.
    async fn entities(&self, filter: &EntityFilter, page: Page, take: Take<'_, Entity>) -> Result<()>;

    /// The last row of that list, from its beginning, that about `bytes` of JSON have room for; `None` when all of it has.
    async fn entities_end(&self, filter: &EntityFilter, bytes: i64) -> Result<Option<Cursor>>;

    /// One role with its actions.
    async fn role(&self, id: Uuid) -> Result<Option<Role>>;

    /// Shows roles with their actions, newest first, in the same way.
    async fn roles(&self, page: Page, take: Take<'_, Role>) -> Result<()>;

    /// Where that list ends, as for entities.
    async fn roles_end(&self, bytes: i64) -> Result<Option<Cursor>>;

    /// Shows assignments, newest first, in force or not, in the same way.
    async fn assignments(&self, filter: &AssignmentFilter, page: Page, take: Take<'_, Assignment>) -> Result<()>;

    /// Where that list ends, as for entities.
    async fn assignments_end(&self, filter: &AssignmentFilter, bytes: i64) -> Result<Option<Cursor>>;

    /// The entity with this unique name, archived or not.
    async fn entity_named(&self, entity_type: EntityType, name: &str) -> Result<Option<Entity>>;

    /// The role with this unique name.
    async fn role_named(&self, name: &str) -> Result<Option<Role>>;

    /// Shows assignments to `take`, all from one snapshot and in constant memory, until that says `false`.
    async fn scan_assignments(&self, scan: &AssignmentScan, take: Take<'_, NamedAssignment>) -> Result<()>;

    /// Shows the roles of which no assignment is in force at `now` or begins later, by name, in the same way.
    async fn scan_unheld_roles(&self, now: Timestamp, take: Take<'_, UnheldRole>) -> Result<()>;

    /// Shows the entities in use whose parent is archived, in the same way.
    async fn scan_orphans(&self, take: Take<'_, Orphan>) -> Result<()>;

    /// Looks for entities that are too deep, and for cycles. Reads all entities.
    async fn hierarchy(&self) -> Result<HierarchyState>;

    /// How many connections the server has and admits; `None` when there is no server.
    async fn connections(&self) -> Result<Option<Connections>>;

    /// Privileges of [`grants::TABLES`] that the database's user lacks, such as `INSERT on roles`; none where the database has
    /// no users.
    async fn missing_privileges(&self) -> Result<Vec<String>>;

    /// What the decision on each of `questions` depends on, in their order, each read in one statement; `None` where the resource
    /// is unknown. Never from a server in recovery, nor from one whose ledger lacks what this process knows of it.
    async fn facts(&self, questions: &[Question]) -> Result<FactsRead>;

    /// Appends to the ledger, in order, as one piece and in a transaction of its own. When the connection breaks, nobody may know whether
    /// it was done.
    /// Drafts whose basis is not the newest any more are left out: [`Appended::Outdated`].
    async fn append(&self, drafts: &[Draft]) -> Result<Vec<Appended>>;

    /// Reads the facts of `questions` under the ledger's lock, and appends what `decide` makes of each. `None` appends nothing
    /// for it.
    async fn append_decisions(&self, questions: &[Question], decide: Decide<'_>) -> Result<Vec<Option<Appended>>>;

    /// Shows entries of the ledger to `take` until it says `false`, in batches.
    async fn audit_entries(&self, filter: &AuditFilter, page: AuditPage, take: Take<'_, AuditEntry>) -> Result<()>;

    /// Shows entries in order to `visitor`, all from one snapshot and in constant memory.
    async fn scan_ledger(&self, range: ScanRange, visitor: &mut dyn LedgerVisitor) -> Result<()>;

    /// One event, by its `event_id`.
    async fn event(&self, event_id: Uuid) -> Result<Option<Event>>;

    /// Shows events to `take` until it says `false`, newest first by when they happened, in batches; the page's cursor holds that
    /// moment.
    async fn events(&self, filter: &EventFilter, page: Page, take: Take<'_, Event>) -> Result<()>;

    /// Claims up to `limit` events that are due and have none before them with the same key. Two callers never hold the
    /// same event at the same time, unless the lease of one has run out.
    async fn claim_events(&self, claim: Claim, now: Timestamp, limit: u32) -> Result<Vec<Claimed>>;

    /// Writes down what became of events claimed under `token`; events no longer held under it are left alone. `true`
    /// when later events with the same key are pending, which may be deliverable now.
    async fn settle_events(&self, token: Uuid, now: Timestamp, settlements: &[Settlement]) -> Result<bool>;

    /// Puts failed events back to pending, one or all; gives how many.
    async fn requeue_events(&self, event_id: Option<Uuid>, now: Timestamp) -> Result<u64>;

    /// Whether an event is still to be delivered. Costs the same whatever the backlog is.
    async fn any_event_pending(&self) -> Result<bool>;

    /// What is still to be delivered, counted up to [`Backlog::MAX_COUNT`].
    async fn event_backlog(&self) -> Result<Backlog>;

    /// A signal whenever some process has left an event to the relays. Signals may be lost: poll as well. Ends when the
    /// database has no such thing.
    fn outbox_signals(&self) -> BoxStream<'static, ()>;

    /// Writes down messages that did not become entries; of one that was written before, that it was seen again.
    async fn keep_rejections(&self, rejections: &[Rejection], now: Timestamp) -> Result<()>;

    /// At most `limit` of them, newest first, those before the place `before` if that is given.
    async fn rejections(&self, limit: u32, before: Option<i64>) -> Result<Vec<KeptRejection>>;

    /// Tells every change of what decisions rest on, in this process or another one, until it is dropped or the database
    /// closed. Returns when there is nothing to tell, after [`Told::Alone`].
    async fn tell_changes(&self, tell: &(dyn Fn(Told) + Send + Sync));

    /// Says that renewals need not be seen to any more.
    async fn renewed(&self, ids: &[i64]) -> Result<()>;

    /// Removes renewals that are older than any entry of a cache can be; gives how many.
    async fn forget_renewals(&self) -> Result<u64>;

    /// Opens a connection of its own and closes it, to learn why there is none.
    async fn reach(&self) -> std::result::Result<(), Unreached> {
        Ok(())
    }

    /// The database server's time between two readings of `now`, one before it was asked for and one after it arrived; `None`
    /// when there is no server.
    async fn server_time(
        &self,
        now: &(dyn Fn() -> Timestamp + Send + Sync),
    ) -> Result<Option<(Timestamp, Timestamp, Timestamp)>>;

    /// One round trip that touches no table.
    async fn ping(&self) -> Result<()>;

    /// Whether facts can be read and an entry can be written now, on the server that has the ledger. Writes nothing.
    async fn ready(&self) -> Result<()>;

    /// How the schema stands.
    async fn schema(&self) -> Result<SchemaState>;

    /// Applies what is missing, under a lock that other processes respect.
    ///
    /// # Errors
    /// [`StoreError::SchemaTooNew`] when the database knows migrations that this program does not.
    async fn migrate(&self) -> Result<SchemaState>;

    /// What was written since older tables were taken over; `None` when none are set aside.
    async fn since_takeover(&self) -> Result<Option<SinceTakeover>>;

    /// Shows what the older tables do not hold, ledger entries aside, to `take` until it says `false`, all from one snapshot.
    async fn scan_since_takeover(&self, take: Take<'_, TableRow>) -> Result<()>;

    /// Removes EPR's tables and gives the older ones their names back, when no more was written than `seen`.
    async fn hand_back(&self, seen: &SinceTakeover) -> Result<()>;
    /// What [`Store::migrate`] would find in the tables of an older implementation; `None` when there are none. Changes nothing, but
    /// holds their locks while it looks.
    async fn plan_takeover(&self) -> Result<Option<TakeoverReport>>;

    /// How its connections are used at this moment. No I/O.
    fn pools(&self) -> Vec<PoolState>;

    /// The mode of the connection pooler in front of the server, once a connection was opened; `None` when there is none.
    fn pooler(&self) -> Option<&'static str>;

    /// Opens all connections in the background and keeps them open, for a process that serves: a server that has no room left
    /// later takes nothing away from it.
    fn keep_open(&self);

    /// Waits for calls under way, then closes every connection.
    async fn close(&self);
}

/// A transaction. Dropping it undoes everything; only [`Tx::commit`] keeps it.
///
/// Calls that find a unique key taken say so by their return value and leave the transaction usable, unless noted.
#[async_trait]
pub trait Tx: Send {
    /// Inserts; `false` when `(name, type)` is taken.
    async fn insert_entity(&mut self, entity: &Entity) -> Result<bool>;

    /// One entity, locked against other writers until the end of the transaction.
    async fn lock_entity(&mut self, id: Uuid) -> Result<Option<Entity>>;

    /// Writes every mutable field. `false` when `(name, type)` is taken, after which the transaction must be dropped.
    async fn update_entity(&mut self, entity: &Entity) -> Result<bool>;

    /// Makes this the only transaction that changes parents or creates children, until its end. Taken before any path is read,
    /// so that two changes which together close a cycle or make a path too long see each other.
    async fn lock_hierarchy(&mut self) -> Result<()>;

    /// Keeps others from changing parents until the end of this transaction. Others may take it at the same time.
    async fn share_hierarchy(&mut self) -> Result<()>;

    /// The entity and its ancestors. Stops after `limit` of them, and in a cycle.
    async fn path_to_root(&mut self, id: Uuid, limit: usize) -> Result<PathToRoot>;

    /// Whether an entity has a descendant that many levels below itself. May read the whole subtree.
    async fn has_levels_below(&mut self, id: Uuid, levels: usize) -> Result<bool>;

    /// The type of an entity, if it exists.
    async fn entity_type(&mut self, id: Uuid) -> Result<Option<EntityType>>;

    /// Inserts a role without its actions; `false` when the name is taken.
    async fn insert_role(&mut self, role: &Role) -> Result<bool>;

    /// One role with its actions, locked against other writers until the end of the transaction.
    async fn lock_role(&mut self, id: Uuid) -> Result<Option<Role>>;

    /// Writes description, scope types and `updated_at`.
    async fn update_role(&mut self, role: &Role) -> Result<()>;

    /// Makes `actions` the role's actions, creating those that are new to the registry.
    async fn set_role_actions(&mut self, role_id: Uuid, actions: &[String], now: Timestamp) -> Result<()>;

    /// One role with its actions.
    async fn role(&mut self, id: Uuid) -> Result<Option<Role>>;

    /// Creates those of `actions` that are new to the registry.
    async fn ensure_actions(&mut self, actions: &[Action], now: Timestamp) -> Result<()>;

    /// Inserts, or gives the assignment that already stands under the same key.
    async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<Inserted>;

    /// Deletes and gives what was deleted; `None` when there is none.
    async fn delete_assignment(&mut self, id: Uuid) -> Result<Option<Assignment>>;

    /// Writes an event into the outbox, or gives the one that was ingested under the same source and correlation id.
    async fn insert_event(&mut self, new: &OutboxEvent) -> Result<InsertedEvent>;

    /// What this transaction has changed so far about decisions. Asked once, after the last statement that may change some.
    async fn renewals(&mut self) -> Result<Vec<Renewal>>;

    /// Appends to the ledger, in order, as one piece. Takes the ledger's lock, which is held until the end of the
    /// transaction: call it last.
    async fn append(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>>;

    /// Takes the ledger's lock and moves every row beyond the head of the chain from `audit_logs` to `audit_logs_set_aside`.
    async fn set_aside_foreign_rows(&mut self) -> Result<ForeignRows>;

    /// Keeps everything done in this transaction.
    async fn commit(self: Box<Self>) -> Result<()>;
}

/// What became of an insertion under a unique key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inserted {
    /// It is new.
    New,
    /// This one was there before.
    Existing(Assignment),
}

/// The right to deliver events for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// The fence: results count only under it.
    pub token: Uuid,
    /// Until when.
    pub until: Timestamp,
}

/// An event to be written into the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEvent {
    /// The event.
    pub event: Event,
    /// Events with the same key are delivered one after the other.
    pub ordering_key: Option<String>,
    /// The claim under which it is written, if it can be delivered at once.
    pub lease: Option<Claim>,
}

/// What became of an event that was to be written.
#[derive(Debug, Clone, PartialEq)]
pub enum InsertedEvent {
    /// It is new.
    New {
        /// Its place in the outbox.
        position: i64,
        /// Whether the writer holds it; otherwise it is the relays'.
        claimed: bool,
    },
    /// This one was ingested before.
    Existing(Box<Event>),
}

/// An event that the caller may deliver.
#[derive(Debug, Clone, PartialEq)]
pub struct Claimed {
    /// Its place in the outbox.
    pub position: i64,
    /// The event.
    pub event: Event,
}

/// What became of a claimed event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    /// Its place in the outbox.
    pub position: i64,
    /// Its state from now on.
    pub state: DeliveryState,
    /// Attempts to add.
    pub attempts: i32,
    /// What went wrong.
    pub last_error: Option<String>,
    /// When it is due again, if it is pending.
    pub next_attempt_at: Timestamp,
}

/// What is still to be delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// Events that are pending, at most [`Backlog::MAX_COUNT`].
    pub pending: i64,
    /// Events that were given up, at most [`Backlog::MAX_COUNT`].
    pub failed: i64,
    /// When the oldest pending one was written.
    pub oldest_pending: Option<Timestamp>,
}

impl Backlog {
    /// Events beyond this many are not counted: the cost of a look is bounded.
    pub const MAX_COUNT: i64 = 100_000;
}

/// What became of an event that was to be appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// It stands in the ledger now.
    Recorded {
        /// Its place.
        sequence: i64,
        /// The hash of the entry before it.
        previous_hash: HexHash,
        /// Its hash.
        entry_hash: HexHash,
    },
    /// The same event with the same key stood there before.
    Duplicate {
        /// Its place.
        sequence: i64,
    },
    /// Another event with the same key stands there. Nothing was recorded.
    Conflict {
        /// The other's place.
        sequence: i64,
    },
    /// What decisions depend on has changed since its facts were read. Nothing was recorded.
    Outdated,
}

/// Which entries to scan, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScanRange {
    /// The first place, from 1.
    pub from: i64,
    /// The last place; `i64::MAX` is the end of the ledger, wherever that is.
    pub to: i64,
}

impl ScanRange {
    /// The whole ledger.
    pub const ALL: Self = Self { from: 1, to: i64::MAX };

    /// The last place when the range names one; `None` when it goes to the end of the ledger.
    #[must_use]
    pub fn end(self) -> Option<i64> {
        (self.to < i64::MAX).then_some(self.to)
    }
}

/// What is known before the first entry of a scan is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanStart {
    /// The hash stored with the entry just before the range, if it is there.
    pub anchor: Option<String>,
    /// Where the chain ends by its own account.
    pub head: Option<Head>,
    /// The last place that is taken; 0 when there is none.
    pub last: i64,
    /// Whether there are rows without a place.
    pub unplaced: bool,
    /// The last entry that may hold numbers in the form of an earlier version ([`crate::ledger::number`]).
    pub former_numbers_up_to: i64,
}

/// Sees the ledger go by.
pub trait LedgerVisitor: Send {
    /// The scan begins; `false` ends it at once.
    fn begin(&mut self, start: ScanStart) -> bool;

    /// The next row; `false` ends the scan.
    fn entry(&mut self, row: std::result::Result<StoredEntry<'_>, UnreadableRow>) -> bool;
}
