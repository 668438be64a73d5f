//! Storage: the contract, and the two adapters that keep it.
//!
//! The only place that knows sqlx. Everything above sees the traits of [`contract`]. The statements in `sql/` are
//! written once and compiled inside each adapter (`postgres`, `sqlite`), which provides a `dialect` for what the
//! databases express differently. The store suite (`tests/tests/store`) runs every promise of the contract on both.
//! Must never import a handler or an engine.

#[cfg(any(feature = "postgres", feature = "sqlite"))]
#[macro_use]
mod migrations;

mod acquire_stats;
mod continuity;
pub mod contract;
mod error;
mod foreign;
pub mod grants;
mod hierarchy;
mod history;
mod options;
mod page;
#[cfg(feature = "postgres")]
pub mod postgres;
mod read_limits;
mod replica;
#[cfg(feature = "sqlite")]
pub mod sqlite;
mod takeover;
#[cfg(any(feature = "postgres", feature = "sqlite"))]
mod text_range;
pub mod url;

pub use continuity::WrongServer;
pub use contract::{
    AccessEnd, AccessNames, AccessResourceStore, AccessStart, AccessStore, AccessVisitor, ActionCandidate,
    ActionsQuery, AdminStore, Appended, Backlog, BatchQuestion, BorderStore, BorderTx, BrowserSessionStore, ChangeFeed,
    CheckpointStore, Completion, Connections, Cosignature, DraftDecision, DraftIdentifiedDecision, DropStep,
    EntryHashes, ExternalName, FactsRead, FactsStore, FeedEvent, FormerIncarnation, GraphAssignment, GraphChange,
    GraphChanges, GraphCompared, GraphDescribed, GraphEntity, GraphKey, GraphPosition, GraphPrincipal,
    GraphPrincipalKey, GraphRole, GraphRow, GraphStore, HistoryState, HistoryStore, IdempotencyStore, IdempotencyTx,
    IdentifiedFacts, IdentifiedFactsRead, IdentitiesRead, IdentityStore, InsertedAssignment, InsertedEvent,
    InsertedPrincipal, Invalidation, Lease, LeasedEvent, LeasedEvents, LedgerBorder, LedgerStore, LedgerVisitor,
    ListKey, ListedEntries, NamedQuestion, OutboxCursor, OutboxEvent, OutboxStore, PastStore, PoolState,
    PrincipalCandidate, PrincipalKey, PrincipalRef, PrincipalStore, PrincipalTx, PrincipalsQuery, ReadAt,
    RecordedIncarnation, RegistryList, RegistryState, RegistryStore, ReplicaReadStore, ResourceCandidate,
    ResourceSearch, ResourcesEnd, ResourcesPage, ResourcesQuery, Result, RevisionStore, RowVisitor, ScanRange,
    ScanStart, SchemaState, SearchCandidate, SearchFor, SearchQuery, SearchStart, SearchStore, SearchVisitor,
    StepDropped, Store, StoredCheckpoint, StoredTile, Subtree, SubtreeEntity, SubtreePosition, SubtreeRoot,
    SubtreeStep, SubtreeVariant, SubtreeVisitor, TakeoverStore, Transactions, Tx, collect_into,
};
pub use error::{ConnectFailure, StoreError};
pub use foreign::ForeignRows;
pub use hierarchy::{HierarchyState, MAX_LEVELS, MAX_WALK, PathEnd, PathToRoot, chain_text};
pub use history::HistoryReport;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub use migrations::oldest_admitted_program;
pub use options::{Options, PoolerSetting};
pub use page::{Cursor, InvalidCursor, Page, decode_sequence, encode_sequence, position_of, with_position};
pub use replica::{NeededState, PrimaryReason, ReadNeed, ReplicaReads, ReplicaState};
pub use takeover::{SinceTakeover, TableRow, TakeoverProblem, TakeoverReport};

/// The logger of echoed statements.
pub const STATEMENT_LOGGER: &str = "sqlx::query";
