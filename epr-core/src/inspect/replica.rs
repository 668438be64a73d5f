//! The replica that lists may come from.

use std::time::Duration;

use super::cause::cause;
use super::{Finding, State};
use crate::Epr;
use crate::settings::Settings;
use crate::store::PrimaryReason;

/// Whether the replica answers; `None` when none is configured. Without it the primary answers, so that nothing about
/// it is wrong.
pub(super) async fn replica(epr: &Epr, settings: &Settings) -> Option<Finding> {
    let url = format!("{:?}", settings.database.replica.as_ref()?.url);
    if let Err(error) = epr.reach_replica().await {
        return Some(doubtful(&url, &cause(&error)).advise(UNREACHABLE));
    }
    Some(match epr.replica_state(LIMIT).await? {
        Ok(revision) => {
            let seen = format!("{url} follows the primary; its last change is entry {}", revision.sequence);
            Finding::new("replica", State::Fine, seen)
        }
        Err(reason) => {
            let (why, advice) = explained(reason);
            doubtful(&url, why).advise(advice)
        }
    })
}

const UNREACHABLE: &str = "check that the standby runs, that EPR_DATABASE_READ_URL names it, and that the network \
     allows the connection; until then the primary answers";
/// The time in which the state of the replica must be known.
const LIMIT: Duration = Duration::from_secs(2);
const LOG: &str = "the log of the standby says why; until then the primary answers";

fn doubtful(url: &str, why: &str) -> Finding {
    Finding::new("replica", State::Doubtful, format!("{url}: {why}"))
}

/// Why the replica does not answer, and what to do.
fn explained(reason: PrimaryReason) -> (&'static str, &'static str) {
    match reason {
        PrimaryReason::Lag | PrimaryReason::Behind | PrimaryReason::Cursor => (
            "it does not reach the newest entry of the primary within 250 ms",
            "pg_stat_replication on the primary shows how far it is behind; the primary answers while it lags more \
             than EPR_DATABASE_READ_MAX_LAG",
        ),
        PrimaryReason::Ahead | PrimaryReason::Diverged => (
            "its ledger has entries that the primary does not have: it was written by itself, or follows another \
             server",
            "recreate it from the primary (pg_basebackup or pg_rewind); until then the primary answers",
        ),
        PrimaryReason::OtherDatabase => (
            "its ledger has another incarnation: it is a copy of another database, or from before `epr ledger \
             reincarnate`",
            "set EPR_DATABASE_READ_URL to a standby of the server in EPR_DATABASE_URL",
        ),
        PrimaryReason::NotAStandby => (
            "the server is a primary: EPR_DATABASE_READ_URL leads to the server of EPR_DATABASE_URL, or to a standby \
             that was promoted",
            "set EPR_DATABASE_READ_URL to a standby, or remove it; until then all reads use EPR_DATABASE_URL",
        ),
        PrimaryReason::Schema => (
            "its schema is older than this program: the migrations have not been replayed there",
            "wait until it has caught up; until then the primary answers",
        ),
        PrimaryReason::Busy => ("all connections to it are in use", LOG),
        PrimaryReason::Unavailable | PrimaryReason::Slow => ("it does not answer within a second", UNREACHABLE),
        PrimaryReason::Cancelled | PrimaryReason::Failed => ("it refuses the statement that asks for its state", LOG),
        PrimaryReason::Unconfirmed => ("the primary could not confirm its state", LOG),
    }
}
