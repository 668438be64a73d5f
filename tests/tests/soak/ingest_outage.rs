//! The database is away for half a minute while messages keep coming: nothing is lost, and no message reaches its
//! receive limit because of it.

use std::time::Duration;

use epr_testkit::aws;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::{all_entries, audit_verify};
use epr_testkit::process::Process;
use epr_testkit::proxy::Proxy;
use epr_testkit::queue::AuditQueue;
use epr_testkit::seed;
use epr_testkit::stream::Stream;

const MESSAGES: usize = 600;
const AWAY: Duration = Duration::from_secs(30);
const ENTRIES: &str = "SELECT COUNT(*) FROM audit_logs";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_of_the_database_costs_nothing() {
    let mut rng = seed::rng("an_outage_of_the_database_costs_nothing");
    let mut stream = Stream::new(MESSAGES, &mut rng);
    let database = Database::create(DatabaseKind::Postgres).await;
    // Every valid message may come three times; half a minute is six of its visibility timeouts.
    let (queue, endpoint) = (AuditQueue::create(3).await, aws::endpoint());
    let (proxy, url) = Proxy::in_front_of(&database).await;
    let mut environment = vec![
        ("EPR_DATABASE_URL", url.as_str()),
        ("EPR_AUDIT_SQS_URL", queue.url.as_str()),
        ("EPR_AUDIT_SQS_VISIBILITY_TIMEOUT", "5"),
        ("EPR_AUDIT_SQS_CONCURRENCY", "2"),
        ("EPR_AUDIT_HEALTH_PORT", "0"),
    ];
    environment.extend(aws::environment(&endpoint));
    let mut worker = Process::start("epr-audit-worker", &environment);
    let valid = i64::try_from(stream.expected.len()).unwrap();
    let outage = async {
        worker.wait_for_log("audit_worker_started").await;
        database.until_at_least(ENTRIES, valid / 3).await;
        proxy.cut().await;
        worker.wait_for_log("audit_worker_waits_for_database").await;
        let before = database.number(ENTRIES).await;
        tokio::time::sleep(AWAY).await;
        assert_eq!(database.number(ENTRIES).await, before, "the way to the database is cut");
        proxy.restore().await;
        worker.wait_for_log("audit_worker_goes_on").await;
        database.until(ENTRIES, valid).await;
    };
    let mixed = std::mem::take(&mut stream.mixed);
    tokio::join!(outage, Stream::send(&queue, &mixed));
    queue.until_empty().await;
    let (status, log) = worker.terminate().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(queue.take_dead_letters().await.len(), stream.invalid, "only what is no event");
    assert_eq!(audit_verify(&database.url, &[]).await.0, 0);
    stream.check(&all_entries(&*database.store().await).await);
    let receives = log.iter().filter(|line| line["message"] == "audit_batch_ingested").count();
    println!("{valid} events of {MESSAGES} messages, {receives} batches, the database away for {AWAY:?}");
}
