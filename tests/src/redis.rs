//! Throw-away Redis servers, which a test may kill, stop, flush and fill.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use redis::Value;
use redis::aio::MultiplexedConnection;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::process::free_port;
use crate::{certificate, wait};

/// A server of its own on a free port; killed when dropped.
pub struct RedisServer {
    child: Child,
    port: String,
    /// The port for TLS.
    tls_port: Option<String>,
    folder: TempDir,
}

impl RedisServer {
    /// Starts a server that persists nothing by itself; `SAVE` still writes a snapshot.
    pub async fn start() -> Self {
        Self::start_on(free_port(), None, tempfile::tempdir().expect("a temporary folder")).await
    }

    /// Starts a server that also accepts TLS, with a self-signed certificate for `localhost`.
    pub async fn start_with_tls() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        certificate::self_signed(folder.path()).await;
        Self::start_on(free_port(), Some(free_port()), folder).await
    }

    async fn start_on(port: String, tls_port: Option<String>, folder: TempDir) -> Self {
        let child = spawn(&port, tls_port.as_deref(), &folder);
        let server = Self { child, port, tls_port, folder };
        server.ready().await;
        server
    }

    /// The URL of the server.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/0", self.port)
    }

    /// The URL of the server with TLS.
    ///
    /// # Panics
    /// When it was started without.
    #[must_use]
    pub fn tls_url(&self) -> String {
        format!("rediss://localhost:{}/0", self.tls_port.as_deref().expect("a server with TLS"))
    }

    /// The file of its certificate.
    #[must_use]
    pub fn certificate(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    async fn ready(&self) {
        let up = async || self.try_command(&["PING"]).await.is_ok();
        wait::until_value("redis-server", Duration::from_millis(5), up, |up| *up).await;
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
        self.try_command(words).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    /// The number of keys.
    pub async fn key_count(&self) -> i64 {
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

    /// Kills the server.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a server that ends");
    }

    /// Starts the killed server again with its last snapshot.
    pub async fn again(&mut self) {
        self.child = spawn(&self.port, self.tls_port.as_deref(), &self.folder);
        self.ready().await;
    }
}

fn spawn(port: &str, tls_port: Option<&str>, folder: &TempDir) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    command.arg(folder.path());
    if let Some(tls_port) = tls_port {
        command.args(["--tls-port", tls_port, "--tls-auth-clients", "no"]);
        command.args(["--tls-cert-file", "cert.pem", "--tls-key-file", "key.pem", "--tls-ca-cert-file", "cert.pem"]);
        // The server resolves these file names before it applies --dir.
        command.current_dir(folder.path());
    }
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server, which scripts/test.sh installs")
}
