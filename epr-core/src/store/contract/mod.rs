//! The storage contract: what the handlers and engines may ask of a database, and what they can rely on.
//!
//! One trait a subject; [`Store`] joins them. Both adapters keep every promise written here, and the store suite
//! (`tests/tests/store`) exercises each method on both. Must never name a database or a driver.
//!
//! # How do I add a method?
//!
//! 1. Add it to the trait of its subject, with its promise and an example.
//! 2. Write the statement in `store/sql`, with `dialect` macros where the two databases differ.
//! 3. Call it in `store/sql/store.rs` (or `tx.rs` for a transaction).
//! 4. Name it in the suite; a test fails until every method of this folder is exercised there.
//!
//! # Terms
//!
//! - *Snapshot*: all rows are read as of one moment of the database.
//! - *Visitor*: a [`RowVisitor`] receives rows one at a time and returns `false` to stop. A visitor that stops early
//!   leaves at most one batch of rows unread.
//! - *Outcome unknown*: a write whose connection broke may or may not have been committed. Reads are safe to repeat.

mod access;
mod access_resources;
mod admin;
mod border;
mod browser_sessions;
mod changes;
mod checkpoints;
mod facts;
mod graph;
mod history;
mod idempotency;
mod identities;
mod ledger;
mod outbox;
mod past;
mod principals;
mod registry;
mod replica_reads;
mod revisions;
mod rows;
mod search;
mod takeover;
mod tx;

pub use access::{
    AccessEnd, AccessStart, AccessStore, AccessVisitor, ActionCandidate, ActionsQuery, ListKey, PrincipalCandidate,
    PrincipalKey, PrincipalsQuery,
};
pub use access_resources::{
    AccessNames, AccessResourceStore, ResourceCandidate, ResourceSearch, ResourcesEnd, ResourcesPage, ResourcesQuery,
    Subtree, SubtreeEntity, SubtreePosition, SubtreeRoot, SubtreeStep, SubtreeVariant, SubtreeVisitor,
};
pub use admin::{AdminStore, Connections, PoolState, SchemaState};
pub use border::{BorderStore, BorderTx, DropStep, LedgerBorder, StepDropped};
pub use browser_sessions::BrowserSessionStore;
pub use changes::{ChangeFeed, FeedEvent, Invalidation};
pub use checkpoints::{CheckpointStore, Cosignature, EntryHashes, StoredCheckpoint, StoredTile};
pub use facts::{DraftDecision, FactsRead, FactsStore, ReadAt};
pub use graph::{
    GraphAssignment, GraphChange, GraphChanges, GraphCompared, GraphDescribed, GraphEntity, GraphKey, GraphPosition,
    GraphPrincipal, GraphPrincipalKey, GraphRole, GraphRow, GraphStore,
};
pub use history::{HistoryState, HistoryStore};
pub use idempotency::{IdempotencyStore, IdempotencyTx};
pub use identities::{
    BatchQuestion, DraftIdentifiedDecision, ExternalName, IdentifiedFacts, IdentifiedFactsRead, IdentitiesRead,
    IdentityStore, NamedQuestion,
};
pub use ledger::{Appended, LedgerStore, LedgerVisitor, ScanRange, ScanStart};
pub use outbox::{Backlog, Completion, Lease, LeasedEvent, LeasedEvents, OutboxCursor, OutboxStore};
pub use past::{PastStore, RegistryList};
pub use principals::{InsertedPrincipal, PrincipalRef, PrincipalStore, PrincipalTx};
pub use registry::RegistryStore;
pub use replica_reads::{ListedEntries, ReplicaReadStore};
pub use revisions::{FormerIncarnation, RecordedIncarnation, RegistryState, RevisionStore};
pub use rows::{Result, RowVisitor, collect_into};
pub use search::{SearchCandidate, SearchFor, SearchQuery, SearchStart, SearchStore, SearchVisitor};
pub use takeover::TakeoverStore;
pub use tx::{InsertedAssignment, InsertedEvent, OutboxEvent, Transactions, Tx};

/// A database. Reads see committed data only.
pub trait Store:
    RegistryStore
    + PrincipalStore
    + IdempotencyStore
    + BrowserSessionStore
    + FactsStore
    + AccessStore
    + AccessResourceStore
    + IdentityStore
    + SearchStore
    + GraphStore
    + LedgerStore
    + BorderStore
    + RevisionStore
    + HistoryStore
    + PastStore
    + ReplicaReadStore
    + CheckpointStore
    + OutboxStore
    + ChangeFeed
    + AdminStore
    + TakeoverStore
    + Transactions
    + Send
    + Sync
{
}

impl<T> Store for T where
    T: RegistryStore
        + PrincipalStore
        + IdempotencyStore
        + BrowserSessionStore
        + FactsStore
        + AccessStore
        + AccessResourceStore
        + IdentityStore
        + SearchStore
        + GraphStore
        + LedgerStore
        + BorderStore
        + RevisionStore
        + HistoryStore
        + PastStore
        + ReplicaReadStore
        + CheckpointStore
        + OutboxStore
        + ChangeFeed
        + AdminStore
        + TakeoverStore
        + Transactions
        + Send
        + Sync
{
}
