//! Ten thousand audit messages through the worker, which is killed ten times and stopped ten times, two of them at once
//! part of the time; the same through the Lambda function. Each valid event is in the ledger once, everything else
//! is in the dead-letter queue and in `audit_rejections`.

use std::sync::atomic::{AtomicBool, Ordering};

use epr_testkit::aws;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::lambda::Lambda;
use epr_testkit::ledger::{all_entries, audit_verify};
use epr_testkit::process::Process;
use epr_testkit::queue::AuditQueue;
use epr_testkit::seed;
use epr_testkit::stream::Stream;
use rand::Rng as _;

const MESSAGES: usize = 10_000;
/// Kills and stops, alternating.
const ENDS: usize = 20;
/// High enough that no valid message gets there by the kills that hit it.
const MAX_RECEIVES: u32 = 8;

const ENTRIES: &str = "SELECT COUNT(*) FROM audit_logs";

/// Checks the result at the end.
async fn settled(database: &Database, queue: &AuditQueue, stream: &Stream) {
    let conflicts = stream.conflicts.len();
    let dead = queue.take_dead_letters().await;
    assert_eq!(dead.len(), stream.invalid + conflicts, "dead letters");
    let kept = |kind| format!("SELECT COUNT(*) FROM audit_rejections WHERE kind = '{kind}'");
    assert_eq!(database.number(&kept("invalid")).await, i64::try_from(stream.invalid).unwrap());
    assert_eq!(database.number(&kept("conflict")).await, i64::try_from(conflicts).unwrap());
    assert_eq!(database.number("SELECT COUNT(*) FROM audit_rejections").await, i64::try_from(dead.len()).unwrap());
    assert_eq!(audit_verify(&database.url, &[]).await.0, 0);
    stream.check(&all_entries(&*database.store().await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_is_recorded_once() {
    let mut rng = seed::rng("every_event_is_recorded_once");
    let stream = Stream::new(MESSAGES, &mut rng);
    tokio::join!(through_the_worker(&stream, rng.clone()), through_the_function(&stream));
}

async fn through_the_worker(stream: &Stream, mut rng: rand::rngs::StdRng) {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (queue, endpoint) = (AuditQueue::create(MAX_RECEIVES).await, aws::endpoint());
    let mut environment = vec![
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_AUDIT_SQS_URL", queue.url.as_str()),
        ("EPR_AUDIT_SQS_MAX_MESSAGES", "10"),
        ("EPR_AUDIT_SQS_WAIT_TIME", "1"),
        ("EPR_AUDIT_SQS_VISIBILITY_TIMEOUT", "2"),
        ("EPR_AUDIT_SQS_CONCURRENCY", "2"),
        ("EPR_AUDIT_HEALTH_PORT", "0"),
        ("EPR_LOG_LEVEL", "ERROR"),
    ];
    environment.extend(aws::environment(&endpoint));
    let start = || Process::start("epr-audit-worker", &environment);
    database.store().await.close().await;
    let valid = stream.expected.len();
    let ends = async {
        let mut workers = vec![start()];
        for end in 1..=ENDS {
            let target = valid * end / (ENDS + 1) + rng.random_range(0..valid / ENDS / 2);
            database.until_at_least(ENTRIES, i64::try_from(target).unwrap()).await;
            let worker = workers.remove(0);
            if end % 2 == 1 {
                worker.signal("KILL").await;
                worker.wait_for_exit().await;
            } else {
                let (status, _) = worker.terminate().await;
                assert_eq!(status.code(), Some(0));
            }
            // Every third time two work at once.
            let wanted = if end % 3 == 0 { 2 } else { 1 };
            while workers.len() < wanted {
                workers.push(start());
            }
        }
        database.until(ENTRIES, i64::try_from(valid).unwrap()).await;
        workers
    };
    let (workers, ()) = tokio::join!(ends, Stream::send(&queue, &stream.mixed));
    Stream::send(&queue, &stream.conflicts).await;
    queue.until_empty().await;
    for worker in workers {
        assert_eq!(worker.terminate().await.0.code(), Some(0));
    }
    settled(&database, &queue, stream).await;
    println!("worker: {valid} events of {MESSAGES} messages, {ENDS} ends");
}

async fn through_the_function(stream: &Stream) {
    let database = Database::create(DatabaseKind::Postgres).await;
    let queue = AuditQueue::create(3).await;
    let environment = [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_LOG_LEVEL", "ERROR")];
    let lambda = Lambda::start(&environment).await;
    let sent = AtomicBool::new(false);
    let feed = async {
        let (mut taken, mut failed, mut idle) = (0, 0, 0);
        loop {
            assert!(idle < 1800, "nothing came for three minutes, with {} in the queue", queue.depth().await);
            // Looked at before the receive: a queue is done when it is found empty after all was sent.
            let complete = sent.load(Ordering::SeqCst);
            let (messages, failures) = lambda.feed(&queue, 1).await;
            if messages == 0 {
                idle += 1;
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            } else {
                idle = 0;
            }
            taken += messages;
            failed += failures;
            if complete && messages == 0 && queue.depth().await == 0 {
                return (taken, failed);
            }
        }
    };
    let sending = async {
        Stream::send(&queue, &stream.mixed).await;
        // The function makes the tables with its first batch.
        database.until(ENTRIES, i64::try_from(stream.expected.len()).unwrap()).await;
        Stream::send(&queue, &stream.conflicts).await;
        sent.store(true, Ordering::SeqCst);
    };
    let ((taken, failed), ()) = tokio::join!(feed, sending);
    settled(&database, &queue, stream).await;
    println!("function: {taken} messages in, {failed} reported as failures");
}
