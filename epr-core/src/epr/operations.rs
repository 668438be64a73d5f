//! Operating the service: health, metrics, connections, and the schema of its database.

use std::time::Duration;

use super::Epr;
use crate::domain::audit::LastVerification;
use crate::domain::{EntityTypeUse, EntityTypes, StoredCondition, Timestamp};
use crate::engine::clock_offset::{self, ClockReading};
use crate::engine::graph::{self, GraphState};
use crate::error::{Error, Result};
use crate::handlers::{archived, metrics};
use crate::store::{Connections, RowVisitor, SchemaState, SinceTakeover, TableRow, TakeoverReport};

/// Health and metrics.
impl Epr {
    /// The current time of this service's clock.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.engines.now()
    }

    /// The entity types that requests may name: the built-in ones and those of `EPR_ENTITY_TYPES`.
    #[must_use]
    pub fn entity_types(&self) -> &EntityTypes {
        &self.engines.core.settings.entity_types
    }

    /// The entity types that entities or roles use and that the service does not accept: the operator has removed them
    /// from `EPR_ENTITY_TYPES`.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn unaccepted_types(&self) -> Result<Vec<EntityTypeUse>> {
        Ok(self.store().unaccepted_types(self.entity_types()).await?)
    }

    /// The entity types in use that are not built in: an older service cannot hold their rows.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn added_types_in_use(&self) -> Result<Vec<EntityTypeUse>> {
        Ok(self.store().unaccepted_types(&EntityTypes::default()).await?)
    }

    /// Opens a connection of its own to the database, to learn why none can be opened: the pool reports only a timeout.
    ///
    /// # Errors
    /// The reason.
    pub async fn reach(&self) -> Result<()> {
        Ok(self.store().probe_connection().await?)
    }

    /// Makes one round trip to the database.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.store().ping().await?)
    }

    /// Checks whether checks and changes can be served: facts can be read and an entry can be written on the server
    /// that has the ledger, and the schema is not older than this program. A newer schema is ready, unless it says that
    /// it admits only newer programs: during a release the processes of the previous version work on the schema of the
    /// next one.
    ///
    /// # Errors
    /// The reason.
    pub async fn check_ready(&self) -> Result<()> {
        self.schema().await?.check_running()?;
        Ok(self.store().ready().await?)
    }

    /// Adds every metric to `out` in the `OpenMetrics` text without its end (`# EOF`). Metrics that come from the
    /// database keep their last value while it is unavailable or slow.
    pub async fn write_metrics(&self, out: &mut String) {
        metrics::write(&self.engines, self.started, out).await;
    }

    /// [`Epr::write_metrics`], with the end.
    pub async fn metrics_text(&self) -> String {
        let mut out = String::new();
        self.write_metrics(&mut out).await;
        out.push_str("# EOF\n");
        out
    }

    /// Compares the clock of this process with the database's; `None` when the database has no clock of its own.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn measure_clock(&self) -> Result<Option<ClockReading>> {
        let core = &self.engines.core;
        clock_offset::measure(&*core.store, &*core.clock).await
    }

    /// How far the clock of this process is ahead of the database's, in seconds, by the last measurement in the
    /// background.
    #[must_use]
    pub fn clock_offset(&self) -> Option<f64> {
        self.engines.clock_offset.seconds()
    }

    /// The mode of the connection pooler in front of the database server, once a connection was opened.
    #[must_use]
    pub fn pooler(&self) -> Option<&'static str> {
        self.store().pooler()
    }

    /// Opens all connections to the database in the background and keeps them open: for a process that serves.
    pub fn keep_connections_open(&self) {
        self.store().keep_open();
    }

    /// Waits, for at most `within`, until no connection to the database is in use, and has each tested before its next
    /// use: for a process that is about to be frozen.
    pub async fn rest(&self, within: Duration) {
        self.store().rest(within).await;
    }

    /// The numbers of connections that the database server has and admits; `None` when there is no server.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn connections(&self) -> Result<Option<Connections>> {
        Ok(self.store().connections().await?)
    }
}

/// The schema.
impl Epr {
    /// Applies the missing migrations.
    ///
    /// # Errors
    /// The database is unavailable, newer than this program, or a migration failed.
    pub async fn migrate(&self) -> Result<SchemaState> {
        Ok(self.store().migrate().await?)
    }

    /// The applied and the known version of the schema.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn schema(&self) -> Result<SchemaState> {
        Ok(self.store().schema().await?)
    }

    /// The privileges of [`crate::store::grants::TABLES`] that the database's user lacks.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn missing_privileges(&self) -> Result<Vec<String>> {
        Ok(self.store().missing_privileges().await?)
    }

    /// Reads whether the archive of `EPR_LEDGER_ARCHIVE_URL` reaches the border of dropped entries. Returns the border;
    /// `None` if no entry was ever dropped.
    ///
    /// # Errors
    /// The database is unavailable; or [`Error::Archived`], whose sentence says why dropped entries cannot be read.
    pub async fn reach_archive(&self) -> Result<Option<i64>> {
        archived::reach(&self.engines).await
    }

    /// Logs if entries were dropped that this process cannot read, because its archive is not set or cannot be read.
    pub async fn warn_about_archive(&self) {
        // A database that is unavailable at this moment is reported elsewhere.
        if let Err(Error::Archived(why)) = self.reach_archive().await {
            tracing::warn!(error = why, "ledger_archive_unreadable");
        }
    }

    /// Scans the conditions of assignments and of the actions of roles, as they are stored.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn scan_conditions(&self, take: RowVisitor<'_, StoredCondition>) -> Result<()> {
        Ok(self.store().scan_conditions(take).await?)
    }

    /// Reports the rows that [`Epr::migrate`] would take over from the tables of an older implementation; `None` when
    /// there are none.
    ///
    /// # Errors
    /// The database is unavailable, or the tables belong to another application.
    pub async fn plan_takeover(&self) -> Result<Option<TakeoverReport>> {
        Ok(self.store().plan_takeover().await?)
    }

    /// Counts the rows written since the takeover of the older service's tables; `None` when no such tables are set
    /// aside.
    ///
    /// # Errors
    /// The database is unavailable, its schema is not this program's, or the tables that are set aside are not those
    /// that were taken over.
    pub async fn since_takeover(&self) -> Result<Option<SinceTakeover>> {
        Ok(self.store().since_takeover().await?)
    }

    /// Scans what the older tables lack, except ledger entries: the registry as it is now, events, and rejected
    /// messages, all from one snapshot.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn scan_since_takeover(&self, take: RowVisitor<'_, TableRow>) -> Result<()> {
        Ok(self.store().scan_since_takeover(take).await?)
    }

    /// Removes EPR's tables and restores the names of the older ones, in one transaction. `seen` is the last result of
    /// [`Epr::since_takeover`].
    ///
    /// # Errors
    /// More was written than `seen`, a process of EPR is running, or another application's object depends on EPR's
    /// tables; nothing was changed.
    pub async fn hand_back(&self, seen: &SinceTakeover) -> Result<()> {
        Ok(self.store().hand_back(seen).await?)
    }

    /// The state of the registry in the memory of this process. A check is right in every state.
    #[must_use]
    pub fn graph_state(&self) -> GraphState {
        self.engines.graph.state()
    }

    /// The memory that the registry needs in a process, in bytes. Reads all of it.
    ///
    /// # Errors
    /// The database is unavailable, or the registry cannot be kept in memory.
    pub async fn graph_bytes(&self) -> Result<usize> {
        graph::measure(self.store()).await
    }

    /// The last verification of the ledger, by any process; `None` when it was never verified.
    ///
    /// # Errors
    /// The database is unavailable.
    pub async fn last_verification(&self) -> Result<Option<LastVerification>> {
        Ok(self.store().last_verification().await?)
    }

    /// Whether every change that this process has heard of is in its memory: for tests, which compare what memory
    /// answers.
    #[doc(hidden)]
    #[must_use]
    pub fn is_graph_settled(&self) -> bool {
        self.engines.graph.is_settled()
    }
}
