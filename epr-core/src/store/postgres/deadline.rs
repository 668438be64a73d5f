//! Deadlines of steps on a connection, for a server that stops answering without closing the connection.

use std::io;
use std::time::Duration;

use tokio::time::timeout;

use super::dialect::classify;
use crate::store::StoreError;

/// The deadline of a step: one statement, or the few that belong together. Longer than the limits that the server
/// itself applies to one of them.
pub(super) const STEP_DEADLINE: Duration = Duration::from_secs(20);

/// Waits for `step` as long as `limit`; then it fails like a step on a connection that was cut.
pub(super) async fn with_deadline<T>(
    limit: Duration,
    step: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    timeout(limit, step).await.unwrap_or_else(|_| Err(classify(no_answer())))
}

/// The error of a server that does not answer.
pub(super) fn no_answer() -> sqlx::Error {
    sqlx::Error::Io(io::Error::new(io::ErrorKind::TimedOut, "the database does not answer"))
}
