//! A SQLite file whose disk is full, limited, read-only or missing: calls fail with a 503 while it is, nothing is lost,
//! and they succeed again without a restart.

use std::path::Path;

use epr_testkit::disk::SmallDisk;
use epr_testkit::process::{Process, epr};
use epr_testkit::wait;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::process::Command;

const READER: &str = "aaaaaaaa-0000-4000-8000-000000000001";

fn url(folder: &Path) -> String {
    format!("sqlite:///{}", folder.join("epr.db").display())
}

/// A client of a running process.
struct Caller {
    client: Client,
    base: String,
}

impl Caller {
    fn new(base: String) -> Self {
        Self { client: Client::new(), base }
    }

    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = self.client.post(format!("{}/api/v1/{path}", self.base)).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn create(&self, name: &str, size: usize) -> (u16, Value) {
        self.post("entities", json!({"name": name, "type": "spv", "attributes": {"text": "x".repeat(size)}})).await
    }

    async fn check(&self, resource: &Value) -> u16 {
        self.post("authorize", json!({"user_id": READER, "action": "a:read", "resource_id": resource})).await.0
    }
}

/// Creates large entities until the disk refuses; then small ones and checks, each answered by a decision or a 503.
async fn fill(caller: &Caller, first: &Value) {
    let mut statuses = Vec::new();
    for n in 0..20 {
        statuses.push(caller.create(&format!("large {n}"), 200_000).await.0);
    }
    assert!(statuses.contains(&503) && statuses.iter().all(|status| [201, 503].contains(status)), "{statuses:?}");
    for _ in 0..3 {
        assert_eq!(caller.create("larger", 400_000).await.0, 503);
        let status = caller.check(first).await;
        assert!([200, 503].contains(&status), "{status}");
    }
}

async fn the_chain_holds(url: &str) {
    let (code, out, err) = epr(url, &["audit", "verify"]).await;
    assert_eq!(code, 0, "{out}{err}");
}

/// The error of the log line about the last failed request.
async fn logged(process: &mut Process) -> String {
    let line = process.wait_for_log("request_failed").await;
    line["extra"]["error"].as_str().unwrap_or_else(|| panic!("{line}")).to_owned()
}

#[tokio::test]
async fn a_full_disk_is_a_503_until_there_is_room() {
    let disk = SmallDisk::mount("4m").await;
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &url(disk.path()))]).await;
    let caller = Caller::new(base);
    let first = caller.create("first", 0).await.1["id"].clone();
    assert_eq!(caller.check(&first).await, 200);
    let ballast = disk.path().join("ballast");
    std::fs::write(&ballast, vec![0; 2 << 20]).unwrap();
    fill(&caller, &first).await;
    let error = logged(&mut process).await;
    assert!(error.contains(&format!("the database file {}/epr.db: ", disk.path().display())), "{error}");
    std::fs::remove_file(ballast).unwrap();
    assert_eq!(caller.create("after", 200_000).await.0, 201);
    assert_eq!(caller.check(&first).await, 200);
    drop(process);
    the_chain_holds(&url(disk.path())).await;
}

/// `ulimit -f`: the write fails, and the signal that comes with it (SIGXFSZ) does not end the process.
#[tokio::test]
async fn a_limit_of_file_size_is_a_503_until_it_is_lifted() {
    let folder = tempfile::tempdir().unwrap();
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &url(folder.path()))]).await;
    let caller = Caller::new(base);
    let first = caller.create("first", 0).await.1["id"].clone();
    limit_file_size(&process, "1000000").await;
    fill(&caller, &first).await;
    let error = logged(&mut process).await;
    assert!(error.contains(&format!("the database file {}/epr.db: ", folder.path().display())), "{error}");
    limit_file_size(&process, "unlimited").await;
    assert_eq!(caller.create("after", 200_000).await.0, 201);
    assert_eq!(caller.check(&first).await, 200);
    assert!(process.terminate().await.0.success());
    the_chain_holds(&url(folder.path())).await;
}

async fn limit_file_size(process: &Process, bytes: &str) {
    let (pid, limit) = (format!("--pid={}", process.id()), format!("--fsize={bytes}:unlimited"));
    let set = Command::new("prlimit").args([pid, limit]).status().await.expect("prlimit");
    assert!(set.success());
}

/// A folder that cannot be written, and no folder at all: the start ends with the path in its error, doctor says the
/// same.
#[tokio::test]
async fn a_read_only_folder_is_named() {
    let disk = SmallDisk::mount("4m").await;
    let database = url(disk.path());
    assert_eq!(epr(&database, &["migrate"]).await.0, 0);
    disk.make_read_only().await;
    let named = format!("{}/epr.db", disk.path().display());
    let start = Process::start("epr-api", &[("EPR_DATABASE_URL", &database), ("EPR_DATABASE_START_TIMEOUT", "1")]);
    let (status, log) = start.wait_for_exit().await;
    assert!(!status.success() && format!("{log:?}").contains(&named), "{log:#?}");
    let (code, out, err) = epr(&database, &["doctor"]).await;
    assert!(code == 1 && out.replace(['\n', ' '], "").contains(&named), "{out}{err}");
    let missing = format!("sqlite:///{}/missing/epr.db", disk.path().display());
    let (code, _, err) = epr(&missing, &["migrate"]).await;
    assert!(code == 2 && err.contains(&format!("{}/missing", disk.path().display())), "{err}");
}

/// A container with a read-only root has no folder for temporary files.
#[tokio::test]
async fn no_folder_for_temporary_files_is_needed() {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let script = "mount -t tmpfs -o ro tmpfs /tmp && mount -t tmpfs -o ro tmpfs /var/tmp && cd /proc && exec \"$0\"";
    let database = url(folder.path());
    let environment = [("EPR_DATABASE_URL", database.as_str()), ("HOST", "127.0.0.1"), ("PORT", "0")];
    let mut process = Process::start_wrapped(&["unshare", "--mount", "sh", "-c", script], "epr-api", &environment);
    let line = process.wait_for_log("listening").await;
    let caller = Caller::new(format!("http://{}", line["extra"]["address"].as_str().unwrap()));
    let entity = caller.create("e", 0).await.1["id"].clone();
    let role = caller.post("roles", json!({"name": "Reader", "permissions": ["a:read"]})).await.1["id"].clone();
    for n in 0..130 {
        let principal = format!("aaaaaaaa-0000-4000-8000-{n:012x}");
        let body = json!({"principal_id": principal, "role_id": role, "entity_id": entity});
        assert_eq!(caller.post("assignments", body).await.0, 201, "assignment {n}");
    }
    assert_eq!(caller.check(&entity).await, 200);
}

/// A file that is deleted or replaced under a running process is not used: some connections would read the old one.
#[tokio::test]
async fn a_file_that_was_replaced_is_not_used_until_the_restart() {
    let folder = tempfile::tempdir().unwrap();
    let database = url(folder.path());
    let (file, aside) = (folder.path().join("epr.db"), folder.path().join("aside.db"));
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &database)]).await;
    let caller = Caller::new(base);
    let first = caller.create("first", 0).await.1["id"].clone();
    assert_eq!(caller.check(&first).await, 200);

    std::fs::rename(&file, &aside).unwrap();
    assert_eq!(caller.create("while it is away", 0).await.0, 503);
    let error = logged(&mut process).await;
    assert!(error.contains(&format!("the database file {} was deleted or moved", file.display())), "{error}");
    // No decision from memory either, and no new file in its place.
    wait::until("no decision", async || caller.check(&first).await == 503).await;
    assert!(!file.exists());
    std::fs::rename(&aside, &file).unwrap();
    assert_eq!(caller.create("after it is back", 0).await.0, 201);
    assert_eq!(caller.check(&first).await, 200);

    let replacement = tempfile::tempdir().unwrap();
    assert_eq!(epr(&url(replacement.path()), &["migrate"]).await.0, 0);
    std::fs::copy(replacement.path().join("epr.db"), &aside).unwrap();
    std::fs::rename(&aside, &file).unwrap();
    wait::until("no decision", async || caller.check(&first).await == 503).await;
    assert_eq!(caller.create("in neither", 0).await.0, 503);
    let ready = caller.client.get(format!("{}/readyz", caller.base)).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    drop(process);
    for suffix in ["-wal", "-shm"] {
        let _ = std::fs::remove_file(folder.path().join(format!("epr.db{suffix}")));
    }
    let (_process, base) = Process::api(&[("EPR_DATABASE_URL", &database)]).await;
    assert_eq!(Caller::new(base).check(&first).await, 404, "the new file is another database");
}
