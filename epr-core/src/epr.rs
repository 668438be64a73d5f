//! `Epr`: the one value that a runtime or an embedding program holds.
//!
//! Owns how a service is started and closed. `epr/builder.rs` builds it, `epr/use_cases.rs` and `epr/principals.rs`
//! list every use case; must never implement one.

mod access;
mod authzen;
mod browser_sessions;
mod builder;
mod changes;
mod check_batch;
mod from_settings;
mod history;
mod once;
mod operations;
mod past;
mod principals;
#[cfg(feature = "proofs")]
mod proofs;
mod replica_reads;
mod tree;
mod upkeep;
mod use_cases;

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

pub use self::builder::Builder;
#[cfg(feature = "proofs")]
pub use self::proofs::CheckpointStatus;
use crate::domain::{EntityTypeUse, Timestamp};
use crate::engine::Engines;
use crate::engine::backoff::{Backoff, Jitter};
use crate::error::{Error, Result, chain};
use crate::handlers::assignment_groups::AssignmentGroups;
use crate::store::{Store, StoreError};

/// The sentence about entity types in use that the service does not accept.
pub(crate) fn lacking_types(unaccepted: &[EntityTypeUse]) -> String {
    let types: Vec<_> = unaccepted.iter().map(ToString::to_string).collect();
    format!("EPR_ENTITY_TYPES lacks types that the database uses: {}; add them to it again", types.join(", "))
}

/// The delay between two attempts to reach the database at the start.
const START_DELAY: Backoff = Backoff::constant(Duration::from_secs(1), Jitter::None);

/// The service: the registry, checks, the ledger and events. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Epr {
    pub(crate) engines: Engines,
    assignment_groups: Arc<AssignmentGroups>,
    started: Timestamp,
}

impl Epr {
    fn new(engines: Engines) -> Self {
        let started = engines.now();
        Self { engines, assignment_groups: Arc::default(), started }
    }

    fn store(&self) -> &dyn Store {
        self.engines.store()
    }

    /// Prepares the service for use, and starts its background tasks: [`Epr::prepare`], for a process that runs all the
    /// time.
    ///
    /// # Errors
    /// Those of [`Epr::prepare`].
    pub async fn start(&self, migrate: bool) -> Result<()> {
        self.prepare(migrate).await?;
        let core = &self.engines.core;
        self.engines.graph_keeper.start(&self.engines.graph, &core.store);
        self.engines.cache.follow_changes(&core.store, &self.engines.changes, &self.engines.graph);
        self.engines.clock_offset.start(core);
        self.engines.history.start(core);
        self.engines.answers.start(core);
        self.assignment_groups.start();
        Ok(())
    }

    /// Migrates if `migrate` is set, checks the schema, creates the default actions. Safe when many processes do it at
    /// once. Starts no background task: for a process that is frozen between two calls, where a task would stop in the
    /// middle of its work. [`Epr::run_upkeep`] does that work.
    ///
    /// # Errors
    /// The database is unavailable, its schema does not admit this program or (without `migrate`) is older than it, or
    /// it holds entity types that this service does not accept.
    pub async fn prepare(&self, migrate: bool) -> Result<()> {
        let schema = if migrate { self.migrate().await? } else { self.schema().await? };
        schema.check_start()?;
        let unaccepted = self.unaccepted_types().await?;
        if !unaccepted.is_empty() {
            return Err(StoreError::Unsuitable(lacking_types(&unaccepted)).into());
        }
        let core = &self.engines.core;
        let mut tx = core.store.begin().await?;
        tx.ensure_actions(&core.settings.default_permissions, core.now()).await?;
        tx.commit().await?;
        Ok(())
    }

    /// [`Epr::start`] on a database that may not be reachable yet: retries for at most `limit`, and logs each new
    /// reason once. An invalid certificate is not retried.
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
            let delay = START_DELAY.delay(1, &*self.engines.core.random);
            tokio::time::sleep(delay.min(left)).await;
        }
    }

    /// Delivers events that requests left behind until `stop` is ready, then finishes its batch. Returns at once when
    /// there is no topic. Any number of processes may do this at the same time.
    pub async fn relay(&self, stop: impl Future<Output = ()> + Send) {
        self.engines.delivery.relay(stop).await;
    }

    /// Stops the background tasks, waits for database calls in progress, and closes every connection.
    pub async fn close(&self) {
        self.engines.graph_keeper.stop(&self.engines.graph);
        self.engines.cache.stop();
        self.engines.clock_offset.stop();
        self.engines.history.stop();
        self.engines.answers.stop();
        self.assignment_groups.stop().await;
        self.store().close().await;
    }
}
