//! `Core`: everything that an engine may know about the service it runs in.
//!
//! Must never know a use case or the facade, so that an engine can be tested with a store and a clock alone.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::commit_probe::CommitProbe;
use crate::clock::{Clock, IdSource, RandomSource};
use crate::domain::role::Action;
use crate::domain::{EntityTypes, Timestamp};
use crate::metrics::Metrics;
use crate::settings::{AuditContext, AuditDecisions, AuditEvents, CacheSettings, EventSettings, RequireReason};
use crate::store::Store;

/// The store, the sources of time, ids and chance, the settings, and the metrics of one service, and the probe of a
/// test.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) ids: Box<dyn IdSource>,
    pub(crate) random: Box<dyn RandomSource>,
    pub(crate) settings: CoreSettings,
    pub(crate) metrics: Metrics,
    pub(crate) commit_probe: Option<Arc<dyn CommitProbe>>,
}

/// The settings that engines and use cases read.
pub(crate) struct CoreSettings {
    /// Actions that exist from the start.
    pub(crate) default_permissions: Vec<Action>,
    /// The entity types that requests may name.
    pub(crate) entity_types: EntityTypes,
    /// The evaluated decisions that the ledger records.
    pub(crate) audit_decisions: AuditDecisions,
    /// What the entries of decisions say about their context.
    pub(crate) audit_context: AuditContext,
    /// The accepted `POST /events` that the ledger records.
    pub(crate) audit_events: AuditEvents,
    /// The changes that need a stated reason.
    pub(crate) require_reason: RequireReason,
    /// The delivery of events.
    pub(crate) events: EventSettings,
    /// Where decisions are cached, and whether the registry is kept in memory.
    pub(crate) cache: CacheSettings,
    /// How checkpoints of the ledger are signed, if they are.
    #[cfg(feature = "proofs")]
    pub(crate) signing: Option<crate::signing::LedgerSigning>,
    /// Where the ledger is published, if it is.
    #[cfg(feature = "proofs")]
    pub(crate) publication: Option<Arc<dyn crate::publish::ledger_target::LedgerTarget>>,
    /// The archive that has the entries which were dropped from the database, if this process knows one.
    #[cfg(feature = "proofs")]
    pub(crate) archive: Option<Arc<dyn crate::publish::ledger_target::LedgerTarget>>,
    /// The witnesses of the ledger, if there are any.
    #[cfg(feature = "publish")]
    pub(crate) witnessing: Option<super::witnessing::Witnessing>,
    /// The work of one page of a list of access.
    pub(crate) list_bounds: ListBounds,
}

/// The most work of one page of a list of access.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListBounds {
    /// The most candidates that a page looks at: a page of candidates that are all denied ends after this many.
    pub(crate) candidates: usize,
    /// The most entities that are expanded below assignments. Beyond, reading all entities in the order of their ids is
    /// faster for a page.
    pub(crate) expanded: usize,
    /// The time after which a page of resources or subtrees ends, although the list goes on.
    pub(crate) page_time: Duration,
}

impl Default for ListBounds {
    fn default() -> Self {
        Self { candidates: 20_000, expanded: 20_000, page_time: Duration::from_secs(2) }
    }
}

impl Core {
    /// The current time.
    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// A new id.
    pub(crate) fn new_id(&self) -> Uuid {
        self.ids.next()
    }
}
