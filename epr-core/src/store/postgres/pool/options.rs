//! The driver's options of a connection.

use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;

use super::super::connect;
use crate::store::StoreError;
use crate::store::url::PostgresUrl;

/// Returns the driver's options for `url`.
pub(in super::super) fn connect_options(url: &PostgresUrl, echo: bool) -> Result<PgConnectOptions, StoreError> {
    let level = if echo { log::LevelFilter::Info } else { log::LevelFilter::Off };
    // Poolers refuse `extra_float_digits`, and every server since PostgreSQL 12 writes floating-point numbers exactly.
    Ok(connect::options(url)?.extra_float_digits(None).log_statements(level))
}
