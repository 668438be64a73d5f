//! Why a server cannot be reached: one connection, outside of the pool, which would only say that it took too long.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::store::ConnectFailure;

/// The time that one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Opens a connection and closes it.
pub(super) async fn probe_connection(options: &PgConnectOptions) -> Result<(), ConnectFailure> {
    match tokio::time::timeout(ATTEMPT, options.connect()).await {
        Ok(Ok(connection)) => {
            // Closing is a courtesy to the server.
            let _ = tokio::time::timeout(ATTEMPT, connection.close()).await;
            Ok(())
        }
        Ok(Err(error)) => Err(connect_failure(&error)),
        Err(_) => {
            Err(ConnectFailure { reason: "no_answer", why: format!("no answer within {ATTEMPT:?}"), lasting: false })
        }
    }
}

fn connect_failure(error: &sqlx::Error) -> ConnectFailure {
    let (reason, lasting) = match error {
        sqlx::Error::Database(answer) => match answer.code().as_deref() {
            // Roles and databases may be created after this program is started: both are waited for.
            Some("28P01") => ("password", false),
            Some("28000") => ("not_admitted", false),
            Some("3D000") => ("no_such_database", false),
            Some("57P03") => ("starting", false),
            Some("53300") => ("too_many_connections", false),
            _ => ("refused_by_server", false),
        },
        // rustls reports a certificate that does not hold through the connection's own error.
        sqlx::Error::Io(error) => match error.kind() {
            ErrorKind::ConnectionRefused => ("refused", false),
            ErrorKind::NotFound => ("no_such_socket", false),
            ErrorKind::InvalidData => ("certificate", error.to_string().contains("certificate")),
            _ if error.to_string().contains("lookup") => ("no_such_host", false),
            _ => ("network", false),
        },
        sqlx::Error::Tls(_) => ("tls", true),
        sqlx::Error::Configuration(_) => ("settings", true),
        _ => ("other", false),
    };
    ConnectFailure { reason, why: crate::error::chain(error), lasting }
}
