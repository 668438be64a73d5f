//! The worker as a process, on moto's SQS: what it refuses to start with, how it is asked whether it is well, and how
//! it ends.

use std::time::Duration;

use epr_testkit::aws;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::{self, Process, free_port};
use epr_testkit::queue::{AuditQueue, MessageForm};
use epr_testkit::wait;
use serde_json::json;

const ENTRIES: &str = "SELECT COUNT(*) FROM audit_logs";

fn event(n: usize) -> String {
    json!({"source": "vault", "action": "a", "correlation_id": format!("m-{n}")}).to_string()
}

/// A worker on this database and queue, with these variables besides.
fn start(database: &Database, queue: &AuditQueue, more: &[(&str, &str)]) -> Process {
    let endpoint = aws::endpoint();
    let mut environment = vec![("EPR_DATABASE_URL", database.url.as_str()), ("EPR_AUDIT_SQS_URL", queue.url.as_str())];
    environment.extend(aws::environment(&endpoint));
    environment.extend_from_slice(more);
    Process::start("epr-audit-worker", &environment)
}

/// The exit code of `epr-audit-worker` with these variables and arguments, and its standard error.
async fn run(environment: &[(&str, &str)], arguments: &[&str]) -> (i32, String) {
    let (code, _, stderr) = process::run("epr-audit-worker", environment, arguments).await;
    (code, stderr)
}

/// Waits until the worker answers that it is well (or not).
async fn until_health(port: &str, well: bool) -> String {
    loop {
        let (code, stderr) = run(&[("EPR_AUDIT_HEALTH_PORT", port)], &["--health"]).await;
        if code == i32::from(!well) && !stderr.contains("does not answer") {
            return stderr;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn the_worker_ends_at_once_with_one_line_without_a_queue() {
    let (code, stderr) = run(&[], &[]).await;
    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(stderr.contains("EPR_AUDIT_SQS_URL is not set"), "{stderr}");
    let (code, stderr) = run(&[("EPR_AUDIT_SQS_URL", "somewhere"), ("EPR_AUDIT_SQS_MAX_MESSAGES", "11")], &[]).await;
    assert_eq!((code, stderr.lines().count()), (2, 2), "{stderr}");
    assert!(stderr.contains("EPR_AUDIT_SQS_MAX_MESSAGES is `11`; allowed: a whole number from 1 to 10"), "{stderr}");
    assert_eq!(run(&[], &["--nonsense"]).await.0, 2);
    assert_eq!(run(&[], &["--help"]).await.0, 0);
    let port = free_port();
    let (code, stderr) = run(&[("EPR_AUDIT_HEALTH_PORT", port.as_str())], &["--health"]).await;
    assert_eq!(code, 1, "no process answers: {stderr}");
}

#[tokio::test]
async fn the_worker_records_answers_health_checks_and_ends_on_sigterm() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (queue, port) = (AuditQueue::create(3).await, free_port());
    let more = [("EPR_AUDIT_HEALTH_PORT", port.as_str())];
    let mut worker = start(&database, &queue, &more);
    worker.wait_for_log("audit_worker_started").await;
    until_health(&port, true).await;
    queue.put(MessageForm::Raw, &(0..7).map(event).collect::<Vec<_>>()).await;
    queue.put(MessageForm::Enveloped, &(7..14).map(event).collect::<Vec<_>>()).await;
    let line = worker.wait_for_log("audit_batch_ingested").await;
    for metric in
        ["received", "recorded", "duplicates", "conflicts", "invalid", "failures", "commit_ms", "oldest_age_ms"]
    {
        assert!(line["extra"][metric].is_u64(), "{metric} in {line}");
    }
    assert_eq!(line["logger"], "audit_consumer");
    database.until(ENTRIES, 14).await;
    queue.until_empty().await;
    let (status, log) = worker.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(log.iter().filter(|line| line["message"] == "audit_event_ingested").count(), 14);
    assert!(!log.iter().any(|line| line.to_string().contains("vault")), "bodies stay out of the log");
}

#[tokio::test]
async fn a_loop_that_makes_no_progress_is_unhealthy() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (queue, port) = (AuditQueue::create(3).await, free_port());
    let more = [
        ("EPR_AUDIT_HEALTH_PORT", port.as_str()),
        // A receive waits twenty times as long as a loop may stand still.
        ("EPR_AUDIT_STALL_AFTER", "1"),
    ];
    let worker = start(&database, &queue, &more);
    let health = until_health(&port, false).await;
    assert!(health.contains("stalled"), "{health}");
    // Well again with the next step.
    queue.put(MessageForm::Raw, &[event(1)]).await;
    until_health(&port, true).await;
    // A process that hangs does not answer at all.
    worker.signal("STOP").await;
    let (code, stderr) = run(&[("EPR_AUDIT_HEALTH_PORT", port.as_str())], &["--health"]).await;
    assert_eq!(code, 1);
    assert!(stderr.contains("does not answer"), "{stderr}");
    worker.signal("CONT").await;
    worker.signal("INT").await;
    assert_eq!(worker.wait_for_exit().await.0.code(), Some(0));
}

#[tokio::test]
async fn a_receive_that_fails_does_not_end_the_loop() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let queue = AuditQueue::create(3).await;
    let missing = format!("{}-missing", queue.url);
    let more = [("EPR_AUDIT_SQS_URL", missing.as_str()), ("EPR_AUDIT_HEALTH_PORT", "0")];
    let mut worker = start(&database, &queue, &more);
    for failures in 1..=3 {
        let line = worker.wait_for_log("audit_queue_receive_failed").await;
        assert_eq!(line["extra"]["failures"], failures, "{line}");
        assert!(line["extra"]["error"].as_str().unwrap().contains("NonExistent"), "{line}");
    }
    assert_eq!(worker.terminate().await.0.code(), Some(0));
}

#[tokio::test]
async fn received_messages_are_returned_when_the_database_stays_away() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let queue = AuditQueue::create(100).await;
    database.store().await.close().await;
    let more = [("EPR_AUDIT_HEALTH_PORT", "0"), ("EPR_AUDIT_SQS_VISIBILITY_TIMEOUT", "43200")];
    let mut worker = start(&database, &queue, &more);
    worker.wait_for_log("audit_worker_started").await;
    database.execute("ALTER TABLE audit_chain_head RENAME TO elsewhere").await.unwrap();
    queue.put(MessageForm::Raw, &[event(1), event(2)]).await;
    worker.wait_for_log("audit_batch_not_recorded").await;
    let (status, log) = worker.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert!(log.iter().any(|line| line["message"] == "audit_messages_given_back"), "{log:#?}");
    // Not hidden for half a day, but there for the next one.
    let mut seen = 0;
    let both = async || {
        seen += queue.receive(43_200).await.len();
        seen == 2
    };
    wait::until("both given back", both).await;
}
