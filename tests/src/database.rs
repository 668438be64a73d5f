//! Throw-away databases, one for each test: a PostgreSQL database of its own, or a SQLite file in a folder of its own.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use epr_core::store::postgres::{self, Options};
use epr_core::store::{Store, sqlite};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

use crate::{statements, wait};

/// Time between two readings of a value that a test waits for.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// SQL: the number of sessions of this PostgreSQL database that wait for a lock.
pub const LOCK_WAITERS: &str =
    "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";

/// The clients of the database beside the one that asks. A session reports what it has read and written when it ends,
/// at the latest.
pub const OTHER_CLIENTS: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                                 AND backend_type = 'client backend' AND pid <> pg_backend_pid()";

/// The kind of database that a test runs on: the parameter of `#[case::sqlite]` and `#[case::postgres]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DatabaseKind {
    /// A file.
    Sqlite,
    /// A database on the server of the test run.
    Postgres,
}

/// A database that no other test uses.
pub struct Database {
    /// The URL in the form of `EPR_DATABASE_URL`.
    pub url: String,
    /// The kind of database.
    pub kind: DatabaseKind,
    folder: Option<TempDir>,
}

/// Removes the database: a run of all the tests makes about a thousand, which would fill a small disk.
impl Drop for Database {
    fn drop(&mut self) {
        if let Some((_, name)) = self.url.rsplit_once('/').filter(|_| self.kind == DatabaseKind::Postgres) {
            removed_databases().send(name.to_owned()).expect("the thread that removes databases");
        }
    }
}

/// The queue of a thread that removes databases one after the other, so that no test waits for it. What the end of the
/// test run cuts off is gone with the server.
fn removed_databases() -> &'static Sender<String> {
    static QUEUE: LazyLock<Sender<String>> = LazyLock::new(|| {
        let (names, queue) = mpsc::channel::<String>();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mut admin =
                    PgConnection::connect(&format!("{}/postgres", postgres_server())).await.expect("the test server");
                for name in queue {
                    // The services of the test may still be connected.
                    let sql = AssertSqlSafe(format!("DROP DATABASE {name} WITH (FORCE)"));
                    sqlx::query(sql).execute(&mut admin).await.expect("a removed database");
                }
            });
        });
        names
    });
    &QUEUE
}

/// The PostgreSQL server of the test run, as a URL without a database.
#[must_use]
pub fn postgres_server() -> String {
    std::env::var("EPR_TEST_POSTGRES_URL").unwrap_or_else(|_| {
        panic!(
            "these tests need a PostgreSQL server: run scripts/test.sh, which starts one, or set \
             EPR_TEST_POSTGRES_URL=postgres://user@host:port to one whose user may create databases"
        )
    })
}

impl Database {
    /// Creates an empty database.
    pub async fn create(kind: DatabaseKind) -> Self {
        match kind {
            DatabaseKind::Sqlite => {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let url = format!("sqlite:///{}", folder.path().join("epr.db").display());
                Self { url, kind, folder: Some(folder) }
            }
            DatabaseKind::Postgres => {
                static COUNT: AtomicU32 = AtomicU32::new(0);
                let server = postgres_server();
                let name = format!(
                    "epr_{}_{}_{:08x}",
                    std::process::id(),
                    COUNT.fetch_add(1, Ordering::Relaxed),
                    rand::random::<u32>()
                );
                let mut admin = PgConnection::connect(&format!("{server}/postgres")).await.expect("the test server");
                sqlx::query(AssertSqlSafe(format!("CREATE DATABASE {name}")))
                    .execute(&mut admin)
                    .await
                    .expect("a new database");
                Self { url: format!("{server}/{name}"), kind, folder: None }
            }
        }
    }

    /// Runs SQL on a connection of its own, past the service.
    ///
    /// # Errors
    /// The error of the database.
    pub async fn execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.file() {
            Some(path) => {
                let mut conn = SqliteConnection::connect(&format!("sqlite://{}", path.display())).await?;
                sqlx::raw_sql(sql).execute(&mut conn).await?;
            }
            None => {
                let mut conn = PgConnection::connect(&self.url).await?;
                sqlx::raw_sql(sql).execute(&mut conn).await?;
            }
        }
        Ok(())
    }

    /// The first column of the only row of `sql` as a whole number.
    pub async fn number(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.file() {
            Some(path) => {
                let mut conn =
                    SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("the file");
                sqlx::query_scalar(sql).fetch_one(&mut conn).await.expect("a number")
            }
            None => {
                let mut conn = PgConnection::connect(&self.url).await.expect("the test server");
                sqlx::query_scalar(sql).fetch_one(&mut conn).await.expect("a number")
            }
        }
    }

    /// The first column of every row of `sql` as text.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match self.file() {
            Some(path) => {
                let mut conn =
                    SqliteConnection::connect(&format!("sqlite://{}", path.display())).await.expect("the file");
                sqlx::query_scalar(sql).fetch_all(&mut conn).await.expect("texts")
            }
            None => {
                let mut conn = PgConnection::connect(&self.url).await.expect("the test server");
                sqlx::query_scalar(sql).fetch_all(&mut conn).await.expect("texts")
            }
        }
    }

    /// Waits until `sql` returns `expected`. Polls at an interval that leaves the processor to the code under test.
    pub async fn until(&self, sql: &str, expected: i64) {
        wait::until_value(sql, POLL_INTERVAL, || self.number(sql), |seen| *seen == expected).await;
    }

    /// Waits until `sql` returns at least `least`.
    pub async fn until_at_least(&self, sql: &str, least: i64) {
        wait::until_value(sql, POLL_INTERVAL, || self.number(sql), |seen| *seen >= least).await;
    }

    /// The store of this database, migrated.
    pub async fn store(&self) -> Arc<dyn Store> {
        let options = Options { echo: statements::are_recorded(), ..Options::default() };
        let store: Arc<dyn Store> = match self.file() {
            Some(path) => Arc::new(sqlite::open_file(&path, &options).expect("a store")),
            None => Arc::new(postgres::open(&self.url, &options).expect("a store")),
        };
        store.migrate().await.expect("a schema");
        store
    }

    /// SQL: an expression that makes a new version 4 UUID in the form that this database stores.
    #[must_use]
    pub fn new_uuid(&self) -> &'static str {
        match self.kind {
            DatabaseKind::Postgres => "gen_random_uuid()",
            DatabaseKind::Sqlite => {
                "lower(printf('%s-%s-4%s-8%s-%s', hex(randomblob(4)), hex(randomblob(2)), \
                 substr(hex(randomblob(2)), 2), substr(hex(randomblob(2)), 2), hex(randomblob(6))))"
            }
        }
    }

    /// Removes the triggers that make the ledger append-only.
    pub async fn remove_ledger_triggers(&self) {
        let sql = match self.kind {
            DatabaseKind::Postgres => "ALTER TABLE audit_logs DISABLE TRIGGER USER",
            DatabaseKind::Sqlite => {
                "DROP TRIGGER audit_logs_no_update; DROP TRIGGER audit_logs_no_delete; \
                 DROP TRIGGER audit_logs_no_replace; \
                 DROP TRIGGER audit_logs_behind_head; DROP TRIGGER audit_logs_registry_head"
            }
        };
        self.execute(sql).await.expect("triggers off");
    }

    /// Makes the times in entries those of the states of the registry, which otherwise are those of the database's
    /// clock: for a service whose clock is moved by hand.
    pub async fn record_times_of_entries(&self) {
        let sql = match self.kind {
            DatabaseKind::Postgres => {
                "CREATE OR REPLACE FUNCTION registry_head_timed() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 INSERT INTO registry_times (sequence, previous, head, recorded_at) \
                 SELECT NEW.registry_sequence, OLD.registry_sequence, h.sequence, l.occurred_at \
                 FROM audit_chain_head h JOIN audit_logs l ON l.sequence = NEW.registry_sequence \
                 WHERE h.id = 1; RETURN NULL; END $$"
            }
            DatabaseKind::Sqlite => {
                "DROP TRIGGER registry_head_timed; \
                 CREATE TRIGGER registry_head_timed AFTER UPDATE OF registry_sequence ON registry_head BEGIN \
                 INSERT INTO registry_times (sequence, previous, head, recorded_at) \
                 SELECT NEW.registry_sequence, OLD.registry_sequence, h.sequence, l.occurred_at \
                 FROM audit_chain_head h JOIN audit_logs l ON l.sequence = NEW.registry_sequence WHERE h.id = 1 \
                 ON CONFLICT (head) DO UPDATE SET sequence = excluded.sequence, recorded_at = excluded.recorded_at; END"
            }
        };
        self.execute(sql).await.expect("another trigger");
    }

    /// The path of a SQLite file.
    #[must_use]
    pub fn file(&self) -> Option<std::path::PathBuf> {
        self.folder.as_ref().map(|folder| folder.path().join("epr.db"))
    }
}
