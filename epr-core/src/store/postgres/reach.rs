//! Why a server cannot be reached: one connection, outside of the pool, which would only say that it took too long.

use std::io::ErrorKind;
use std::time::Duration;

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::store::Unreached;

/// How long one attempt may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// Opens a connection and closes it.
pub(super) async fn reach(options: &PgConnectOptions) -> Result<(), Unreached> {
    match tokio::time::timeout(ATTEMPT, options.connect()).await {
        Ok(Ok(connection)) => {
            // Closing is a courtesy to the server.
            let _ = tokio::time::timeout(ATTEMPT, connection.close()).await;
            Ok(())
        }
        Ok(Err(fault)) => Err(unreached(&fault)),
        Err(_) => Err(Unreached { reason: "no_answer", why: format!("no answer within {ATTEMPT:?}"), lasting: false }),
    }
}

fn unreached(fault: &sqlx::Error) -> Unreached {
    let (reason, lasting) = match fault {
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
        sqlx::Error::Io(fault) => match fault.kind() {
            ErrorKind::ConnectionRefused => ("refused", false),
            ErrorKind::NotFound => ("no_such_socket", false),
            ErrorKind::InvalidData => ("certificate", fault.to_string().contains("certificate")),
            _ if fault.to_string().contains("lookup") => ("no_such_host", false),
            _ => ("network", false),
        },
        sqlx::Error::Tls(_) => ("tls", true),
        sqlx::Error::Configuration(_) => ("settings", true),
        _ => ("other", false),
    };
    Unreached { reason, why: crate::error::chain(fault), lasting }
}
