//! Redis over TCP, plain or with TLS. The only file that uses the `redis` crate.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisError, Value};

use super::remote::{Answer, Command, Remote, Reply, ServerUnavailable};

/// The deadline for connecting and reading the server's run id.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// Whether the driver can read `url`.
pub(super) fn is_readable(url: &str) -> bool {
    url.into_connection_info().is_ok()
}

pub(super) struct Redis {
    client: Client,
    link: Mutex<Option<Link>>,
}

#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    /// The server's id of its run.
    server: String,
}

fn unavailable(error: &RedisError) -> ServerUnavailable {
    ServerUnavailable(error.to_string())
}

impl Redis {
    pub(super) fn new(url: &str) -> Result<Self, ServerUnavailable> {
        if url.starts_with("rediss://") {
            // The driver uses the process's provider, and an embedding program may not have installed one.
            crate::tls::install_provider();
        }
        let client =
            Client::open(url).map_err(|_| ServerUnavailable("EPR_REDIS_URL is not a valid Redis URL".into()))?;
        Ok(Self { client, link: Mutex::default() })
    }

    fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn new_link(&self) -> Result<Link, ServerUnavailable> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(CONNECT_TIMEOUT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(|error| unavailable(&error))?;
        let info: String =
            redis::cmd("INFO").arg("server").query_async(&mut connection).await.map_err(|error| unavailable(&error))?;
        let server = info.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::trim);
        // Without it, a server that restarted with an old snapshot looks like one that never stopped.
        let server = server.filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric()));
        let server = server.ok_or_else(|| ServerUnavailable("the server reports no run_id".into()))?.to_owned();
        Ok(Link { connection, server })
    }
}

#[async_trait]
impl Remote for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn connect(&self) -> Result<(), ServerUnavailable> {
        if self.link().is_some() {
            return Ok(());
        }
        let link = tokio::time::timeout(CONNECT_TIMEOUT, self.new_link())
            .await
            .map_err(|_| ServerUnavailable("the connection timed out".into()))??;
        *self.link() = Some(link);
        Ok(())
    }

    /// A connection sees every write, because all processes use the primary: `binding` needs nothing more.
    async fn call(&self, commands: &[Command], _: bool, timeout: Duration) -> Result<Answer, ServerUnavailable> {
        let Some(Link { mut connection, server }) = self.link().clone() else {
            return Err(ServerUnavailable("not connected".into()));
        };
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for (name, arguments) in commands.iter().filter_map(|command| command.split_first()) {
            let mut command = redis::cmd(name);
            for argument in arguments {
                command.arg(argument);
            }
            pipeline.add_command(command);
        }
        let outcome = tokio::time::timeout(timeout, pipeline.query_async::<Vec<Value>>(&mut connection)).await;
        let values = outcome.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        match values {
            Ok(values) => Ok(Answer { server, replies: values.into_iter().map(reply).collect() }),
            Err(error) => {
                // Another server may answer next: connect again and read its run id.
                self.link().take_if(|link| link.server == server);
                Err(unavailable(&error))
            }
        }
    }
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Array(values) => Reply::Values(values.into_iter().map(text).collect()),
        Value::ServerError(error) => Reply::Refused(error.to_string()),
        _ => Reply::Done,
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::BulkString(bytes) => String::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}
