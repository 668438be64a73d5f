//! SQLite, embedded.
//!
//! Owns the file, the connections to it and which file its path leads to. The statements are those of `sql/`, compiled
//! here against [`dialect`]. One connection writes and many read (WAL). A write transaction begins `IMMEDIATE`: a
//! deferred one that reads first fails with "database is locked" as soon as another writer was in between, whatever the
//! busy timeout.

#[macro_use]
mod changed_rows;
#[macro_use]
mod dialect;
#[macro_use]
mod hex;
#[macro_use]
#[path = "sql/mod.rs"]
#[expect(clippy::duplicate_mod, reason = "the statements are written once and compiled against each dialect")]
mod sql;

mod access_batch;
mod changes;
mod entries;
mod facts_batch;
mod pool;
mod replica;
mod schema_ops;
mod takeover;

use std::path::{Path, PathBuf};

use self::pool::Pool;
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
use super::{Options, StoreError};

/// The statement behind every check, for explaining it: `$1` the resource, `$2` the principal, `$3` its type, `$4` the
/// action.
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

/// The statements of a claim that walk over the backlog, for explaining them: `$1` the key or the
/// position to start after, `$2` the number of rows.
pub const WALKS: [&str; 2] = [events::PENDING_KEYS, events::PENDING_UNORDERED];

/// The statement behind lists of principals, for explaining it: `$1` a JSON list of ranges, each a list of an entity
/// (the nil UUID for global assignments), a role, and the principal to start after, by id and type; `$2` the rows of
/// each.
pub const ACCESS_RANGES: &str = access_batch::RANGES;

/// Opens (and creates, with its folders) a database file.
///
/// # Errors
/// A folder cannot be made.
pub fn open_file(path: &Path, options: &Options) -> Result<SqlStore, StoreError> {
    let (write, read) = Pool::of_file(path, options)?;
    let mut lock_file = path.as_os_str().to_owned();
    lock_file.push(".migrate.lock");
    let target = Target { lock_file: Some(PathBuf::from(lock_file)) };
    Ok(SqlStore::new(read, write, target, std::sync::Arc::default(), None))
}

/// Opens a database of its own in memory.
#[must_use]
pub fn open_memory(options: &Options) -> SqlStore {
    let pool = Pool::of_memory(options);
    SqlStore::new(pool.clone(), pool, Target { lock_file: None }, std::sync::Arc::default(), None)
}

/// Changes the file as another program would.
#[cfg(test)]
pub(crate) async fn tamper(file: &Path, statement: &str) {
    use sqlx::Connection as _;
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
    let mut conn = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut conn).await.unwrap();
}
