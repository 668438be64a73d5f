//! Steps on a connection, each with a deadline, and the errors after which a connection is not used again.
//!
//! INVARIANT: every statement of the store runs inside a step, scans and migrations excepted, which may take as long as
//! they take.

use std::time::Duration;

use super::dialect::{Conn, generation, with_deadline};
use crate::store::continuity::{LedgerContinuity, is_wrong_server};
use crate::store::{Result, StoreError};

/// The result of a step, and whether its connection may be used again.
pub(super) struct StepResult<T> {
    pub(super) result: Result<T>,
    pub(super) reusable: bool,
}

/// Runs `step` on `conn` until it ends, its deadline passes, or another server takes over.
pub(super) async fn run<T>(
    conn: &mut Conn,
    continuity: &LedgerContinuity,
    deadline: Duration,
    step: impl AsyncFnOnce(&mut Conn) -> Result<T>,
) -> StepResult<T> {
    let generation = generation(conn);
    let result = continuity.while_current(generation, with_deadline(deadline, step(conn))).await;
    let reusable = !result.as_ref().is_err_and(|error| ends_connection(error, continuity, generation));
    StepResult { result, reusable }
}

/// Runs the `step` that reads a page of a list, on either database as long as `limit`: then the page is `Busy`.
pub(super) async fn run_page<T>(
    conn: &mut Conn,
    continuity: &LedgerContinuity,
    limit: Duration,
    step: impl AsyncFnOnce(&mut Conn) -> Result<T>,
) -> StepResult<T> {
    let generation = generation(conn);
    let result = continuity.while_current(generation, within(limit, step(conn))).await;
    let reusable = match &result {
        Ok(_) => true,
        // A statement may still be running on it.
        Err(StoreError::Busy(_)) => false,
        Err(error) => !ends_connection(error, continuity, generation),
    };
    StepResult { result, reusable }
}

async fn within<T>(limit: Duration, page: impl Future<Output = Result<T>>) -> Result<T> {
    let stopped = StoreError::Busy("The page took too long and was ended; ask for fewer items, or try again later");
    tokio::time::timeout(limit, page).await.unwrap_or(Err(stopped))
}

/// SQLSTATE codes of a server that accepts no changes, such as one in recovery.
const READ_ONLY: [&str; 2] = ["25006", "0A000"];

fn sql_state(error: &StoreError) -> Option<String> {
    let StoreError::Unavailable(cause) = error else { return None };
    match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Database(db_error)) => db_error.code().map(Into::into),
        _ => None,
    }
}

fn is_read_only(error: &StoreError) -> bool {
    sql_state(error).is_some_and(|code| READ_ONLY.contains(&&*code))
}

/// Returns whether a lock was not granted in time.
pub(super) fn is_lock_timeout(error: &StoreError) -> bool {
    sql_state(error).is_some_and(|code| code == "55P03")
}

/// Returns whether `error` is about its connection: it was cut, the server ends it, or it leads to a server that is in
/// recovery or does not have the ledger.
pub(super) fn is_about_connection(error: &StoreError) -> bool {
    if is_wrong_server(error) {
        return true;
    }
    let StoreError::Unavailable(cause) = error else { return false };
    match cause.downcast_ref::<sqlx::Error>() {
        Some(sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_)) => true,
        Some(sqlx::Error::Database(_)) => {
            is_read_only(error)
                || sql_state(error).is_some_and(|code| code.starts_with("08") || code.starts_with("57P"))
        }
        _ => false,
    }
}

/// [`is_about_connection`]; retires every connection of `generation` when this one leads to the wrong server.
pub(super) fn ends_connection(error: &StoreError, continuity: &LedgerContinuity, generation: u64) -> bool {
    if is_wrong_server(error) || is_read_only(error) {
        continuity.retire(generation);
    }
    is_about_connection(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_page_that_takes_too_long_is_busy() {
        let endless = within(Duration::from_millis(1), std::future::pending::<Result<()>>()).await;
        assert!(matches!(endless, Err(StoreError::Busy(_))));
        assert!(matches!(within(Duration::from_millis(1), async { Ok(7) }).await, Ok(7)));
    }
}
