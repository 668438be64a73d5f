//! The options of opening a store, on either database.

use std::time::Duration;

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

/// The options of a pool.
#[derive(Debug, Clone)]
pub struct Options {
    /// The most connections at a time.
    pub pool_size: u32,
    /// The time that a caller waits for a connection before it gets an error.
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
