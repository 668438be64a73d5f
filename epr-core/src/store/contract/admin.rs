//! The database itself: schema, connections, readiness.

use std::time::Duration;

use async_trait::async_trait;

use super::Result;
use crate::domain::Timestamp;
use crate::store::{ConnectFailure, StoreError};

/// Operations on the database as a whole.
#[async_trait]
pub trait AdminStore: Send + Sync {
    /// Returns the version of the schema, the version that this program knows, and the oldest program that the schema
    /// admits. Changes nothing.
    ///
    /// Example: on an empty database, `applied: 0`.
    async fn schema(&self) -> Result<SchemaState>;

    /// Applies missing migrations, under a lock that excludes other processes, and takes over the tables of an older
    /// implementation. Changes nothing on a newer schema that admits this program.
    ///
    /// Example: a second call changes nothing and returns `applied == known`.
    ///
    /// # Errors [`SchemaTooNew`](crate::store::StoreError::SchemaTooNew) when the database has migrations that this
    /// program does not know, unless they admit it.
    async fn migrate(&self) -> Result<SchemaState>;

    /// Makes one round trip that touches no table.
    ///
    /// Example: it succeeds on a database without a schema.
    async fn ping(&self) -> Result<()>;

    /// Returns `Ok` when facts can be read and an entry can be written now, on the server that has the ledger. Writes
    /// nothing and waits for no lock.
    ///
    /// Example: with a row beyond the head of the chain, an error that names `epr ledger set-aside`.
    async fn ready(&self) -> Result<()>;

    /// Opens a connection outside the pool and closes it, to report why none can be opened.
    ///
    /// Example: on a port without a listener, `ConnectFailure { reason: "refused", .. }`.
    async fn probe_connection(&self) -> std::result::Result<(), ConnectFailure>;

    /// Returns the database server's time between two readings of `now`, one before and one after the round trip;
    /// `None` when there is no server.
    ///
    /// Example: `Some((before, server, after))` with `before <= after`.
    async fn server_time(
        &self,
        now: &(dyn Fn() -> Timestamp + Send + Sync),
    ) -> Result<Option<(Timestamp, Timestamp, Timestamp)>>;

    /// Returns how many client connections the server has and admits; `None` when there is no server.
    ///
    /// Example: `Some(Connections { used: 4, max: 97 })`.
    async fn connections(&self) -> Result<Option<Connections>>;

    /// Returns the privileges of [`grants::TABLES`](crate::store::grants::TABLES) that the database user lacks; none
    /// where the database has no users.
    ///
    /// Example: `["INSERT on roles"]`.
    async fn missing_privileges(&self) -> Result<Vec<String>>;

    /// Returns the use of each connection pool at this moment, without I/O.
    ///
    /// Example: one pool called `all`, or `read` and `write` where these are separate, and one called `replica`.
    fn pools(&self) -> Vec<PoolState>;

    /// Returns the mode of the connection pooler in front of the server, known once a connection was opened; `None`
    /// when there is none.
    ///
    /// Example: `Some("transaction")` behind `PgBouncer` with `pool_mode = transaction`.
    fn pooler(&self) -> Option<&'static str>;

    /// Opens all connections in the background and keeps them open, for a process that serves: a server that runs out
    /// of connections later takes none away from it.
    ///
    /// Example: shortly afterwards [`pools`](Self::pools) shows `open == max`.
    fn keep_open(&self);

    /// Waits, for at most `within`, until no connection is in use, and has each tested before its next use, or replaced
    /// if that is more than two seconds later: for a process that is about to be frozen, whose clock may stand still
    /// while connections are cut or another server takes over.
    ///
    /// Example: a change succeeds after `rest` although every session has been ended since.
    async fn rest(&self, within: Duration);

    /// Waits for calls under way, then closes every connection. Later calls fail as
    /// [`Unavailable`](crate::store::StoreError::Unavailable).
    ///
    /// Example: `close().await; ping().await` is an error.
    async fn close(&self);
}

/// Client connections of a database server, of all programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Open connections.
    pub used: i64,
    /// Connections that the server admits.
    pub max: i64,
}

/// The version of the schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SchemaState {
    /// The newest migration up to which all are applied; 0 when there is none.
    pub applied: i64,
    /// The newest migration that this program knows.
    pub known: i64,
    /// The oldest program that can run on the schema, by the newest migration that the program knows; `None` when a
    /// migration that this program does not know says nothing about it.
    pub oldest_program: Option<i64>,
}

impl SchemaState {
    /// Returns an error unless this program can start on the schema.
    ///
    /// # Errors
    /// The schema is older than this program, or newer and does not admit it.
    pub fn check_start(self) -> Result<()> {
        if self.oldest_program.is_none() { Err(self.too_new()) } else { self.check_running() }
    }

    /// Returns an error unless processes of this program that run already can go on. During a release of a version
    /// whose migrations say nothing, they can.
    ///
    /// # Errors
    /// The schema is older than this program, or admits only newer ones.
    pub fn check_running(self) -> Result<()> {
        let Self { applied, known, oldest_program } = self;
        if applied < known {
            return Err(StoreError::SchemaTooOld { applied, known });
        }
        if oldest_program.is_some_and(|oldest| known < oldest) {
            return Err(self.too_new());
        }
        Ok(())
    }

    fn too_new(self) -> StoreError {
        let Self { applied, known, oldest_program } = self;
        StoreError::SchemaTooNew { applied, known, oldest_program }
    }
}

/// One connection pool at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolState {
    /// `all`, or `read` and `write` where these are separate; `replica`.
    pub name: &'static str,
    /// Open connections.
    pub open: u32,
    /// Open connections not in use.
    pub idle: u32,
    /// Connections that may be open at a time.
    pub max: u32,
    /// Connections acquired since the start.
    pub acquires: u64,
    /// Time that callers have waited for them, in total.
    pub waited: Duration,
}
