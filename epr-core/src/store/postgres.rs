//! PostgreSQL 13 and later.
//!
//! Owns the connections, how they are opened and which server they lead to. The statements are those of `sql/`,
//! compiled here against [`dialect`].

mod advisory_locks;
#[macro_use]
mod changed_rows;
#[macro_use]
mod dialect;
#[macro_use]
mod hex;
#[macro_use]
#[path = "sql/mod.rs"]
mod sql;

mod access_batch;
mod authorities;
mod changes;
mod conn;
mod connect;
mod deadline;
mod entries;
mod facts_batch;
mod outbox;
mod passfile;
mod pool;
mod pooled_conn;
mod pooling;
mod probe;
mod replica;
mod schema_ops;
mod server;
mod takeover;

use std::time::Duration;

use sqlx::postgres::PgPoolOptions;

pub use self::authorities::{Roots, Tls, tls};
use self::pool::Pool;
pub use self::pool::{Options, PoolerSetting};
use self::sql::access::{actions, principal_assignments, region};
pub use self::sql::assignment_search::AssignmentSearch;
pub use self::sql::assignments::list_query as assignment_list_query;
pub use self::sql::assignments_around::{BelowSearch, here_query, inherited_query};
pub use self::sql::changes::changes_query;
pub use self::sql::entities::{branches_query, list_query as entity_list_query};
pub use self::sql::entity_search::{EntityCandidates, EntitySearch};
pub use self::sql::ledger_page::{TimeSpan, page_query, span_query};
use self::sql::schema::Target;
pub use self::sql::searched::{FEW_CANDIDATES, NEWEST_ROWS, SearchIn, Searched};
use self::sql::store::SqlStore;
use self::sql::{events, facts, search};
use super::StoreError;
use super::url::PostgresUrl;

/// The statement behind every check, for measuring and explaining it: `$1` the resource, `$2` the principal, `$3` its
/// type, `$4` the action.
pub const CHECK: &str = facts::FACTS;

/// The statements of a list of resources, for explaining them, in this order: the expansion of subtrees (`$1` the ids
/// of the roots as a JSON list, `$2` the most entities, `$3` the id to start after, `$4` the wanted status, `$5` the
/// number of rows, `$6` the type or null); a scan, one of a type, and one of archived entities (`$1` the id to start
/// after, `$2` the number of rows, `$3` the type).
pub const RESOURCES: [&str; 4] = [region::EXPAND, region::SCAN, region::SCAN_TYPE, region::SCAN_ARCHIVED];

/// The scan of a type in the past, for explaining it: `$1` the id to start after, `$2` the number of rows, `$3` the
/// type, `$4` the sequence of an entry.
pub const PAST_SCAN_TYPE: &str = region::PAST_SCAN_TYPE;

/// The statements of a list of actions, for explaining them: the assignments of the principal `$2` of the type `$3`
/// that reach the resource `$1`; the permissions of the roles `$1`, a JSON list, after the action `$2`, at most `$3`.
pub const ACTIONS: [&str; 2] = [actions::REACHING, actions::PERMISSIONS];

/// The statements that read the assignments of a principal, `$1`, of the type `$2`, for explaining them: `$3` the time,
/// `$4` the ids of roles as a JSON list and `$5` the number of rows; in the order of their creation, `$3` and `$4` the
/// time and the id to start at, `$5` the number of rows.
pub const PRINCIPAL_ASSIGNMENTS: [&str; 2] =
    [principal_assignments::ASSIGNMENTS, principal_assignments::ASSIGNMENTS_IN_ORDER];

/// The statements that read the names of a search, for explaining them: of principals, and of entities. `$1` the type,
/// `$2` the name to start after, `$3` the number of rows.
pub const SEARCH_NAMES: [&str; 2] = search::NAMES;

/// The statements of a claim that walk over the backlog, for explaining them under [`PLAN_SETTINGS`]: `$1` the key or
/// the position to start after, `$2` the number of rows.
pub const WALKS: [&str; 2] = [events::PENDING_KEYS, events::PENDING_UNORDERED];

pub use self::outbox::PLAN_SETTINGS;

/// The statement behind checks that are asked at the same time: the parameters of [`CHECK`] as four arrays of equal
/// length.
pub const CHECKS: &str = facts_batch::FACTS;

/// The statement behind lists of principals, for explaining it under [`PLAN_SETTINGS`]: `$1` to `$4` arrays of entities
/// (the nil UUID for global assignments), roles, and principals to start after, by id and type; `$5` the rows of each.
pub const ACCESS_RANGES: &str = access_batch::RANGES;

/// A store on `url`, which connects when it is first needed.
///
/// # Errors
/// The URL is not understood.
pub fn open(url: &str, options: &Options) -> Result<SqlStore, StoreError> {
    open_at(&connect::parse(url)?, options)
}

/// [`open`] for a URL that is read already.
///
/// # Errors
/// The connection cannot be set up as the URL says.
pub fn open_at(url: &PostgresUrl, options: &Options) -> Result<SqlStore, StoreError> {
    open_with_replica(url, options, None)
}

/// The connections to a replica.
#[derive(Debug, Clone)]
pub struct ReplicaOptions {
    /// Its URL.
    pub url: PostgresUrl,
    /// The time by which its answers may lag behind the primary's.
    pub max_lag: Duration,
}

/// The time that a read waits for a connection to the replica before the primary answers.
const REPLICA_ACQUIRE_TIMEOUT: Duration = Duration::from_millis(250);

/// [`open_at`] with a replica. It has half as many connections as the primary, at least two: only lists use it.
///
/// # Errors
/// The connection cannot be set up as one of the URLs says.
pub fn open_with_replica(
    url: &PostgresUrl,
    options: &Options,
    replica: Option<&ReplicaOptions>,
) -> Result<SqlStore, StoreError> {
    let continuity = std::sync::Arc::default();
    let pool = Pool::new(pool::connect_options(url, options.echo)?, options, std::sync::Arc::clone(&continuity));
    let replica = replica.map(|replica| open_replica(replica, options)).transpose()?;
    Ok(SqlStore::new(pool.clone(), pool, Target { lock_file: None }, continuity, replica))
}

fn open_replica(replica: &ReplicaOptions, options: &Options) -> Result<(Pool, Duration), StoreError> {
    let pool_size = (options.pool_size / 2).max(2);
    let options = Options { pool_size, acquire_timeout: REPLICA_ACQUIRE_TIMEOUT, ..options.clone() };
    let pool = Pool::of_replica(pool::connect_options(&replica.url, options.echo)?, &options);
    Ok((pool, replica.max_lag))
}

/// The driver's own pool, for measuring what the rest costs.
///
/// # Errors
/// The URL is not understood.
pub fn bare_pool(url: &str, options: &Options) -> Result<sqlx::PgPool, StoreError> {
    let connect = pool::connect_options(&connect::parse(url)?, options.echo)?;
    Ok(PgPoolOptions::new().max_connections(options.pool_size).connect_lazy_with(connect))
}
