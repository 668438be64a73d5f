//! Builds a service: from settings, in memory, or from parts. Every part has a default, so that a test names only the
//! parts that it is about.

use std::sync::Arc;
use std::time::Duration;

use super::Epr;
use crate::clock::{Clock, IdSource, RandomSource, SystemClock, SystemRandom, TimeOrderedIds};
use crate::domain::EntityTypes;
use crate::domain::role::Action;
use crate::engine::commit_probe::CommitProbe;
use crate::engine::{Core, CoreSettings, Engines, ListBounds};
use crate::error::Result;
use crate::metrics::Metrics;
use crate::publish::Publisher;
use crate::settings::{
    AuditContext, AuditDecisions, AuditEvents, CacheSettings, EventSettings, RequireReason, default_permissions,
};
use crate::store::Store;
#[cfg(feature = "sqlite")]
use crate::store::{Options, sqlite};

/// The parts of a service that is not built yet: see [`Epr::builder`].
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
/// use std::sync::Arc;
///
/// use epr_core::Epr;
/// use epr_core::publish::recording::Recording;
///
/// let topic = Arc::new(Recording::default());
/// let epr = Epr::builder().publisher(topic.clone()).start().await?;
/// # epr.close().await;
/// # Ok::<_, epr_core::Error>(())
/// # }).unwrap();
/// ```
pub struct Builder {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ids: Box<dyn IdSource>,
    random: Box<dyn RandomSource>,
    publisher: Option<Arc<dyn Publisher>>,
    commit_probe: Option<Arc<dyn CommitProbe>>,
    settings: CoreSettings,
}

impl Epr {
    /// A builder whose defaults give a complete service on a database of its own in memory.
    #[cfg(feature = "sqlite")]
    #[must_use]
    pub fn builder() -> Builder {
        Self::builder_on(Arc::new(sqlite::open_memory(&Options::default())))
    }

    /// A builder of a service on `store`.
    #[must_use]
    pub fn builder_on(store: Arc<dyn Store>) -> Builder {
        Builder {
            store,
            clock: Arc::new(SystemClock),
            ids: Box::new(TimeOrderedIds),
            random: Box::new(SystemRandom),
            publisher: None,
            commit_probe: None,
            settings: CoreSettings {
                default_permissions: default_permissions(),
                entity_types: EntityTypes::default(),
                audit_decisions: AuditDecisions::All,
                audit_events: AuditEvents::Context,
                audit_context: AuditContext::Hash,
                require_reason: RequireReason::Never,
                events: EventSettings::default(),
                cache: CacheSettings::default(),
                #[cfg(feature = "proofs")]
                signing: None,
                #[cfg(feature = "proofs")]
                publication: None,
                #[cfg(feature = "proofs")]
                archive: None,
                #[cfg(feature = "publish")]
                witnessing: None,
                list_bounds: ListBounds::default(),
            },
        }
    }

    /// A complete service on a database of its own in memory, started: for embedding in tests. [`Epr::builder`] changes
    /// parts of it.
    ///
    /// # Errors
    /// None in practice: the database is in memory.
    #[cfg(feature = "sqlite")]
    pub async fn in_memory() -> Result<Self> {
        Self::builder().start().await
    }

    /// [`Epr::in_memory`] with the caller's clock.
    ///
    /// # Errors
    /// None in practice: the database is in memory.
    #[cfg(feature = "sqlite")]
    pub async fn in_memory_at(clock: Arc<dyn Clock>) -> Result<Self> {
        Self::builder().clock(clock).start().await
    }
}

impl Builder {
    /// The database; by default a new `SQLite` database in memory.
    #[must_use]
    pub fn store(self, store: Arc<dyn Store>) -> Self {
        Self { store, ..self }
    }

    /// The source of time; by default the system's clock.
    #[must_use]
    pub fn clock(self, clock: Arc<dyn Clock>) -> Self {
        Self { clock, ..self }
    }

    /// The source of ids; by default UUIDs of version 7.
    #[must_use]
    pub fn ids(self, ids: impl IdSource + 'static) -> Self {
        Self { ids: Box::new(ids), ..self }
    }

    /// The source of random delays; by default the operating system seeds it.
    #[must_use]
    pub fn random(self, random: impl RandomSource + 'static) -> Self {
        Self { random: Box::new(random), ..self }
    }

    /// The topic that events are published to; by default events are stored but not published.
    #[must_use]
    pub fn publisher(self, publisher: Arc<dyn Publisher>) -> Self {
        Self { publisher: Some(publisher), ..self }
    }

    /// The actions that exist from the start; by default the contract's.
    #[must_use]
    pub fn default_permissions(mut self, actions: Vec<Action>) -> Self {
        self.settings.default_permissions = actions;
        self
    }

    /// The entity types that requests may name; by default the built-in ones.
    #[must_use]
    pub fn entity_types(mut self, types: EntityTypes) -> Self {
        self.settings.entity_types = types;
        self
    }

    /// The evaluated decisions that the ledger records; by default all of them.
    #[must_use]
    pub fn audit_decisions(mut self, decisions: AuditDecisions) -> Self {
        self.settings.audit_decisions = decisions;
        self
    }

    /// The ingested events that the ledger records; by default those whose context names an actor and an entity.
    #[must_use]
    pub fn audit_events(mut self, events: AuditEvents) -> Self {
        self.settings.audit_events = events;
        self
    }

    /// Sets what the entries of decisions that looked at conditions say about the context; by default its hash.
    #[must_use]
    pub fn audit_context(mut self, context: AuditContext) -> Self {
        self.settings.audit_context = context;
        self
    }

    /// The changes that need a stated reason; by default none.
    #[must_use]
    pub fn require_reason(mut self, changes: RequireReason) -> Self {
        self.settings.require_reason = changes;
        self
    }

    /// Sets the settings of the delivery of events.
    #[must_use]
    pub fn events(mut self, events: EventSettings) -> Self {
        self.settings.events = events;
        self
    }

    /// Where decisions are cached; by default in the memory of this process.
    #[must_use]
    pub fn cache(mut self, cache: CacheSettings) -> Self {
        self.settings.cache = cache;
        self
    }

    /// Sets how checkpoints of the ledger are signed; by default they are not.
    #[cfg(feature = "proofs")]
    #[must_use]
    pub fn signing(mut self, signing: crate::signing::LedgerSigning) -> Self {
        self.settings.signing = Some(signing);
        self
    }

    /// Sets where checkpoints of the ledger are published; by default they are not.
    #[cfg(feature = "proofs")]
    #[must_use]
    pub fn publication(mut self, target: Arc<dyn crate::publish::ledger_target::LedgerTarget>) -> Self {
        self.settings.publication = Some(target);
        self
    }

    /// Sets the archive from which entries are read that were dropped from the database; by default there is none.
    #[cfg(feature = "proofs")]
    #[must_use]
    pub fn archive(mut self, target: Arc<dyn crate::publish::ledger_target::LedgerTarget>) -> Self {
        self.settings.archive = Some(target);
        self
    }

    /// Sets the witnesses that cosign checkpoints of the ledger, and the number of cosignatures without which none is
    /// published; by default there are none.
    #[cfg(feature = "publish")]
    #[must_use]
    pub fn witnesses(mut self, witnesses: Vec<crate::publish::witness::Witness>, quorum: usize) -> Self {
        self.settings.witnessing = Some(crate::engine::witnessing::Witnessing::new(witnesses, quorum));
        self
    }

    /// Sets the most candidates that a page of a list of access looks at, the most entities that it expands below
    /// assignments, and the time after which it ends. For tests: none of them changes what a list holds, only where its
    /// pages end and how long they take.
    #[doc(hidden)]
    #[must_use]
    pub fn list_bounds(mut self, candidates: usize, expanded: usize, page_time: Duration) -> Self {
        self.settings.list_bounds = ListBounds { candidates, expanded, page_time };
        self
    }

    /// The probe around commits; by default none.
    #[cfg(test)]
    pub(crate) fn commit_probe(self, probe: Arc<dyn CommitProbe>) -> Self {
        Self { commit_probe: Some(probe), ..self }
    }

    /// Builds the service. It neither connects nor migrates yet: see [`Epr::start`].
    #[must_use]
    pub fn build(self) -> Epr {
        let Self { store, clock, ids, random, publisher, commit_probe, settings } = self;
        let core = Core { store, clock, ids, random, settings, metrics: Metrics::default(), commit_probe };
        Epr::new(Engines::new(Arc::new(core), publisher))
    }

    /// Builds the service, migrates its database and starts it.
    ///
    /// # Errors
    /// Those of [`Epr::start`].
    pub async fn start(self) -> Result<Epr> {
        let epr = self.build();
        epr.start(true).await?;
        Ok(epr)
    }
}
