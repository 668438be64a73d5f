//! Throw-away poolers (`PgBouncer`) in front of the test server, which a test may kill.

use std::process::Stdio;
use std::time::Duration;

use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::database::postgres_server;
use crate::process::free_port;
use crate::wait;

/// A pooler of its own on a free port; killed when dropped.
pub struct PgBouncer {
    child: Child,
    port: String,
    folder: TempDir,
}

impl PgBouncer {
    /// Starts a pooler in `pool_mode` with at most `sessions` connections to the server for each database.
    pub async fn start(pool_mode: &str, sessions: u32) -> Self {
        Self::start_with(pool_mode, sessions, "").await
    }

    /// Starts a pooler with `more` lines in its configuration.
    pub async fn start_with(pool_mode: &str, sessions: u32, more: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let port = free_port();
        let server = postgres_server();
        let (user, address) = server.trim_start_matches("postgres://").split_once('@').expect("user@host:port");
        let (host, server_port) = address.split_once(':').expect("host:port");
        let configuration = format!(
            "[databases]\n* = host={host} port={server_port} user={user}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n\
             listen_port = {port}\nunix_socket_dir =\nauth_type = any\npool_mode = {pool_mode}\n\
             default_pool_size = {sessions}\nmax_client_conn = 500\nlogfile = {}\n{more}\n",
            folder.path().join("log").display()
        );
        std::fs::write(folder.path().join("pgbouncer.ini"), configuration).expect("a file");
        let child = spawn(&folder);
        let pooler = Self { child, port, folder };
        pooler.ready().await;
        pooler
    }

    /// The URL of a database through the pooler, from its direct URL.
    #[must_use]
    pub fn url(&self, direct: &str) -> String {
        let name = direct.rsplit('/').next().expect("a database");
        format!("postgres://epr@127.0.0.1:{}/{name}", self.port)
    }

    /// Kills the pooler and starts it again on the same port.
    pub async fn restart(&mut self) {
        self.child.kill().await.expect("a kill");
        self.child = spawn(&self.folder);
        self.ready().await;
    }

    async fn ready(&self) {
        let url = self.url("/pgbouncer");
        let up = async || {
            let options: sqlx::postgres::PgConnectOptions = url.parse().expect("a URL");
            let answer = PgConnection::connect_with(&options.extra_float_digits(None)).await;
            // The pooler's own database answers, and refuses every user but its administrators.
            matches!(answer, Ok(_) | Err(sqlx::Error::Database(_)))
        };
        wait::until_value("pgbouncer", Duration::from_millis(10), up, |up| *up).await;
    }
}

fn spawn(folder: &TempDir) -> Child {
    let mut command = Command::new("pgbouncer");
    if is_root() {
        // PgBouncer refuses to run as root. It drops its rights itself (`-u`), because a kill would reach a wrapper
        // program instead of the pooler.
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        std::fs::set_permissions(folder.path(), mode).expect("a folder for its log");
        command.args(["-u", "postgres"]);
    }
    command
        .arg(folder.path().join("pgbouncer.ini"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap_or_else(|error| panic!("pgbouncer: {error}; install it, as scripts/test.sh does"))
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}
