//! The connections to a SQLite database, and what ends one.
//!
//! A file is used only while its path leads to the file that this process opened first: after a replacement, some
//! connections would read the old file and others the new one. Must never hand out a connection that the driver takes
//! to be in a transaction.

use std::ops::Deref;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous, SqliteTransactionManager,
};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use sqlx_core::transaction::TransactionManager as _;

use super::dialect::{BUSY_TIMEOUT, Db, PooledConn, READERS, classify};
use crate::store::Options;
use crate::store::StoreError;

/// The files that this process has open, for messages: the driver's errors do not name them.
static OPEN_FILES: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// An error of SQLite about its file.
#[derive(Debug, thiserror::Error)]
#[error("the database file {files}")]
pub(super) struct FileError {
    files: String,
    #[source]
    cause: sqlx::Error,
}

impl FileError {
    /// Adds the path to an error, which does not say which file it is about: all of them when several are open.
    pub(super) fn boxed(cause: sqlx::Error) -> Box<dyn std::error::Error + Send + Sync> {
        let files: Vec<_> = open_files().iter().map(|path| path.display().to_string()).collect();
        if files.is_empty() { cause.into() } else { Self { files: files.join(" or "), cause }.into() }
    }
}

fn open_files() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    OPEN_FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A database file, and which file its path led to when this process opened it.
#[derive(Debug)]
struct DatabaseFile {
    path: PathBuf,
    /// Device and inode.
    opened: OnceLock<(u64, u64)>,
}

impl DatabaseFile {
    fn new(path: PathBuf) -> Arc<Self> {
        open_files().push(path.clone());
        Arc::new(Self { path, opened: OnceLock::new() })
    }

    fn found(&self) -> std::io::Result<(u64, u64)> {
        std::fs::metadata(&self.path).map(|found| (found.dev(), found.ino()))
    }

    /// Notes which file it is, at the first connection.
    fn note(&self) {
        if let Ok(found) = self.found() {
            self.opened.get_or_init(|| found);
        }
    }

    /// Refuses a path that leads to another file than before.
    fn check(&self) -> Result<(), StoreError> {
        let Some(opened) = self.opened.get() else { return Ok(()) };
        let why = match self.found() {
            Ok(found) if found == *opened => return Ok(()),
            Ok(_) => "was replaced while this process had it open: restart the process".to_owned(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                "was deleted or moved while this process had it open: put it back, or restart the process".to_owned()
            }
            Err(error) => format!("cannot be examined: {error}"),
        };
        Err(StoreError::Unavailable(format!("the database file {} {why}", self.path.display()).into()))
    }
}

impl Drop for DatabaseFile {
    fn drop(&mut self) {
        let mut files = open_files();
        if let Some(index) = files.iter().position(|path| *path == self.path) {
            files.swap_remove(index);
        }
    }
}

/// Connections to one database.
#[derive(Debug, Clone)]
pub(in super::super) struct Pool {
    connections: sqlx::Pool<Db>,
    /// `None` for a database in memory.
    file: Option<Arc<DatabaseFile>>,
}

impl Deref for Pool {
    type Target = sqlx::Pool<Db>;

    fn deref(&self) -> &Self::Target {
        &self.connections
    }
}

impl Pool {
    /// Refuses to use a file that is not the one that was opened.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        self.file.as_ref().map_or(Ok(()), |file| file.check())
    }

    pub(super) async fn acquire(&self) -> Result<PooledConn, StoreError> {
        self.check()?;
        self.connections.acquire().await.map_err(classify)
    }

    /// One pool that writes and one that reads a file, which is created with its folders.
    pub(super) fn of_file(path: &Path, options: &Options) -> Result<(Self, Self), StoreError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder).map_err(|error| {
                StoreError::Unavailable(format!("the folder {} cannot be made: {error}", folder.display()).into())
            })?;
        }
        let connect = connect_options(options)
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            // FULL: a commit that was answered survives a power cut. WAL alone promises that for crashes of the process
            // only.
            .synchronous(SqliteSynchronous::Full);
        let file = DatabaseFile::new(path.to_owned());
        let pool = |most| {
            let opened = Arc::clone(&file);
            // Nothing is asked of a connection before it is used: a file does not hang up.
            let connections = SqlitePoolOptions::new()
                .test_before_acquire(false)
                .after_connect(move |_, _| {
                    opened.note();
                    Box::pin(std::future::ready(Ok(())))
                })
                .after_release(|conn, _| Box::pin(is_quiet(conn)))
                .max_connections(most)
                .acquire_timeout(options.acquire_timeout)
                .connect_lazy_with(connect.clone());
            Self { connections, file: Some(Arc::clone(&file)) }
        };
        Ok((pool(1), pool(READERS)))
    }

    /// One connection that never ends: the database is in it.
    pub(super) fn of_memory(options: &Options) -> Self {
        let connections = SqlitePoolOptions::new()
            .test_before_acquire(false)
            .after_release(|conn, _| Box::pin(quieten(conn)))
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .acquire_timeout(options.acquire_timeout)
            .connect_lazy_with(connect_options(options).in_memory(true));
        Self { connections, file: None }
    }
}

fn connect_options(options: &Options) -> SqliteConnectOptions {
    let level = if options.echo { log::LevelFilter::Info } else { log::LevelFilter::Off };
    // Temporary tables in memory: a container may have no folder for temporary files, and the first larger sort would
    // fail.
    SqliteConnectOptions::new()
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT)
        // What is deleted is overwritten: the keys of erased principals.
        .pragma("secure_delete", "ON")
        .pragma("temp_store", "MEMORY")
        .log_statements(level)
}

/// Whether a connection that is given back has no open transaction and can be used again. Otherwise the pool closes it.
///
/// After an error such as a full disk, SQLite has rolled the transaction back by itself. The driver does not know: its
/// own rollback fails, it goes on counting an open transaction, and every later transaction on that connection would
/// fail.
async fn is_quiet(conn: &mut SqliteConnection) -> sqlx::Result<bool> {
    if !conn.is_in_transaction() {
        return Ok(true);
    }
    // The rollback of a transaction that was dropped is still on its way.
    conn.ping().await?;
    Ok(!conn.is_in_transaction())
}

/// Corrects the driver's count for a connection that cannot be closed.
async fn quieten(conn: &mut SqliteConnection) -> sqlx::Result<bool> {
    if !is_quiet(conn).await? {
        // A transaction that the driver does not count, which its rollback then ends.
        #[allow(clippy::disallowed_methods, reason = "the driver must not count this one")]
        sqlx::raw_sql("BEGIN").execute(&mut *conn).await?;
        SqliteTransactionManager::rollback(conn).await?;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A transaction that SQLite rolls back by itself, because the database may not grow.
    async fn fill(pool: &Pool) {
        let mut tx = super::super::dialect::begin(pool).await.unwrap();
        sqlx::raw_sql("PRAGMA max_page_count = 1").execute(&mut *tx).await.unwrap();
        let full = sqlx::raw_sql(
            "CREATE TABLE big AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) \
             SELECT i, hex(randomblob(100)) AS text FROM n",
        );
        let error = full.execute(&mut *tx).await.unwrap_err();
        assert!(matches!(classify(error), StoreError::Unavailable(_)));
        drop(tx);
    }

    #[tokio::test]
    async fn a_database_in_memory_can_be_used_after_it_was_full() {
        let pool = Pool::of_memory(&Options::default());
        fill(&pool).await;
        let mut tx = super::super::dialect::begin(&pool).await.unwrap();
        sqlx::raw_sql("PRAGMA max_page_count = 100000; CREATE TABLE t (a)").execute(&mut *tx).await.unwrap();
        super::super::dialect::commit(tx).await.unwrap();
        assert!(!pool.acquire().await.unwrap().is_in_transaction());
    }
}
