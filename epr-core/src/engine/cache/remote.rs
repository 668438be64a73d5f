//! The connection of the shared tier to its server: a few Redis commands in one round trip, with a deadline.

use std::time::Duration;

use async_trait::async_trait;

/// One command, its name first.
pub(crate) type Command = Vec<String>;

/// The reply to one command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Nothing, `OK`, or a number; no command here needs the difference.
    Done,
    /// Values; `None` for a missing key.
    Values(Vec<Option<String>>),
    /// The server refused the command.
    Refused(String),
}

/// The replies of one round trip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    /// The run of the server that answered.
    pub(crate) server: String,
    /// One for each command, in order.
    pub(crate) replies: Vec<Reply>,
}

/// The server is unavailable: no answer, or not a valid one. Contains no secret, so that it can be logged.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ServerUnavailable(pub(crate) String);

/// A connection to a server.
#[async_trait]
pub(crate) trait Remote: Send + Sync {
    /// Its name in logs and metrics.
    fn name(&self) -> &'static str;

    /// Connects. What is read from now on shows everything that any process wrote before. Called in the background
    /// only.
    async fn connect(&self) -> Result<(), ServerUnavailable>;

    /// Sends `commands`. Later calls of this client see the effects of a `binding` one. Does not connect: without a
    /// connection it fails at once.
    async fn call(&self, commands: &[Command], binding: bool, timeout: Duration) -> Result<Answer, ServerUnavailable>;
}
