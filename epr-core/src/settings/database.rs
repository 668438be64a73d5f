//! The database: its URL, its connections, and how a start meets it.

use std::str::FromStr;
use std::time::Duration;

use super::reader::Reader;
use super::variable::{Section, UnknownWord, Variable, find_word};
use crate::store::PoolerSetting;
use crate::store::url::{DatabaseUrl, PostgresUrl};

const POOLER_ALLOWED: &str = "auto, off, transaction";

const URL: Variable = Variable::text(
    "EPR_DATABASE_URL",
    "sqlite:///./data/epr.db",
    "a URL of SQLite or PostgreSQL",
    "The database: `sqlite:///relative.db`, `sqlite:////absolute.db`, `sqlite:///:memory:`, `postgresql://…` or \
     `postgres://…`, also as SQLAlchemy spells them (`postgresql+psycopg2://…`), with [libpq's \
     options](DEPLOYMENT.md#the-url-of-the-database). Missing folders are created.",
)
.masked();
const POOL_SIZE: Variable = Variable::number(
    "EPR_DATABASE_POOL_SIZE",
    10,
    &(1..=1000),
    "Maximum number of connections to PostgreSQL of each process.",
);
const ACQUIRE_TIMEOUT: Variable = Variable::number(
    "EPR_DATABASE_ACQUIRE_TIMEOUT",
    5,
    &(1..=60),
    "Time that a call waits for a connection before it is answered 503, in seconds.",
);
const START_TIMEOUT: Variable = Variable::number(
    "EPR_DATABASE_START_TIMEOUT",
    60,
    &(0..=3600),
    "Time that the API waits at start for a database that cannot be reached, in seconds; `database_awaited` in the \
     log says why ([more](DEPLOYMENT.md#a-database-that-is-not-there-yet)). The worker waits without limit.",
);
const POOLER: Variable = Variable::text(
    "EPR_DATABASE_POOLER",
    "auto",
    POOLER_ALLOWED,
    "Connection pooler in front of PostgreSQL: `auto` detects it; `off` means none, or one in session mode; \
     `transaction` means PgBouncer's transaction mode ([more](DEPLOYMENT.md#behind-a-connection-pooler)).",
);
const READ_URL: Variable = Variable::optional(
    "EPR_DATABASE_READ_URL",
    "a URL of PostgreSQL",
    "A standby of the PostgreSQL server in `EPR_DATABASE_URL`, as a URL with the same options: lists, reads of the \
     ledger, past lists and the change feed come from it while it follows closely \
     ([more](DEPLOYMENT.md#reads-from-a-replica)). Checks and changes always use `EPR_DATABASE_URL`. Each process \
     opens up to half of `EPR_DATABASE_POOL_SIZE` connections to it.",
)
.masked();
const READ_MAX_LAG: Variable = Variable::number(
    "EPR_DATABASE_READ_MAX_LAG",
    5,
    &(1..=3600),
    "Time by which answers from `EPR_DATABASE_READ_URL` may lag, in seconds. While the replica lags more, \
     `EPR_DATABASE_URL` answers.",
);
const RUN_MIGRATIONS: Variable =
    Variable::flag("RUN_MIGRATIONS", true, "Migrate the schema at start. Safe when many processes start at once.");

pub(super) const SECTION: Section = Section {
    title: "Database",
    variables: &[URL, POOL_SIZE, ACQUIRE_TIMEOUT, START_TIMEOUT, POOLER, READ_URL, READ_MAX_LAG, RUN_MIGRATIONS],
};

/// The database.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// The database to connect to.
    pub url: DatabaseUrl,
    /// Maximum number of connections to PostgreSQL, 1 to 1000.
    pub pool_size: u32,
    /// Time that a call waits for a connection, 1 to 60 s.
    pub acquire_timeout: Duration,
    /// Time that a start waits for a database that cannot be reached, 0 to 3600 s.
    pub start_timeout: Duration,
    /// The connection pooler in front of PostgreSQL.
    pub pooler: PoolerSetting,
    /// The replica that lists may come from, if there is one.
    pub replica: Option<ReplicaSettings>,
    /// Whether a start migrates the schema.
    pub run_migrations: bool,
}

/// A replica of the database.
#[derive(Debug, Clone)]
pub struct ReplicaSettings {
    /// The server to connect to.
    pub url: PostgresUrl,
    /// The time by which its answers may lag, 1 to 3600 s.
    pub max_lag: Duration,
}

impl DatabaseSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let url = reader
            .checked(&URL, |given, source| DatabaseUrl::parse_in(given, &|name| source.get(name).map(str::to_owned)));
        let replica = read_replica(reader, url.as_ref());
        Self {
            replica,
            // Replaced only where an error stops the start.
            url: url.unwrap_or(DatabaseUrl::SqliteMemory),
            start_timeout: Duration::from_secs(reader.number(&START_TIMEOUT)),
            pool_size: u32::try_from(reader.number(&POOL_SIZE)).unwrap_or(u32::MAX),
            acquire_timeout: Duration::from_secs(reader.number(&ACQUIRE_TIMEOUT)),
            pooler: reader.value(&POOLER, |given| given.parse().ok()).unwrap_or(PoolerSetting::Auto),
            run_migrations: reader.flag(&RUN_MIGRATIONS),
        }
    }
}

const NO_REPLICA: &str = "only PostgreSQL has replicas; allowed: postgresql://user:password@host:port/database";

/// Reads the replica of the database at `url`, which is `None` if it does not parse.
fn read_replica(reader: &mut Reader<'_>, url: Option<&DatabaseUrl>) -> Option<ReplicaSettings> {
    let max_lag = Duration::from_secs(reader.number(&READ_MAX_LAG));
    let replica = reader.checked(&READ_URL, |given, source| {
        match DatabaseUrl::parse_in(given, &|name| source.get(name).map(str::to_owned)) {
            Ok(DatabaseUrl::Postgres(url)) => Ok(url),
            Err(why) if given.starts_with("postgres") => Err(why),
            Ok(DatabaseUrl::SqliteMemory | DatabaseUrl::SqliteFile(_)) | Err(_) => Err(NO_REPLICA.to_owned()),
        }
    })?;
    if matches!(url, Some(DatabaseUrl::SqliteMemory | DatabaseUrl::SqliteFile(_))) {
        reader.error(
            "EPR_DATABASE_READ_URL is set, but EPR_DATABASE_URL names SQLite, which has no replicas: remove \
             EPR_DATABASE_READ_URL, or set EPR_DATABASE_URL to the PostgreSQL server that the replica follows"
                .to_owned(),
        );
    }
    Some(ReplicaSettings { url: replica, max_lag })
}

impl FromStr for PoolerSetting {
    type Err = UnknownWord;

    fn from_str(text: &str) -> Result<Self, UnknownWord> {
        let words = [("auto", Self::Auto), ("off", Self::Off), ("transaction", Self::Transaction)];
        find_word(text, &words, POOLER_ALLOWED)
    }
}

impl FromStr for DatabaseUrl {
    type Err = String;

    /// [`DatabaseUrl::parse`].
    fn from_str(text: &str) -> Result<Self, String> {
        Self::parse(text)
    }
}
