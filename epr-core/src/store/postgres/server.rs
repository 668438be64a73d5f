//! Which server a connection leads to, and which of them is the one to use.
//!
//! After a failover the database's name leads to another server, while sessions on the old one stay open, and the old
//! one may diverge or come back. Every connection is identified when it is opened; one that leads to a standby, or to a
//! server after which another one was promoted, is refused, and a newer server retires all older connections. Must
//! never keep a connection whose server is not known to be the newest.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sqlx::{AssertSqlSafe, PgConnection, Row as _};
use tokio::time::Instant;
use tracing::{error, warn};

use crate::ledger::chain::Head;
use crate::store::continuity::LedgerContinuity;

/// The error of a connection to a standby.
const IN_RECOVERY: &str = "the server is in recovery (a standby)";
/// The error of a connection to an old primary.
const SUPERSEDED: &str = "another server was promoted after this one (it is an old primary)";

/// SQL: the identity of the running server, equal in all its sessions.
const IDENTITY: &str = "\
SELECT pg_is_in_recovery(), CAST(extract(epoch FROM pg_postmaster_start_time()) AS text) || ' ' || \
       coalesce(CAST(inet_server_port() AS text), '')";

/// The history of a server: a number that a primary and its standbys share, and one that each promotion increases.
const HISTORY: &str = "\
SELECT (SELECT CAST(system_identifier AS text) FROM pg_control_system()), \
       CASE WHEN pg_is_in_recovery() THEN NULL ELSE substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8) END";

/// A server as it identifies itself.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Identity {
    /// Differs between servers, and after a restart.
    session: String,
    /// The timeline history of the server; `None` where a managed service hides it.
    history: Option<History>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct History {
    system: String,
    timeline: u32,
}

impl History {
    /// Returns whether `other` was promoted from `self`.
    fn precedes(&self, other: &Self) -> bool {
        self.system == other.system && self.timeline < other.timeline
    }
}

/// The newest server seen so far.
pub(super) struct Servers {
    continuity: Arc<LedgerContinuity>,
    newest: Mutex<Option<(Identity, Instant)>>,
}

impl Servers {
    pub(super) fn new(continuity: Arc<LedgerContinuity>) -> Self {
        Self { continuity, newest: Mutex::default() }
    }

    pub(super) fn continuity(&self) -> &LedgerContinuity {
        &self.continuity
    }

    fn newest(&self) -> MutexGuard<'_, Option<(Identity, Instant)>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Identifies the server of a connection whose opening began at `begun` in `generation`; returns the generation of
    /// the connection. With `standby`, a server in recovery is accepted until another one was seen: for commands that
    /// only read.
    ///
    /// # Errors
    /// The server is not the one to use, or does not answer.
    pub(super) async fn identify(
        &self,
        conn: &mut PgConnection,
        (begun, generation): (Instant, u64),
        standby: bool,
    ) -> Result<u64, sqlx::Error> {
        let row = sqlx::raw_sql(IDENTITY).fetch_one(&mut *conn).await?;
        let session: String = row.try_get(1)?;
        if row.try_get(0)? {
            let accepted = standby && self.newest().is_none();
            return if accepted { Ok(generation) } else { Err(refused(IN_RECOVERY)) };
        }
        if self.newest().as_ref().is_some_and(|(newest, _)| newest.session == session) {
            return Ok(generation);
        }
        let history = history(conn).await;
        let generation = self.change_to(Identity { session, history }, begun, generation)?;
        self.report_lost_changes(conn).await?;
        Ok(generation)
    }

    /// Logs once for each server that it lacks a change that this process knows. Facts and appends on it are refused
    /// one by one.
    async fn report_lost_changes(&self, conn: &mut PgConnection) -> Result<(), sqlx::Error> {
        let Some(Head { sequence, entry_hash }) = self.continuity.newest_change() else { return Ok(()) };
        let known = format!("SELECT 1 FROM audit_logs WHERE sequence = {sequence} AND entry_hash = '{entry_hash}'");
        if sqlx::raw_sql(AssertSqlSafe(known)).fetch_optional(conn).await?.is_none() {
            error!(
                sequence,
                consequence = "checks and changes are answered with 503",
                advice = "the database lost changes that were answered: see docs/UPGRADING.md, \
                 and restart this process to accept that",
                "ledger_changes_lost"
            );
        }
        Ok(())
    }

    fn change_to(&self, found: Identity, begun: Instant, generation: u64) -> Result<u64, sqlx::Error> {
        let mut newest = self.newest();
        if let Some((known, since)) = &*newest {
            if known.session == found.session {
                return Ok(generation);
            }
            let older = found.history.as_ref().zip(known.history.as_ref()).is_some_and(|(old, new)| old.precedes(new));
            // The name led there when the connection was begun, and may lead elsewhere now.
            if older || begun < *since {
                return Err(refused(SUPERSEDED));
            }
            warn!(from = ?known.history, to = ?found.history, "database_server_changed");
            self.continuity.retire(self.continuity.generation());
        }
        *newest = Some((found, begun));
        Ok(self.continuity.generation())
    }
}

/// Returns the history of the server; `None` when the server hides it.
async fn history(conn: &mut PgConnection) -> Option<History> {
    let row = sqlx::raw_sql(HISTORY).fetch_one(conn).await.ok()?;
    let timeline: String = row.try_get(1).ok()?;
    Some(History { system: row.try_get(0).ok()?, timeline: u32::from_str_radix(&timeline, 16).ok()? })
}

fn refused(why: &str) -> sqlx::Error {
    sqlx::Error::Protocol(why.to_owned())
}

/// Returns whether a connection was refused for its server; another attempt may lead elsewhere.
pub(super) fn is_refused(failure: &sqlx::Error) -> bool {
    matches!(failure, sqlx::Error::Protocol(why) if [IN_RECOVERY, SUPERSEDED].contains(&why.as_str()))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn server(session: &str, timeline: u32) -> Identity {
        let history = Some(History { system: "1".into(), timeline });
        Identity { session: session.into(), history }
    }

    #[test]
    fn a_newer_server_ends_the_use_of_older_connections() {
        let servers = Servers::new(Arc::default());
        let begun = Instant::now();
        assert_eq!(servers.change_to(server("a", 1), begun, 0).unwrap(), 0);
        let later = begun + Duration::from_secs(1);
        assert_eq!(servers.change_to(server("b", 2), later, 0).unwrap(), 1);
        assert_eq!(servers.continuity().generation(), 1);
        // Another connection to it, which was opened at the same time.
        assert_eq!(servers.change_to(server("b", 2), later, 0).unwrap(), 0);
    }

    #[test]
    fn an_older_server_is_refused_even_when_it_comes_back() {
        let servers = Servers::new(Arc::default());
        let begun = Instant::now();
        servers.change_to(server("b", 2), begun, 0).unwrap();
        let later = begun + Duration::from_secs(1);
        assert!(is_refused(&servers.change_to(server("a", 1), later, 0).unwrap_err()));
        // A restart of the same server is not older.
        assert!(servers.change_to(server("c", 2), later, 0).is_ok());
        // A connection that was begun before the name led to the newest.
        assert!(servers.change_to(server("d", 2), begun, 0).is_err());
    }
}
