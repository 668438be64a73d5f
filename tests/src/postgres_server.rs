//! A PostgreSQL server of one test, whose certificates and access rules can be changed while it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::process::free_port;

/// A PostgreSQL server; stopped and deleted when dropped.
pub struct PostgresServer {
    folder: TempDir,
    bin: PathBuf,
    /// The port on `127.0.0.1`.
    pub port: String,
}

fn bin() -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("PostgreSQL: scripts/test.sh installs it");
    let mut found: Vec<_> = versions.map(|version| version.expect("a folder").path().join("bin")).collect();
    found.sort();
    found.pop().expect("PostgreSQL: scripts/test.sh installs it")
}

/// PostgreSQL refuses to run as root.
fn as_server(program: &Path) -> Command {
    if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
        let mut command = Command::new("runuser");
        command.args(["-u", "postgres", "--"]).arg(program);
        command
    } else {
        Command::new(program)
    }
}

fn run(command: &mut Command) {
    let output = command.output().expect("a program");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

impl PostgresServer {
    /// Creates a server whose superuser is `epr`, writes `files` (name and text) into its data folder, and starts it
    /// with
    /// `settings` (options of `postgres`). Without a `pg_hba.conf` among the files it admits every user.
    #[must_use]
    pub fn create(files: &[(&str, &str)], settings: &str) -> Self {
        let server = Self::prepare();
        for (name, text) in files {
            server.write(name, text);
        }
        server.start(settings);
        server
    }

    /// Creates a server without starting it, for a test that starts it later.
    #[must_use]
    pub fn prepare() -> Self {
        let folder = tempfile::Builder::new().prefix("epr-pg").tempdir().expect("a folder");
        run(Command::new("chmod").arg("777").arg(folder.path()));
        let server = Self { folder, bin: bin(), port: free_port() };
        let data = server.data();
        run(as_server(&server.bin.join("initdb"))
            .current_dir("/")
            .args(["-U", "epr", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync", "-D"])
            .arg(&data));
        server
    }

    /// Copies a running server; the copy follows it once it is started.
    #[must_use]
    pub fn standby_of(primary: &Self) -> Self {
        let folder = tempfile::Builder::new().prefix("epr-pg").tempdir().expect("a folder");
        run(Command::new("chmod").arg("777").arg(folder.path()));
        let server = Self { folder, bin: bin(), port: free_port() };
        run(as_server(&server.bin.join("pg_basebackup"))
            .current_dir("/")
            .args(["-h", "127.0.0.1", "-U", "epr", "-c", "fast", "-X", "stream", "--no-sync", "-R", "-p"])
            .arg(&primary.port)
            .arg("-D")
            .arg(server.data()));
        server
    }

    /// Promotes a standby to a primary.
    pub fn promote(&self) {
        self.control(&["promote"]);
    }

    /// Stops the server: connections are closed, and standbys have received everything.
    pub fn stop(&self) {
        self.control(&["-m", "fast", "stop"]);
    }

    /// Starts the stopped server as a standby of `primary`.
    pub fn start_as_standby_of(&self, primary: &Self) {
        self.write("standby.signal", "");
        self.start(&format!("-c 'primary_conninfo=host=127.0.0.1 user=epr port={}'", primary.port));
    }

    /// The address of the server as `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// The URL of its only database.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://epr@{}/postgres", self.address())
    }

    /// The folder of the server; its data folder is below it.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Writes a file into the data folder, owned by the server's user.
    pub fn write(&self, name: &str, text: &str) {
        let own = self.folder.path().join(format!("new-{name}"));
        std::fs::write(&own, text).expect("a file");
        // The server refuses keys that its user does not own.
        let to = self.data().join(name);
        run(as_server(Path::new("cp")).arg(&own).arg(&to));
        run(as_server(Path::new("chmod")).arg("600").arg(&to));
    }

    fn control(&self, arguments: &[&str]) {
        let mut command = as_server(&self.bin.join("pg_ctl"));
        // Not a pipe: the server would keep it open.
        command.current_dir("/").arg("-w").arg("-D").arg(self.data()).args(arguments);
        let log = std::fs::File::create(self.folder.path().join("pg_ctl.log")).expect("a log");
        let status = command.stdout(log.try_clone().expect("a log")).stderr(log).status().expect("pg_ctl");
        assert!(status.success(), "pg_ctl {arguments:?}");
    }

    /// Starts the server with `settings`, options of `postgres`.
    pub fn start(&self, settings: &str) {
        let options =
            format!("-p {} -k {} -h 127.0.0.1 -c fsync=off {settings}", self.port, self.folder.path().display());
        let log = self.data().join("log");
        self.control(&["-l", &log.display().to_string(), "-o", &options, "start"]);
    }

    /// The text of the server's log.
    #[must_use]
    pub fn log(&self) -> String {
        let output = as_server(Path::new("cat")).arg(self.data().join("log")).output().expect("its log");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Makes the server reload its configuration and certificates.
    pub fn reload(&self) {
        self.control(&["reload"]);
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let stop = as_server(&self.bin.join("pg_ctl"))
            .current_dir("/")
            .arg("-D")
            .arg(self.data())
            .args(["-m", "immediate", "stop"])
            .output();
        drop(stop);
        // Only the server's user may delete its files.
        let _ = as_server(Path::new("rm")).arg("-rf").arg(self.data()).output();
    }
}
