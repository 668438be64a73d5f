//! Transactions: every change of the registry, with its event and its ledger entries.

use std::collections::BTreeMap;

use async_trait::async_trait;
use uuid::Uuid;

use super::{Appended, BorderTx, FormerIncarnation, IdempotencyTx, Invalidation, Lease, PrincipalTx, Result};
use crate::domain::condition::Condition;
use crate::domain::event::{DeliveryState, Event};
use crate::domain::role::Action;
use crate::domain::{Assignment, Entity, EntityType, Incarnation, Revision, Role, Timestamp};
use crate::ledger::chain::Draft;
use crate::store::{ForeignRows, PathToRoot};

/// Begins transactions.
#[async_trait]
pub trait Transactions: Send + Sync {
    /// Begins a transaction. SQLite admits one at a time; others wait.
    ///
    /// Example: a transaction that is dropped without [`Tx::commit`] leaves nothing behind.
    async fn begin(&self) -> Result<Box<dyn Tx>>;
}

/// A transaction. Dropping it rolls everything back; only [`Tx::commit`] keeps it.
///
/// A call that finds a unique key taken reports it by its return value and leaves the transaction usable, unless noted.
#[async_trait]
pub trait Tx: PrincipalTx + IdempotencyTx + BorderTx + Send {
    /// Inserts an entity; `false` when its `(name, type)` or its `(external_id, type)` is taken.
    ///
    /// Example: the second `insert_entity` of an SPV `x` returns `false`; an offering `x` returns `true`.
    async fn insert_entity(&mut self, entity: &Entity) -> Result<bool>;

    /// Returns an entity, locked against other writers until the end of the transaction.
    ///
    /// Example: another transaction's `lock_entity` of the same id waits for this one to end and returns what it
    /// committed.
    async fn lock_entity(&mut self, id: Uuid) -> Result<Option<Entity>>;

    /// Writes every mutable field of an entity. `false` when `(name, type)` or `(external_id, type)` is taken; the
    /// transaction must be dropped then.
    ///
    /// Example: renaming SPV `y` to the name of SPV `x` returns `false`.
    async fn update_entity(&mut self, entity: &Entity) -> Result<bool>;

    /// Returns whether another entity of the type of `entity` has its external id.
    ///
    /// Example: `false` for an entity without an external id, and for the entity itself.
    async fn external_id_is_taken(&mut self, entity: &Entity) -> Result<bool>;

    /// Makes this the only transaction that changes parents or creates children, until its end.
    ///
    /// Must be taken before any path is read: otherwise two changes that together close a cycle, or make a path too
    /// long, do not see each other.
    ///
    /// Example: of two transactions that move `a` under `b` and `b` under `a`, the second waits and then finds the
    /// cycle.
    async fn lock_hierarchy(&mut self) -> Result<()>;

    /// Prevents changes of parents until the end of this transaction. Several transactions may share it.
    ///
    /// Example: two creations of entities with parents run side by side, and a move waits for both.
    async fn share_hierarchy(&mut self) -> Result<()>;

    /// Returns the entity and its ancestors, nearest first. Stops after `limit` of them, and in a cycle.
    ///
    /// Example: for `issuer > spv > offering`, the ids are `[offering, spv, issuer]` with `PathEnd::Root`.
    async fn path_to_root(&mut self, id: Uuid, limit: usize) -> Result<PathToRoot>;

    /// Returns whether an entity has a descendant `levels` levels below itself. May read the whole subtree.
    ///
    /// Example: for `issuer > spv > offering`, `has_levels_below(issuer, 2)` is `true` and `(issuer, 3)` is `false`.
    async fn has_levels_below(&mut self, id: Uuid, levels: usize) -> Result<bool>;

    /// Returns the type of an entity, if it exists.
    ///
    /// Example: `None` for an unknown id.
    async fn entity_type(&mut self, id: Uuid) -> Result<Option<EntityType>>;

    /// Inserts a role without its actions; `false` when its name is taken.
    ///
    /// Example: the second `insert_role` of `editor` returns `false`.
    async fn insert_role(&mut self, role: &Role) -> Result<bool>;

    /// Returns a role with its actions, locked against other writers until the end of the transaction.
    ///
    /// Example: the actions are those committed by the transaction that was waited for.
    async fn lock_role(&mut self, id: Uuid) -> Result<Option<Role>>;

    /// Writes the description, scope types and `updated_at` of a role.
    ///
    /// Example: the name stays as it was.
    async fn update_role(&mut self, role: &Role) -> Result<()>;

    /// Makes `actions` the role's actions, creating those that are new to the registry, and `conditions` their
    /// conditions. A condition of an action that is not in `actions` is not stored.
    ///
    /// Example: a role with `a:x`, `b:x` after `set_role_actions(&["b:x", "c:x"], {"c:x": …})` has exactly `b:x`
    /// without a condition and `c:x` with one, whatever conditions it had before.
    async fn set_role_actions(
        &mut self,
        role_id: Uuid,
        actions: &[String],
        conditions: &BTreeMap<String, Condition>,
        now: Timestamp,
    ) -> Result<()>;

    /// Returns a role with its actions, as this transaction sees it.
    ///
    /// Example: a role inserted in this transaction is returned before the commit.
    async fn role(&mut self, id: Uuid) -> Result<Option<Role>>;

    /// Creates those of `actions` that are new to the registry.
    ///
    /// Example: two transactions that create the same actions in different orders do not deadlock.
    async fn ensure_actions(&mut self, actions: &[Action], now: Timestamp) -> Result<()>;

    /// Inserts an assignment, or returns the one that has the same key (principal, entity, role).
    ///
    /// Example: a second global assignment of the same role to the same principal returns `Existing` with the first.
    async fn insert_assignment(&mut self, assignment: &Assignment) -> Result<InsertedAssignment>;

    /// Deletes an assignment and returns it; `None` when there is none.
    ///
    /// Example: the second call with the same id returns `None`.
    async fn delete_assignment(&mut self, id: Uuid) -> Result<Option<Assignment>>;

    /// Writes many events that EPR made itself into the outbox, without a lease: relays deliver those that are pending.
    ///
    /// Unlike [`insert_event`](Self::insert_event) it takes no lock for each ordering key, of which a server has a few
    /// thousand.
    ///
    /// Example: the events get positions in their order.
    async fn insert_events(&mut self, events: &[OutboxEvent]) -> Result<()>;

    /// Writes an event into the outbox, or returns the one that was ingested under the same source and correlation id.
    ///
    /// Example: with a lease and no earlier pending event of the same key, `New { claimed: true, .. }`: the writer
    /// delivers it.
    async fn insert_event(&mut self, new: &OutboxEvent) -> Result<InsertedEvent>;

    /// Makes each statement of this transaction wait for the locks of others only a fifth of a second, with `briefly`,
    /// or as long as those of any other transaction again. A lock that is not granted in this time is `Contention`.
    ///
    /// Example: while another transaction has a principal locked, `share_principal` of a transaction that waits briefly
    /// returns `Contention` after a fifth of a second.
    async fn wait_for_locks(&mut self, briefly: bool) -> Result<()>;

    /// Returns what this transaction has invalidated so far. Call it once, after the last statement that may change
    /// facts.
    ///
    /// Example: after the deletion of an assignment, one invalidation of its principal.
    async fn invalidations(&mut self) -> Result<Vec<Invalidation>>;

    /// Appends `drafts` to the ledger, in order. Takes the ledger's lock, which is held until the end of the
    /// transaction: call it last.
    ///
    /// Example: outcomes are those of [`LedgerStore::append`](super::LedgerStore::append); dropping the transaction
    /// undoes them.
    async fn append(&mut self, drafts: &[Draft]) -> Result<Vec<Appended>>;

    /// Returns the newest revision as this transaction sees it: of its own entries, once it has appended some that
    /// change the registry.
    ///
    /// Example: in a transaction that has found an assignment and appended nothing, a revision at which the assignment
    /// exists.
    async fn revision(&mut self) -> Result<Revision>;

    /// Takes the ledger's lock and begins a new incarnation of the ledger: revisions of the former one are refused once
    /// this transaction has committed, and every cached decision is invalid. The transaction must append the entry
    /// about it. A signer adds no checkpoint of the former incarnation any more.
    ///
    /// Example: after `reincarnate`, [`revision`](Self::revision) has the new incarnation and the sequence as before.
    async fn reincarnate(&mut self, incarnation: Incarnation, now: Timestamp) -> Result<FormerIncarnation>;

    /// Takes the ledger's lock and moves every row beyond the head of the chain from `audit_logs` to
    /// `audit_logs_set_aside`.
    ///
    /// Example: on an intact ledger, `count: 0`.
    async fn set_aside_foreign_rows(&mut self) -> Result<ForeignRows>;

    /// Commits. On an error the outcome may be unknown.
    ///
    /// Example: what was written is visible to every read that begins after this returns.
    async fn commit(self: Box<Self>) -> Result<()>;
}

/// The outcome of inserting an assignment under its unique key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InsertedAssignment {
    /// The assignment is new.
    New,
    /// This assignment has the key already.
    Existing(Box<Assignment>),
}

/// An event to be written into the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxEvent {
    /// The event.
    pub event: Event,
    /// Events with the same key are delivered one after the other.
    pub ordering_key: Option<String>,
    /// The lease under which it is written, if its writer will deliver it at once.
    pub lease: Option<Lease>,
}

impl OutboxEvent {
    /// Whether it is an event of EPR's own that is not delivered: nothing about it depends on another event.
    pub(crate) fn is_only_kept(&self) -> bool {
        !self.event.ingested && self.event.delivery_state != DeliveryState::Pending
    }
}

/// The outcome of writing an event.
#[derive(Debug, Clone, PartialEq)]
pub enum InsertedEvent {
    /// The event is new.
    New {
        /// The position of the event in the outbox.
        position: i64,
        /// Whether the writer has the lease; otherwise a relay delivers the event.
        claimed: bool,
    },
    /// This event was ingested before.
    Existing(Box<Event>),
}
