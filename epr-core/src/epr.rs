//! `Epr`: the one value that a runtime or an embedding program holds.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use crate::clock::{Clock, IdSource, SystemClock, TimeOrderedIds};
use crate::decision::Question;
use crate::domain::audit::CorrelationId;
use crate::domain::named_caller::NamedCaller;
use crate::domain::role::Action;
use crate::domain::{Timestamp, TraceParent};
use crate::engine::cache::{Cache, TierState};
use crate::engine::clock_offset::{self, ClockOffset, ClockReading};
use crate::engine::fact_reader::{Reader, Seen};
use crate::engine::ledger_writer::{NotRecorded, Recorder};
use crate::error::{Error, Result, chain};
use crate::ledger::chain::Draft;
use crate::metrics::Metrics;
use crate::outbox::Outbox;
use crate::publish::Publisher;
use crate::publish::sns::Sns;
use crate::settings::{AuditDecisions, AuditEvents, CacheSettings, EventSettings, Settings, default_permissions};
use crate::store::url::DatabaseUrl;
use crate::store::{Appended, HierarchyState, SchemaState, Store, StoreError, TakeoverReport, postgres, sqlite};

/// Between two attempts to reach a database at start.
const START_PAUSE: Duration = Duration::from_secs(1);

/// The registry, the checks and everything under them. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Epr {
    parts: Arc<Parts>,
    recorder: Arc<Recorder>,
    reader: Arc<Reader>,
    outbox: Arc<Outbox>,
    metrics: Arc<Metrics>,
    started: Timestamp,
    cache: Arc<Cache>,
    clock_offset: Arc<ClockOffset>,
}

/// What an [`Epr`] is put together from.
pub struct Parts {
    /// The database.
    pub store: Arc<dyn Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// New ids.
    pub ids: Box<dyn IdSource>,
    /// Actions that exist from the start.
    pub default_permissions: Vec<Action>,
    /// Which evaluated decisions the ledger records.
    pub audit_decisions: AuditDecisions,
    /// Which accepted `POST /events` the ledger records.
    pub audit_events: AuditEvents,
    /// How events are delivered.
    pub events: EventSettings,
    /// Where to; nobody is told when `None`.
    pub publisher: Option<Arc<dyn Publisher>>,
    /// Where decisions are cached.
    pub cache: CacheSettings,
}

/// Who is calling, and in which context: goes into the ledger with whatever the call does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Call {
    /// Who acts, if the caller said so.
    pub actor_id: Option<Uuid>,
    /// The credential or the operating system's user behind the call: the actor when `actor_id` names none.
    pub caller: Option<NamedCaller>,
    /// What ties this call to others, if the caller said so.
    pub correlation_id: Option<CorrelationId>,
    /// The trace that this call is part of, if any: passed on with what it tells others.
    pub traceparent: Option<TraceParent>,
}

impl Epr {
    /// Puts it together from `parts`. Nothing is connected or migrated yet; see [`Epr::start`].
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let cache = Arc::new(Cache::new(&parts.cache));
        let metrics = Arc::<Metrics>::default();
        let recorder = Arc::new(Recorder::new(metrics.ledger.clone()));
        let started = parts.clock.now();
        Self {
            parts: Arc::new(parts),
            recorder,
            reader: Arc::default(),
            outbox: Arc::default(),
            metrics,
            started,
            cache,
            clock_offset: Arc::default(),
        }
    }

    /// Puts it together as the environment says. Databases are connected when first needed.
    ///
    /// # Errors
    /// The folder of a database file cannot be made.
    pub async fn from_settings(settings: &Settings) -> Result<Self> {
        Self::from_settings_at(settings, Arc::new(SystemClock)).await
    }

    /// The same with a clock of the caller's.
    ///
    /// # Errors
    /// The folder of a database file cannot be made.
    pub async fn from_settings_at(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self> {
        for setting in &settings.warnings {
            tracing::warn!(setting, "setting_adjusted");
        }
        let publisher: Option<Arc<dyn Publisher>> = match &settings.events.topic_arn {
            Some(topic) => Some(Arc::new(Sns::new(&settings.aws, topic).await)),
            None => None,
        };
        Ok(Self::new(Parts {
            store: open(settings)?,
            clock,
            ids: Box::new(TimeOrderedIds),
            default_permissions: settings.service.default_permissions.clone(),
            audit_decisions: settings.audit.decisions,
            audit_events: settings.audit.events,
            events: settings.events.clone(),
            publisher,
            cache: settings.cache.clone(),
        }))
    }

    /// A complete service on a database of its own in memory, ready to use: for embedding in tests.
    ///
    /// # Errors
    /// Never in practice: memory is available.
    pub async fn in_memory() -> Result<Self> {
        Self::in_memory_at(Arc::new(SystemClock)).await
    }

    /// The same with a clock of the caller's.
    ///
    /// # Errors
    /// Never in practice: memory is available.
    pub async fn in_memory_at(clock: Arc<dyn Clock>) -> Result<Self> {
        Self::in_memory_with(clock, None).await
    }

    /// The same, with its events going to `publisher`.
    ///
    /// # Errors
    /// Never in practice: memory is available.
    pub async fn in_memory_with(clock: Arc<dyn Clock>, publisher: Option<Arc<dyn Publisher>>) -> Result<Self> {
        let epr = Self::new(Parts {
            store: Arc::new(sqlite::open_memory(&postgres::Options::default())),
            clock,
            ids: Box::new(TimeOrderedIds),
            default_permissions: default_permissions(),
            audit_decisions: AuditDecisions::All,
            audit_events: AuditEvents::Context,
            events: EventSettings::default(),
            publisher,
            cache: CacheSettings::default(),
        });
        epr.start(true).await?;
        Ok(epr)
    }

    /// Makes it ready to serve: migrates when `migrate` says so, checks the schema, creates the baseline actions.
    /// Safe when many processes do it at once.
    ///
    /// # Errors
    /// The database is away, or its schema is newer or (without `migrate`) older than this program.
    pub async fn start(&self, migrate: bool) -> Result<()> {
        let SchemaState { applied, known } = if migrate { self.migrate().await? } else { self.schema().await? };
        if applied > known {
            return Err(StoreError::SchemaTooNew { applied, known }.into());
        }
        if applied < known {
            return Err(StoreError::SchemaTooOld { applied, known }.into());
        }
        let now = self.now();
        let mut tx = self.parts.store.begin().await?;
        tx.ensure_actions(&self.parts.default_permissions, now).await?;
        tx.commit().await?;
        self.cache.keep_up(&self.parts.store);
        self.clock_offset.keep_measured(&self.parts);
        Ok(())
    }

    /// [`Epr::start`] on a database that may not be there yet: waits for it for at most `limit`, and logs why, once for each
    /// reason. A certificate that does not hold is not waited for.
    ///
    /// # Errors
    /// As [`Epr::start`], and the last reason.
    pub async fn start_within(&self, migrate: bool, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let mut known = "";
        loop {
            let (reason, failure) = match self.parts.store.reach().await {
                Ok(()) => match self.start(migrate).await {
                    Err(failure) if failure.retryable() => ("unavailable", failure),
                    started => return started,
                },
                Err(unreached) if unreached.lasting => return Err(StoreError::Connection(unreached.why).into()),
                Err(unreached) => (unreached.reason, Error::from(unreached)),
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(failure);
            }
            if known != reason {
                known = reason;
                tracing::warn!(reason, error = chain(&failure), seconds_left = left.as_secs(), "database_awaited");
            }
            tokio::time::sleep(START_PAUSE.min(left)).await;
        }
    }

    /// Whether a connection can be opened, and why not: the pool only says that it took too long.
    ///
    /// # Errors
    /// The reason.
    pub async fn reach(&self) -> Result<()> {
        Ok(self.parts.store.reach().await?)
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// The database is away, newer than this program, or a migration failed.
    pub async fn migrate(&self) -> Result<SchemaState> {
        Ok(self.parts.store.migrate().await?)
    }

    /// What [`Epr::migrate`] would find in the tables of an older implementation; `None` when there are none.
    ///
    /// # Errors
    /// The database is away, or the tables are another application's.
    pub async fn plan_takeover(&self) -> Result<Option<TakeoverReport>> {
        Ok(self.parts.store.plan_takeover().await?)
    }

    /// How the schema stands.
    ///
    /// # Errors
    /// The database is away.
    pub async fn schema(&self) -> Result<SchemaState> {
        Ok(self.parts.store.schema().await?)
    }

    /// Privileges of [`crate::store::grants::TABLES`] that the database's user lacks.
    ///
    /// # Errors
    /// The database is away.
    pub async fn missing_privileges(&self) -> Result<Vec<String>> {
        Ok(self.parts.store.missing_privileges().await?)
    }

    /// Looks for entities that are too deep, and for cycles. Reads all entities.
    ///
    /// # Errors
    /// The database is away.
    pub async fn hierarchy(&self) -> Result<HierarchyState> {
        Ok(self.parts.store.hierarchy().await?)
    }

    /// Compares the clock of this process with the database's; `None` when the database has no clock of its own.
    ///
    /// # Errors
    /// The database is away.
    pub async fn measure_clock(&self) -> Result<Option<ClockReading>> {
        clock_offset::measure(&*self.parts.store, &*self.parts.clock).await
    }

    /// How far the clock of this process is ahead of the database's, in seconds, as last measured in the background.
    #[must_use]
    pub fn clock_offset(&self) -> Option<f64> {
        self.clock_offset.seconds()
    }

    /// Whether the database answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.parts.store.ping().await?)
    }

    /// The mode of the connection pooler in front of the database server, once a connection was opened.
    #[must_use]
    pub fn pooler(&self) -> Option<&'static str> {
        self.parts.store.pooler()
    }

    /// Opens all connections to the database in the background and keeps them open: for a process that serves.
    pub fn keep_connections_open(&self) {
        self.parts.store.keep_open();
    }

    /// Whether checks and changes can be served: facts can be read and an entry can be written on the server that has the ledger,
    /// and the schema is not older than this program. A newer one is ready: while a release is under way, the processes that run
    /// already work on the schema of the next version.
    ///
    /// # Errors
    /// The reason.
    pub async fn check_ready(&self) -> Result<()> {
        let SchemaState { applied, known } = self.schema().await?;
        if applied < known {
            return Err(StoreError::SchemaTooOld { applied, known }.into());
        }
        Ok(self.parts.store.ready().await?)
    }

    /// Finishes what is under way in the database and closes every connection.
    pub async fn close(&self) {
        self.cache.stop();
        self.clock_offset.stop();
        self.parts.store.close().await;
    }

    /// How the decision cache in this process stands, and what the shared one is and how it stands. A check is right whatever
    /// they are.
    #[must_use]
    pub fn cache_state(&self) -> (TierState, Option<(&'static str, TierState)>) {
        self.cache.state()
    }

    /// The current time of this service's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.parts.clock.now()
    }

    /// What the decision on `question` depends on, read after this call; `None` when the resource is unknown.
    pub(crate) async fn facts(&self, question: &Question) -> std::result::Result<Option<Seen>, StoreError> {
        self.reader.read(&self.parts.store, question).await
    }

    pub(crate) fn store(&self) -> &dyn Store {
        &*self.parts.store
    }

    pub(crate) fn cache(&self) -> &Arc<Cache> {
        &self.cache
    }

    #[cfg(test)]
    pub(crate) fn replace_cache(&mut self, cache: Cache) {
        self.cache = Arc::new(cache);
    }

    pub(crate) fn audit_decisions(&self) -> AuditDecisions {
        self.parts.audit_decisions
    }

    pub(crate) fn audit_events(&self) -> AuditEvents {
        self.parts.audit_events
    }

    /// Records events in the ledger through the group-commit writer: answered when they are committed, together with
    /// whatever other callers brought meanwhile.
    ///
    /// # Errors
    /// `Unavailable` when they were not recorded, or when the connection broke and nobody can tell.
    pub async fn record(&self, drafts: Vec<Draft>) -> Result<Vec<Appended>> {
        self.record_drafts(drafts).await.map_err(|fault| StoreError::Ledger(fault.into()).into())
    }

    /// Gives up entries that are being recorded or wait for it, and lets the ledger's lock go: for a process that is about to
    /// be frozen, which would keep it. Those who wait are told that nobody knows what became of them.
    pub async fn abandon_recording(&self) {
        self.recorder.abandon().await;
    }

    /// [`Epr::record`] with the cause of a failure.
    pub(crate) async fn record_drafts(&self, drafts: Vec<Draft>) -> std::result::Result<Vec<Appended>, NotRecorded> {
        self.recorder.record(&self.parts.store, drafts).await
    }

    pub(crate) fn events(&self) -> &EventSettings {
        &self.parts.events
    }

    pub(crate) fn publisher(&self) -> Option<&dyn Publisher> {
        self.parts.publisher.as_deref()
    }

    pub(crate) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// When this was put together.
    pub(crate) fn started(&self) -> Timestamp {
        self.started
    }

    /// A random share from 0 to 1, to spread what would otherwise happen at once.
    pub(crate) fn spread(&self) -> f64 {
        // The last bytes of a new id are random.
        let [.., high, low] = *self.new_id().as_bytes();
        f64::from(u16::from_be_bytes([high, low])) / f64::from(u16::MAX)
    }

    pub(crate) fn new_id(&self) -> Uuid {
        self.parts.ids.next()
    }
}

fn open(settings: &Settings) -> Result<Arc<dyn Store>> {
    let database = &settings.database;
    let options = postgres::Options {
        pool_size: database.pool_size,
        acquire_timeout: database.acquire_timeout,
        echo: settings.logging.sql_echo,
        pooler: database.pooler,
    };
    Ok(match &database.url {
        DatabaseUrl::SqliteMemory => Arc::new(sqlite::open_memory(&options)),
        DatabaseUrl::SqliteFile(path) => Arc::new(sqlite::open_file(path, &options).map_err(Error::from)?),
        DatabaseUrl::Postgres(url) => Arc::new(postgres::open_at(url, &options).map_err(Error::from)?),
    })
}
