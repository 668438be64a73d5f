//! The options of a pool.

use std::time::Duration;

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use super::super::connect;
use crate::store::StoreError;
use crate::store::url::PostgresUrl;

/// The connection pooler between this process and the server, for [`Options::pooler`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PoolerSetting {
    /// It is detected.
    #[default]
    Auto,
    /// There is none, or one that assigns whole sessions.
    Off,
    /// There is one that may assign another session for each transaction.
    Transaction,
}

/// How to open a pool.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most connections at a time.
    pub pool_size: u32,
    /// How long a caller waits for a connection before it gets an error.
    pub acquire_timeout: Duration,
    /// Whether every statement is logged.
    pub echo: bool,
    /// The pooler between this process and the server.
    pub pooler: PoolerSetting,
}

impl Default for Options {
    fn default() -> Self {
        Self { pool_size: 10, acquire_timeout: Duration::from_secs(5), echo: false, pooler: PoolerSetting::Auto }
    }
}

/// Returns the driver's options for `url`.
pub(in super::super) fn connect_options(url: &PostgresUrl, echo: bool) -> Result<PgConnectOptions, StoreError> {
    let level = if echo { log::LevelFilter::Info } else { log::LevelFilter::Off };
    // Poolers refuse `extra_float_digits`, and every server since PostgreSQL 12 writes floating-point numbers exactly.
    Ok(connect::options(url)?.extra_float_digits(None).log_statements(level))
}
