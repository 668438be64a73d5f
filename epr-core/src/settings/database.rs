//! Where the data is.

use std::time::Duration;

use super::source::{Reader, plain};
use crate::store::postgres::PoolerSetting;
use crate::store::url::{DatabaseUrl, masked};

/// `EPR_DATABASE_URL`, `EPR_DATABASE_POOL_SIZE`, `EPR_DATABASE_ACQUIRE_TIMEOUT`, `EPR_DATABASE_START_TIMEOUT`,
/// `EPR_DATABASE_POOLER`, `RUN_MIGRATIONS`.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// Which database.
    pub url: DatabaseUrl,
    /// Most connections to PostgreSQL at a time, 1 to 1000.
    pub pool_size: u32,
    /// How long a call waits for a connection, 1 to 60 seconds.
    pub acquire_timeout: Duration,
    /// How long a start waits for a database that cannot be reached, 0 to 3600 seconds.
    pub start_timeout: Duration,
    /// What is known about a connection pooler in front of PostgreSQL.
    pub pooler: PoolerSetting,
    /// Whether a start migrates.
    pub run_migrations: bool,
}

impl DatabaseSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = DatabaseUrl::SqliteFile("./data/epr.db".into());
        Self {
            url: reader.checked("EPR_DATABASE_URL", default, masked, |given, source| {
                DatabaseUrl::parse_in(given, &|name| source.get(name).map(str::to_owned))
            }),
            start_timeout: Duration::from_secs(reader.number("EPR_DATABASE_START_TIMEOUT", 60, 0, 3600)),
            pool_size: u32::try_from(reader.number("EPR_DATABASE_POOL_SIZE", 10, 1, 1000)).unwrap_or(10),
            acquire_timeout: Duration::from_secs(reader.number("EPR_DATABASE_ACQUIRE_TIMEOUT", 5, 1, 60)),
            pooler: reader.value(
                "EPR_DATABASE_POOLER",
                PoolerSetting::Auto,
                "auto, off, transaction",
                plain,
                |given| match given.to_ascii_lowercase().as_str() {
                    "auto" => Some(PoolerSetting::Auto),
                    "off" => Some(PoolerSetting::Off),
                    "transaction" => Some(PoolerSetting::Transaction),
                    _ => None,
                },
            ),
            run_migrations: reader.flag("RUN_MIGRATIONS", true),
        }
    }
}
