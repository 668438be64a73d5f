//! Programs under measurement: the API and the bare handler, each a process whose log goes to a file.

use std::process::Stdio;
use std::time::{Duration, Instant};

use axum::http::Method;
use epr_testkit::process::{free_port, program};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use crate::http::Connection;

/// Time for a server to become ready. It ends a failing run and measures nothing.
pub(crate) const PROCESS_TIMEOUT: Duration = Duration::from_mins(1);

/// A running server; killed when dropped.
pub(crate) struct Server {
    child: Child,
    /// Host and port.
    pub(crate) address: String,
    /// Time from the start of the process until it logged that it is ready.
    pub(crate) ready_after: Duration,
}

impl Server {
    /// Starts `epr-api` on this database with further environment variables and waits until it is ready.
    pub(crate) async fn api(database: &str, environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        let mut command = Command::new(program("epr-api"));
        command
            .env_clear()
            .envs([("EPR_DATABASE_URL", database), ("HOST", "127.0.0.1"), ("PORT", &port)])
            .envs(environment.iter().copied());
        Self::on_port(command, &port, "/readyz").await
    }

    /// Starts a program that serves on this port and waits until `ready` responds 200.
    pub(crate) async fn on_port(mut command: Command, port: &str, ready: &str) -> Self {
        let begun = Instant::now();
        let mut child = command
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::from(tempfile::tempfile().expect("a file for its log")))
            .kill_on_drop(true)
            .spawn()
            .expect("the program");
        let address = format!("127.0.0.1:{port}");
        // Asked again and again, rarely enough that the asking does not take the machine from it.
        let until_ready = async {
            while tokio::net::TcpStream::connect(&address).await.is_err() {
                assert!(child.try_wait().expect("its state").is_none(), "the program ended before it served");
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            let mut connection = Connection::to(&address).await;
            while connection.send(Method::GET, ready, "".into()).await.0 != 200 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            begun.elapsed()
        };
        let ready_after =
            tokio::time::timeout(PROCESS_TIMEOUT, until_ready).await.expect("a service that is ready within a minute");
        Self { child, address, ready_after }
    }

    /// Starts `epr-api` and waits until its decision cache is in use.
    pub(crate) async fn cached(database: &str, environment: &[(&str, &str)]) -> Self {
        let server = Self::api(database, environment).await;
        server
            .until(|states| {
                let up = |tier: &str| states[tier]["status"].as_str().is_none_or(|status| status == "ok");
                up("cache") && up("shared_cache")
            })
            .await;
        server
    }

    /// Starts `epr-api` and waits until it has the registry in memory; returns the time from readiness until then, too.
    pub(crate) async fn with_graph(database: &str, environment: &[(&str, &str)]) -> (Self, Duration) {
        let server = Self::api(database, environment).await;
        let waited = server.until(|states| states["graph"]["status"] == "ok").await;
        (server, waited)
    }

    /// Asks until the states of the dependencies are as `wanted`; returns the time that it took.
    async fn until(&self, wanted: impl Fn(&serde_json::Value) -> bool) -> Duration {
        let begun = Instant::now();
        let mut connection = Connection::to(&self.address).await;
        let reached = async {
            loop {
                let (_, body) = connection.send(Method::GET, "/readyz", "".into()).await;
                let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                if wanted(&body["dependencies"]) {
                    return begun.elapsed();
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PROCESS_TIMEOUT, reached).await.expect("caches in use within a minute")
    }

    /// Starts the bare handler, with a database or without.
    pub(crate) async fn bare(database: Option<&str>) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("this program"));
        command.arg("bare").args(database);
        Self::announced(command).await
    }

    /// Starts a program that prints its address when it serves.
    pub(crate) async fn announced(mut command: Command) -> Self {
        let begun = Instant::now();
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the program");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        let address = lines.next_line().await.expect("a line").expect("an address");
        Self { child, address, ready_after: begun.elapsed() }
    }

    /// The resident memory of the server and its peak, in MB.
    pub(crate) fn resident(&self) -> (f64, f64) {
        let id = self.child.id().expect("a running process");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its figures");
        let megabytes = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name)).expect("a figure");
            let kib: f64 = line.split_whitespace().nth(1).expect("a number").parse().expect("a number");
            kib * 1024.0 / 1e6
        };
        (megabytes("VmRSS:"), megabytes("VmHWM:"))
    }
}
