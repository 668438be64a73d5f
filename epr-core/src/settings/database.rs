//! Where the data is.

use std::time::Duration;

use super::source::Reader;
use crate::store::url::{ALLOWED, DatabaseUrl, masked};

/// `EPR_DATABASE_URL`, `EPR_DATABASE_POOL_SIZE`, `EPR_DATABASE_ACQUIRE_TIMEOUT`, `RUN_MIGRATIONS`.
#[derive(Debug, Clone)]
pub struct DatabaseSettings {
    /// Which database.
    pub url: DatabaseUrl,
    /// Most connections to PostgreSQL at a time, 1 to 1000.
    pub pool_size: u32,
    /// How long a call waits for a connection, 1 to 60 seconds.
    pub acquire_timeout: Duration,
    /// Whether a start migrates.
    pub run_migrations: bool,
}

impl DatabaseSettings {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
        let default = DatabaseUrl::SqliteFile("./data/epr.db".into());
        Self {
            url: reader.value("EPR_DATABASE_URL", default, ALLOWED, masked, |given| DatabaseUrl::parse(given).ok()),
            pool_size: u32::try_from(reader.number("EPR_DATABASE_POOL_SIZE", 10, 1, 1000)).unwrap_or(10),
            acquire_timeout: Duration::from_secs(reader.number("EPR_DATABASE_ACQUIRE_TIMEOUT", 5, 1, 60)),
            run_migrations: reader.flag("RUN_MIGRATIONS", true),
        }
    }
}
