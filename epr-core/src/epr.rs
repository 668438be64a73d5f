//! `Epr`: the one value that a runtime or an embedding program holds.
//!
//! Owns how a service is built, started and closed. `epr/use_cases.rs` lists every use case; must never implement one.

mod builder;
mod operations;
mod use_cases;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use self::builder::Builder;
use crate::clock::{Clock, SystemClock};
use crate::domain::Timestamp;
use crate::engine::Engines;
use crate::error::{Error, Result, chain};
use crate::publish::Publisher;
use crate::publish::sns::Sns;
use crate::settings::Settings;
use crate::store::url::DatabaseUrl;
use crate::store::{SchemaState, Store, StoreError, postgres, sqlite};

/// The delay between two attempts to reach the database at the start.
const START_DELAY: Duration = Duration::from_secs(1);

/// The service: the registry, checks, the ledger and events. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Epr {
    pub(crate) engines: Engines,
    started: Timestamp,
}

impl Epr {
    /// A builder whose defaults give a complete service on a database of its own in memory.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::default()
    }

    fn new(engines: Engines) -> Self {
        let started = engines.now();
        Self { engines, started }
    }

    fn store(&self) -> &dyn Store {
        self.engines.store()
    }

    /// Builds the service that `settings` describe. It connects to the database when it first needs to.
    ///
    /// # Errors
    /// The folder of a database file cannot be created.
    pub async fn from_settings(settings: &Settings) -> Result<Self> {
        Self::from_settings_at(settings, Arc::new(SystemClock)).await
    }

    /// [`Epr::from_settings`] with the caller's clock.
    ///
    /// # Errors
    /// The folder of a database file cannot be created.
    pub async fn from_settings_at(settings: &Settings, clock: Arc<dyn Clock>) -> Result<Self> {
        for setting in &settings.warnings {
            tracing::warn!(setting, "setting_adjusted");
        }
        let publisher: Option<Arc<dyn Publisher>> = match &settings.events.topic_arn {
            Some(topic) => Some(Arc::new(Sns::new(&settings.aws, topic).await)),
            None => None,
        };
        let builder = Self::builder()
            .store(open(settings)?)
            .clock(clock)
            .default_permissions(settings.service.default_permissions.clone())
            .audit_decisions(settings.audit.decisions)
            .audit_events(settings.audit.events)
            .events(settings.events.clone())
            .cache(settings.cache.clone());
        Ok(publisher.into_iter().fold(builder, Builder::publisher).build())
    }

    /// A complete service on a database of its own in memory, started: for embedding in tests. [`Epr::builder`] changes parts of it.
    ///
    /// # Errors
    /// None in practice: the database is in memory.
    pub async fn in_memory() -> Result<Self> {
        Self::builder().start().await
    }

    /// [`Epr::in_memory`] with the caller's clock.
    ///
    /// # Errors
    /// None in practice: the database is in memory.
    pub async fn in_memory_at(clock: Arc<dyn Clock>) -> Result<Self> {
        Self::builder().clock(clock).start().await
    }

    /// Prepares the service for use: migrates if `migrate` is set, checks the schema, creates the default actions. Safe when many
    /// processes do it at once.
    ///
    /// # Errors
    /// The database is unavailable, or its schema is newer or (without `migrate`) older than this program.
    pub async fn start(&self, migrate: bool) -> Result<()> {
        let SchemaState { applied, known } = if migrate { self.migrate().await? } else { self.schema().await? };
        if applied > known {
            return Err(StoreError::SchemaTooNew { applied, known }.into());
        }
        if applied < known {
            return Err(StoreError::SchemaTooOld { applied, known }.into());
        }
        let core = &self.engines.core;
        let mut tx = core.store.begin().await?;
        tx.ensure_actions(&core.settings.default_permissions, core.now()).await?;
        tx.commit().await?;
        self.engines.cache.keep_up(&core.store);
        self.engines.clock_offset.start(core);
        Ok(())
    }

    /// [`Epr::start`] on a database that may not be reachable yet: retries for at most `limit`, and logs each new reason once. An
    /// invalid certificate is not retried.
    ///
    /// # Errors
    /// Those of [`Epr::start`], and the last reason.
    pub async fn start_within(&self, migrate: bool, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        let mut logged = "";
        loop {
            let (reason, error) = match self.store().probe_connection().await {
                Ok(()) => match self.start(migrate).await {
                    Err(error) if error.retryable() => ("unavailable", error),
                    started => return started,
                },
                Err(unreached) if unreached.lasting => return Err(StoreError::Connection(unreached.why).into()),
                Err(unreached) => (unreached.reason, Error::from(unreached)),
            };
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(error);
            }
            if logged != reason {
                logged = reason;
                tracing::warn!(reason, error = chain(&error), seconds_left = left.as_secs(), "database_awaited");
            }
            tokio::time::sleep(START_DELAY.min(left)).await;
        }
    }

    /// Delivers events that requests left behind until `stop` is ready, then finishes its batch. Returns at once when there is no
    /// topic. Any number of processes may do this at the same time.
    pub async fn relay(&self, stop: impl Future<Output = ()> + Send) {
        self.engines.relay(stop).await;
    }

    /// Stops the background tasks, waits for database calls in progress, and closes every connection.
    pub async fn close(&self) {
        self.engines.cache.stop();
        self.engines.clock_offset.stop();
        self.store().close().await;
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
