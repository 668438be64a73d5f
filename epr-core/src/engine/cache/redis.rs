//! Redis over TCP, plain or with TLS. The only place that knows the `redis` crate.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, IntoConnectionInfo as _, RedisError, Value};
use tokio::time::timeout;

use super::remote::{Answer, Away, Command, Remote, Reply};

/// How long it may take to connect and to ask the server who it is.
const CONNECT: Duration = Duration::from_secs(2);

/// Whether `url` names a server.
pub(crate) fn is_url(url: &str) -> bool {
    (url.starts_with("redis://") || url.starts_with("rediss://")) && url.into_connection_info().is_ok()
}

pub(super) struct Redis {
    client: Client,
    link: Mutex<Option<Link>>,
}

#[derive(Clone)]
struct Link {
    connection: MultiplexedConnection,
    /// The server's own name for this run of it.
    server: String,
}

fn away(fault: &RedisError) -> Away {
    Away(fault.to_string())
}

impl Redis {
    pub(super) fn new(url: &str) -> Result<Self, Away> {
        if url.starts_with("rediss://") {
            // The driver takes the process's provider, and an embedding program may have installed none.
            crate::tls::install_provider();
        }
        let client = Client::open(url).map_err(|_| Away("EPR_REDIS_URL is not understood".into()))?;
        Ok(Self { client, link: Mutex::default() })
    }

    fn link(&self) -> MutexGuard<'_, Option<Link>> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn new_link(&self) -> Result<Link, Away> {
        let config =
            AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(CONNECT));
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await;
        let mut connection = connection.map_err(|fault| away(&fault))?;
        let info: String =
            redis::cmd("INFO").arg("server").query_async(&mut connection).await.map_err(|fault| away(&fault))?;
        let server = info.lines().find_map(|line| line.strip_prefix("run_id:")).map(str::trim);
        // Without it a server that comes back with an old snapshot could not be told from one that never went.
        let server = server.filter(|id| !id.is_empty() && id.chars().all(|c| c.is_ascii_alphanumeric()));
        let server = server.ok_or_else(|| Away("the server does not tell its run_id".into()))?.to_owned();
        Ok(Link { connection, server })
    }
}

#[async_trait]
impl Remote for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    async fn connect(&self) -> Result<(), Away> {
        if self.link().is_some() {
            return Ok(());
        }
        let link = timeout(CONNECT, self.new_link()).await.map_err(|_| Away("no connection in time".into()))??;
        *self.link() = Some(link);
        Ok(())
    }

    /// One connection sees its own writes and, as all talk to the primary, everybody's: nothing to do for `binding`.
    async fn call(&self, commands: &[Command], _: bool, limit: Duration) -> Result<Answer, Away> {
        let Some(Link { mut connection, server }) = self.link().clone() else {
            return Err(Away("not connected".into()));
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
        let outcome = timeout(limit, pipeline.query_async::<Vec<Value>>(&mut connection)).await;
        let values = outcome.unwrap_or_else(|_| Err(std::io::Error::from(std::io::ErrorKind::TimedOut).into()));
        match values {
            Ok(values) => Ok(Answer { server, replies: values.into_iter().map(reply).collect() }),
            Err(fault) => {
                // It may be another server that answers next: start over, and ask who it is.
                self.link().take_if(|link| link.server == server);
                Err(away(&fault))
            }
        }
    }
}

fn reply(value: Value) -> Reply {
    match value {
        Value::Array(values) => Reply::Values(values.into_iter().map(text).collect()),
        Value::ServerError(fault) => Reply::Refused(fault.to_string()),
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
