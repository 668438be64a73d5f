//! Output that cannot be written: exit code 2 of every command and program, never a panic and never a success.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Output, Stdio};

use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::program;

/// Every command that writes a result.
const COMMANDS: [&[&str]; 34] = [
    &["--help"],
    &["--version"],
    &["audit", "verify", "--help"],
    &["migrate"],
    &["doctor"],
    &["doctor", "--json"],
    &["seed"],
    &["check", "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01", "document:download", "spv:Berlin One"],
    &["check", "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01", "document:verify", "spv:Berlin One"],
    &["who-can", "document:download", "spv:Berlin One"],
    &["who-can", "document:download", "spv:Berlin One", "--format", "csv"],
    &["what-can", "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01", "--on", "spv:Berlin One", "--json"],
    &["what-can", "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01"],
    &["what-can", "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01", "--form", "subtrees", "--json"],
    &["entities", "list"],
    &["entities", "show", "spv:Berlin One"],
    &["roles", "list", "--json"],
    &["roles", "show", "Document reader"],
    &["assignments", "list"],
    &["export"],
    &["export", "--format", "csv"],
    &["report", "expiring", "--within", "60d"],
    &["report", "global-roles"],
    &["report", "access", "--entity", "issuer:Acme Estates"],
    &["audit", "list"],
    &["audit", "list", "--json"],
    &["audit", "list", "--format", "csv"],
    &["audit", "verify"],
    &["audit", "verify", "--json"],
    &["audit", "verify", "--end-sequence", "1000"],
    &["audit", "export"],
    &["audit", "export", "--output", "/dev/full"],
    &["token", "new", "--name", "x", "--scopes", "epr:read"],
    &["completions", "bash"],
];

fn command(name: &str, url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(program(name));
    command.env_clear().env("EPR_DATABASE_URL", url).current_dir(std::env::temp_dir()).args(arguments);
    command.stdin(Stdio::null());
    command
}

fn full() -> Stdio {
    File::options().write(true).open("/dev/full").unwrap().into()
}

async fn seeded() -> Database {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let cli = Cli::on(&database.url);
    cli.ok(&["migrate"]).await;
    cli.ok(&["seed"]).await;
    database
}

/// Exit code 2 and one sentence, beside the remarks that some commands make on their way.
fn refused(arguments: &[&str], output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
    assert_eq!(stderr.matches("cannot be written: No space left on device").count(), 1, "{arguments:?}: {stderr}");
    assert!(!stderr.contains("panicked"), "{arguments:?}: {stderr}");
}

#[tokio::test]
async fn a_full_device_fails_the_command() {
    let database = seeded().await;
    for arguments in COMMANDS {
        let to_file = arguments.contains(&"--output");
        let stdout = if to_file { Stdio::piped() } else { full() };
        refused(arguments, &command("epr", &database.url, arguments).stdout(stdout).output().unwrap());
        // Standard error is on the same device: no message can appear, and the exit code does not change.
        let mut command = command("epr", &database.url, arguments);
        let status = command.stdout(if to_file { Stdio::null() } else { full() }).stderr(full()).status().unwrap();
        assert_eq!(status.code(), Some(2), "{arguments:?}");
    }
    for (name, arguments) in [
        ("epr-api", &["--help"][..]),
        ("epr-api", &["--version"]),
        ("epr-api", &["--openapi"]),
        ("epr-api", &["epr", "audit", "verify"]),
        ("epr-audit-worker", &["--help"]),
        ("epr-audit-worker", &["--version"]),
    ] {
        refused(arguments, &command(name, &database.url, arguments).stdout(full()).output().unwrap());
    }
}

#[tokio::test]
async fn standard_error_alone_changes_no_exit_code() {
    let database = seeded().await;
    for (name, arguments, code) in [
        ("epr", &["audit", "verify"][..], 0),
        ("epr", &["audit", "export"], 0),
        ("epr", &["audit", "rejections"], 0),
        ("epr", &["audit", "verify", "--start-sequence", "3", "--end-sequence", "2"], 2),
        ("epr", &["entities", "show", "spv:Nowhere"], 2),
        ("epr", &["nonsense"], 2),
        ("epr-api", &["--nonsense"], 2),
        ("epr-api", &["--health"], 1),
        ("epr-audit-worker", &["--nonsense"], 2),
        ("epr-audit-worker", &[], 2),
    ] {
        let mut command = command(name, &database.url, arguments);
        // A port of its own that no service listens on.
        let command = command.env("PORT", epr_testkit::process::free_port());
        let output = command.stdout(Stdio::piped()).stderr(full()).output().unwrap();
        assert_eq!(output.status.code(), Some(code), "{name} {arguments:?}");
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_gets_no_line_and_no_success() {
    let database = seeded().await;
    for arguments in COMMANDS {
        if arguments.contains(&"--output") {
            continue;
        }
        let (reader, writer) = std::io::pipe().unwrap();
        let (mut stderr, errors) = std::io::pipe().unwrap();
        drop(reader);
        // The command goes at the end of the statement, and with it this side's copies of both ends.
        let mut running = command("epr", &database.url, arguments).stdout(writer).stderr(errors).spawn().unwrap();
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        assert_eq!(running.wait().unwrap().code(), Some(2), "{arguments:?}: {text}");
        assert!(!text.contains("panicked") && !text.contains("cannot be written"), "{arguments:?}: {text}");
    }
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_named() {
    let database = seeded().await;
    let folder = tempfile::tempdir().unwrap();
    let nowhere = folder.path().join("missing/all.csv").display().to_string();
    let occupied = folder.path().display().to_string();
    for (arguments, file) in [
        (["export", "--output", &nowhere].to_vec(), &nowhere),
        (["audit", "export", "--output", &nowhere].to_vec(), &nowhere),
        (["audit", "export", "--output", &occupied].to_vec(), &occupied),
        (["export", "--output", &occupied].to_vec(), &occupied),
    ] {
        let output = command("epr", &database.url, &arguments).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(file.as_str()) && stderr.contains("cannot be written"), "{arguments:?}: {stderr}");
    }
}
