//! Standard output that no process reads: calls are answered, messages are recorded, and a signal ends the program.

use std::process::Stdio;
use std::time::{Duration, Instant};

use epr_testkit::aws;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::{free_port, program};
use epr_testkit::queue::{AuditQueue, MessageForm};
use epr_testkit::wait;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

/// A program with a pipe as its standard output that is not read until a test does.
fn unread(name: &str, environment: &[(&str, &str)]) -> Child {
    Command::new(program(name))
        .env_clear()
        .envs(environment.iter().copied())
        // These settings give the largest number of lines for each call.
        .envs([("EPR_LOG_LEVEL", "DEBUG"), ("EPR_SQL_ECHO", "true")])
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

async fn terminated(mut child: Child, within: Duration) {
    let id = child.id().unwrap().to_string();
    let asked = Instant::now();
    Command::new("/bin/sh").args(["-c", &format!("kill -TERM {id}")]).status().await.unwrap();
    let status = tokio::time::timeout(Duration::from_mins(1), child.wait()).await.expect("it ends").unwrap();
    assert_eq!(status.code(), Some(0));
    // A promise of the programs, not a measurement of speed.
    assert!(asked.elapsed() < within, "{:?}", asked.elapsed());
}

/// A client that fails rather than wait for ever.
fn client() -> reqwest::Client {
    reqwest::Client::builder().timeout(Duration::from_mins(1)).build().unwrap()
}

async fn ready(base: &str) {
    let client = client();
    let up = async || client.get(format!("{base}/readyz")).send().await.is_ok_and(|answer| answer.status() == 200);
    wait::until_value("a service that is ready", Duration::from_millis(10), up, |up| *up).await;
}

async fn dropped(base: &str) -> u64 {
    let text = client().get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("epr_log_lines_dropped_total ")).unwrap();
    line.parse().unwrap()
}

#[tokio::test]
async fn calls_are_answered_and_lost_lines_are_counted() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let port = free_port();
    let environment = [("EPR_DATABASE_URL", database.url.as_str()), ("HOST", "127.0.0.1"), ("PORT", port.as_str())];
    let mut api = unread("epr-api", &environment);
    let base = format!("http://127.0.0.1:{port}");
    ready(&base).await;
    let client = client();
    let mut calls = 0;
    // Until the pipe and the queue are full, and then some.
    while calls < 200 || dropped(&base).await < 1000 {
        for _ in 0..100 {
            let body = json!({"name": format!("n{calls}"), "type": "spv"});
            let made = client.post(format!("{base}/api/v1/entities")).json(&body).send().await.unwrap();
            assert_eq!(made.status(), 201, "call {calls}");
            calls += 1;
        }
        assert!(calls < 20_000, "nothing was dropped");
    }
    let lost = dropped(&base).await;
    // Once it is read again, whole lines come, and one that says how many are missing.
    let mut lines = BufReader::new(api.stdout.take().unwrap()).lines();
    let mut report = Value::Null;
    while report["message"] != "log_lines_dropped" {
        let line = lines.next_line().await.unwrap().unwrap();
        report = serde_json::from_str(&line).unwrap_or_else(|_| panic!("not a whole line: {line}"));
    }
    assert_eq!(report["level"], "WARNING");
    assert!(report["extra"]["lines"].as_u64().unwrap() >= lost, "{report} of {lost}");
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    terminated(api, Duration::from_secs(10)).await;
}

#[tokio::test]
async fn sigterm_stops_the_api_when_its_output_is_not_read() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let port = free_port();
    let environment = [("EPR_DATABASE_URL", database.url.as_str()), ("HOST", "127.0.0.1"), ("PORT", port.as_str())];
    let api = unread("epr-api", &environment);
    let base = format!("http://127.0.0.1:{port}");
    ready(&base).await;
    let client = client();
    for _ in 0..300 {
        assert_eq!(client.get(format!("{base}/api/v1/entities")).send().await.unwrap().status(), 200);
    }
    terminated(api, Duration::from_secs(10)).await;
}

#[tokio::test]
async fn the_worker_records_and_stops_when_its_output_is_not_read() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let queue = AuditQueue::create(1000).await;
    let endpoint = aws::endpoint();
    let mut environment = vec![
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_AUDIT_SQS_URL", queue.url.as_str()),
        ("EPR_AUDIT_SQS_MAX_MESSAGES", "10"),
        ("EPR_AUDIT_HEALTH_PORT", "0"),
    ];
    environment.extend(aws::environment(&endpoint));
    let worker = unread("epr-audit-worker", &environment);
    let event = |n| json!({"source": "unread", "action": "a", "correlation_id": format!("m-{n}")}).to_string();
    queue.put(MessageForm::Raw, &(0..300).map(event).collect::<Vec<_>>()).await;
    database.until_at_least("SELECT COUNT(*) FROM sqlite_master WHERE name = 'audit_logs'", 1).await;
    database.until("SELECT COUNT(*) FROM audit_logs WHERE source = 'unread'", 300).await;
    terminated(worker, Duration::from_secs(20)).await;
}
