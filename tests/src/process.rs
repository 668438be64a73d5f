//! The programs of this project as real processes.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use crate::wait;

/// Time for a log line or an exit that is expected at once. Generous: the timeout ends a failing test and measures
/// nothing.
const PROCESS_TIMEOUT: Duration = Duration::from_mins(1);

/// The path of a program of this workspace.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the test's own path");
    // target/<profile>/deps/<test>, or target/<profile>/<bench>
    let folder = test.parent().expect("a target folder");
    let folder = if folder.ends_with("deps") { folder.parent().expect("a target folder") } else { folder };
    let path = folder.join(name);
    assert!(path.exists(), "{} is missing: run `cargo build --workspace --bins` first", path.display());
    path
}

/// A port of the loopback address that no process listens on.
#[must_use]
pub fn free_port() -> String {
    let socket = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
    socket.local_addr().expect("its address").port().to_string()
}

/// Runs `epr` on this database to its end; returns its exit code, standard output and standard error.
pub async fn epr(database_url: &str, arguments: &[&str]) -> (i32, String, String) {
    run("epr", &[("EPR_DATABASE_URL", database_url)], arguments).await
}

/// Runs `name` with exactly these variables to its end, in the temporary folder; returns its exit code, standard output
/// and standard error.
pub async fn run(name: &str, environment: &[(&str, &str)], arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(program(name))
        .env_clear()
        .envs(environment.iter().copied())
        .current_dir(std::env::temp_dir())
        .args(arguments)
        .output()
        .await
        .expect("the program");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("an exit code"), text(output.stdout), text(output.stderr))
}

/// A running program; killed when dropped.
pub struct Process {
    child: Child,
    /// The lines of standard output, read continuously, because a process blocks on a full pipe.
    lines: mpsc::UnboundedReceiver<String>,
    /// Every log line read so far.
    pub log: Vec<Value>,
}

impl Process {
    /// Starts `name` with exactly these variables, in the temporary folder.
    #[must_use]
    pub fn start(name: &str, environment: &[(&str, &str)]) -> Self {
        Self::start_in(name, &std::env::temp_dir(), environment)
    }

    /// Starts `name` with exactly these variables in this folder.
    #[must_use]
    pub fn start_in(name: &str, folder: &Path, environment: &[(&str, &str)]) -> Self {
        Self::spawn(Command::new(program(name)).env_clear().envs(environment.iter().copied()).current_dir(folder))
    }

    /// Starts a command that becomes `name`, whose path is its last argument, with exactly these variables and `PATH`.
    #[must_use]
    pub fn start_wrapped(command: &[&str], name: &str, environment: &[(&str, &str)]) -> Self {
        let (wrapper, arguments) = command.split_first().expect("a command");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let mut command = Command::new(wrapper);
        Self::spawn(
            command.args(arguments).arg(program(name)).env_clear().env("PATH", path).envs(environment.iter().copied()),
        )
    }

    /// Starts `name` with these arguments and exactly these variables, in the temporary folder.
    #[must_use]
    pub fn start_command(name: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let folder = std::env::temp_dir();
        let mut command = Command::new(program(name));
        Self::spawn(command.args(arguments).env_clear().envs(environment.iter().copied()).current_dir(folder))
    }

    fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .kill_on_drop(true)
            .spawn()
            .expect("a process");
        let mut output = BufReader::new(child.stdout.take().expect("its output")).lines();
        let (taken, lines) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok(Some(line)) = output.next_line().await {
                if taken.send(line).is_err() {
                    return;
                }
            }
        });
        Self { child, lines, log: Vec::new() }
    }

    /// Starts the API on a free port and waits until it listens; returns the process and its base URL.
    pub async fn api(environment: &[(&str, &str)]) -> (Self, String) {
        let mut all = vec![("HOST", "127.0.0.1"), ("PORT", "0")];
        all.extend_from_slice(environment);
        Self::start("epr-api", &all).listening().await
    }

    /// Starts the API as [`api`](Self::api) does, after the shell command `limits`.
    pub async fn api_limited(limits: &str, environment: &[(&str, &str)]) -> (Self, String) {
        let mut all = vec![("HOST", "127.0.0.1"), ("PORT", "0")];
        all.extend_from_slice(environment);
        let shell = ["/bin/sh", "-c", &format!("{limits}; exec \"$0\"")];
        Self::start_wrapped(&shell, "epr-api", &all).listening().await
    }

    /// Waits until the API listens; returns the process and its base URL.
    async fn listening(mut self) -> (Self, String) {
        let line = self.wait_for_log("listening").await;
        let address = line["extra"]["address"].as_str().expect("an address").to_owned();
        (self, format!("http://{address}"))
    }

    /// Starts the API on a port known in advance and waits until it is ready, for log levels that suppress `listening`.
    pub async fn api_at(environment: &[(&str, &str)]) -> (Self, String) {
        let port = free_port();
        let mut all = vec![("HOST", "127.0.0.1"), ("PORT", port.as_str())];
        all.extend_from_slice(environment);
        let process = Self::start("epr-api", &all);
        let base = format!("http://127.0.0.1:{port}");
        let ready = async {
            while !reqwest::get(format!("{base}/readyz")).await.is_ok_and(|answer| answer.status() == 200) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(PROCESS_TIMEOUT, ready).await.expect("a service that is ready within a minute");
        (process, base)
    }

    /// Reads the log until the event `message`; returns its line.
    pub async fn wait_for_log(&mut self, message: &str) -> Value {
        loop {
            let next = tokio::time::timeout(PROCESS_TIMEOUT, self.lines.recv()).await;
            let Some(text) = next.unwrap_or_else(|_| panic!("no `{message}` in the log within a minute")) else {
                panic!("the process ended without `{message}`; its log: {:#?}", self.log);
            };
            let line: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("not a JSON line: {text}"));
            self.log.push(line.clone());
            if line["message"] == message {
                return line;
            }
        }
    }

    /// The first line of the event `message`, which may have been read already, such as one from before the process
    /// listened.
    pub async fn first_log(&mut self, message: &str) -> Value {
        match self.log.iter().find(|line| line["message"] == message) {
            Some(line) => line.clone(),
            None => self.wait_for_log(message).await,
        }
    }

    /// The next line of standard output, which must be JSON.
    pub async fn next_line(&mut self) -> Value {
        let next = tokio::time::timeout(PROCESS_TIMEOUT, self.lines.recv()).await;
        let text = next.expect("a line within a minute").expect("a running process");
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("not a JSON line: {text}"))
    }

    /// The process id.
    ///
    /// # Panics
    /// When it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("a running process")
    }

    fn status(&self, name: &str) -> u64 {
        let id = self.child.id().expect("a running process");
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("a line of that name");
        line.trim_matches([':', '\t', ' ', 'k', 'B']).parse().expect("a number of KiB")
    }

    /// The peak of the resident memory of the process in KiB.
    #[must_use]
    pub fn peak_memory_kib(&self) -> u64 {
        self.status("VmHWM")
    }

    /// The resident memory of the process in KiB.
    #[must_use]
    pub fn memory_kib(&self) -> u64 {
        self.status("VmRSS")
    }

    /// Sends a signal by its name (`TERM`, `INT`, `KILL`, `STOP`, `CONT`).
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("a running process").to_string();
        // The shell's own kill: a bare machine has no other.
        let sent = Command::new("/bin/sh").args(["-c", &format!("kill -{name} {id}")]).status().await.expect("a shell");
        assert!(sent.success(), "kill -{name} {id}");
    }

    /// Suspends the process with `SIGSTOP` and waits until none of its threads runs any more.
    pub async fn suspend(&self) {
        self.signal("STOP").await;
        let tasks = format!("/proc/{}/task", self.child.id().expect("a running process"));
        let is_stopped = |task: std::io::Result<std::fs::DirEntry>| {
            let stat = std::fs::read_to_string(task.expect("a thread").path().join("stat")).unwrap_or_default();
            // The state follows the name, which is in parentheses.
            stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T'))
        };
        wait::until("a stopped process", async || std::fs::read_dir(&tasks).expect("its threads").all(is_stopped))
            .await;
    }

    /// Requests a stop with `SIGTERM` and waits for the exit; returns the status and every log line.
    pub async fn terminate(self) -> (ExitStatus, Vec<Value>) {
        self.signal("TERM").await;
        self.wait_for_exit().await
    }

    /// Reads the rest of the log and waits for the exit; returns the status and every log line.
    pub async fn wait_for_exit(mut self) -> (ExitStatus, Vec<Value>) {
        let rest = async {
            while let Some(text) = self.lines.recv().await {
                if let Ok(line) = serde_json::from_str(&text) {
                    self.log.push(line);
                }
            }
            self.child.wait().await.expect("an exit status")
        };
        let status = tokio::time::timeout(PROCESS_TIMEOUT, rest).await.expect("the process ends within a minute");
        (status, self.log)
    }
}
