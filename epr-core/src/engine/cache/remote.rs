//! What the shared tier asks of a server: a few Redis commands in one round trip, within a time limit.

use std::time::Duration;

use async_trait::async_trait;

/// One command, its name first.
pub(super) type Command = Vec<String>;

/// What one command gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Reply {
    /// Nothing, `OK`, or a number: no command sent here needs to tell them apart.
    Done,
    /// Values, absent ones included.
    Values(Vec<Option<String>>),
    /// The server would not.
    Refused(String),
}

/// What one round trip gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Which run of which server answered.
    pub(super) server: String,
    /// One for each command.
    pub(super) replies: Vec<Reply>,
}

/// The server did not answer, or not with an answer. Fit for the log: holds no secret.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct Away(pub(super) String);

/// A way to a server.
#[async_trait]
pub(super) trait Remote: Send + Sync {
    /// How it is called in logs and figures.
    fn name(&self) -> &'static str;

    /// Makes sure that there is a way, and that what is read from now on shows everything that any process wrote before.
    /// Not called where anybody waits for an answer.
    async fn connect(&self) -> Result<(), Away>;

    /// Sends `commands`, whose effects this client's later calls must see when `binding`. Does not connect: without a
    /// connection it fails at once.
    async fn call(&self, commands: &[Command], binding: bool, limit: Duration) -> Result<Answer, Away>;
}
