//! Throw-away Redis servers, which a test may kill, stop, flush and fill.

use std::process::Stdio;
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::process::{Child, Command};

/// A server of its own on a free port; killed when dropped.
pub struct RedisServer {
    child: Child,
    port: u16,
    folder: TempDir,
}

impl RedisServer {
    /// Starts one that keeps nothing on its own account; `SAVE` still writes its snapshot.
    pub async fn start() -> Self {
        let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("it").port();
        let folder = tempfile::tempdir().expect("a temporary folder");
        let child = spawn(port, &folder);
        let server = Self { child, port, folder };
        server.ready().await;
        server
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    async fn ready(&self) {
        while self.try_command(&["PING"]).await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn connection(&self) -> redis::RedisResult<MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    async fn try_command(&self, words: &[&str]) -> redis::RedisResult<Value> {
        let (name, arguments) = words.split_first().expect("a command");
        redis::cmd(name).arg(arguments).query_async(&mut self.connection().await?).await
    }

    /// Runs one command.
    pub async fn command(&self, words: &[&str]) -> Value {
        self.try_command(words).await.unwrap_or_else(|fault| panic!("{words:?}: {fault}"))
    }

    /// How many keys there are.
    pub async fn keys(&self) -> i64 {
        match self.command(&["DBSIZE"]).await {
            Value::Int(count) => count,
            other => panic!("{other:?}"),
        }
    }

    /// Sends a signal by its name.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("a running server");
        let sent = Command::new("/bin/sh").args(["-c", &format!("kill -{name} {id}")]).status().await.expect("a shell");
        assert!(sent.success());
    }

    /// Ends it at once.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a server that ends");
    }

    /// Starts it again, with its last snapshot.
    pub async fn again(&mut self) {
        self.child = spawn(self.port, &self.folder);
        self.ready().await;
    }
}

fn spawn(port: u16, folder: &TempDir) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server, which scripts/test.sh installs")
}
