//! Misspelt variables, and programs that are started by hand with what they do not take.

use std::os::unix::ffi::OsStrExt as _;
use std::process::{Output, Stdio};

use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::{Process, program};
use serde_json::{Value, json};
use tokio::process::Command;

#[tokio::test]
async fn a_misspelt_variable_is_named_at_start_and_wrong_for_doctor() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let misspelt = [("EPR_LOG_LEVL", "hunter2"), ("EPR_SOMETHING_ELSE", "hunter2")];
    let environment = [&[("EPR_DATABASE_URL", database.url.as_str())], &misspelt[..]].concat();
    let (process, _) = Process::api(&environment).await;
    let lines: Vec<_> = process.log.iter().filter(|line| line["message"] == "unknown_variable_ignored").collect();
    let reported: Vec<_> =
        lines.iter().map(|line| (line["extra"]["variable"].clone(), line["extra"]["nearest"].clone())).collect();
    assert_eq!(
        reported,
        [(json!("EPR_LOG_LEVL"), json!("EPR_LOG_LEVEL")), (json!("EPR_SOMETHING_ELSE"), Value::Null)],
        "{:?}",
        process.log
    );
    assert!(lines.iter().all(|line| line["level"] == "WARNING"));
    let (_, log) = process.terminate().await;
    assert!(!Value::from(log).to_string().contains("hunter2"));

    let cli = misspelt.iter().fold(Cli::on(&database.url), |cli, (name, value)| cli.with(name, value));
    let output = cli.run(&["doctor", "--json"]).await;
    assert_eq!(output.code, 1, "{output:?}");
    let report: Value = serde_json::from_str(&output.out).unwrap();
    let wrong: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|finding| finding["state"] == "wrong")
        .map(|finding| finding["seen"].as_str().unwrap())
        .collect();
    assert_eq!(wrong.len(), 2, "{report:#}");
    assert!(wrong[0].contains("EPR_LOG_LEVL") && wrong[0].ends_with("did you mean EPR_LOG_LEVEL?"), "{wrong:?}");
    assert!(!output.out.contains("hunter2"), "{}", output.out);
    let listed = cli.run(&["entities", "list"]).await;
    assert_eq!(listed.code, 0, "{listed:?}");
    assert!(listed.err.contains("did you mean EPR_LOG_LEVEL?"), "{listed:?}");
}

async fn run(name: &str, environment: &[(&str, &str)], argument: Option<&[u8]>) -> Output {
    let mut command = Command::new(program(name));
    command.env_clear().envs(environment.iter().copied()).current_dir(std::env::temp_dir()).stdin(Stdio::null());
    command.args(argument.map(std::ffi::OsStr::from_bytes)).output().await.unwrap()
}

#[tokio::test]
async fn a_variable_that_is_missing_may_be_the_misspelt_one() {
    let output =
        run("epr-audit-worker", &[("EPR_AUDIT_SQS_ULR", "https://sqs.eu-west-1.amazonaws.com/1/q")], None).await;
    let reported = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{reported}");
    assert!(
        reported.contains("EPR_AUDIT_SQS_URL is not set") && reported.contains("did you mean EPR_AUDIT_SQS_URL?"),
        "{reported}"
    );
}

#[tokio::test]
async fn programs_answer_for_their_arguments() {
    for name in ["epr-api", "epr-audit-worker", "epr-audit-lambda", "epr"] {
        for (argument, code) in
            [(&b"--help"[..], 0), (b"--version", 0), (b"--nonsense", 2), (b"nonsense", 2), (b"\xff\xfe", 2)]
        {
            let output = run(name, &[], Some(argument)).await;
            let (out, reported) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert_eq!(output.status.code(), Some(code), "{name} {argument:?}: {reported}");
            assert_eq!(out.contains(name), code == 0, "{name} {argument:?}: {out}");
        }
    }
    let output = run("epr-audit-lambda", &[], None).await;
    let reported = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), reported.lines().count()), (Some(2), 1), "{reported}");
    assert!(reported.contains("AWS_LAMBDA_RUNTIME_API is not set"), "{reported}");
}
