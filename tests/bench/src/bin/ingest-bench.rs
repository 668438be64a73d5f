//! Measures the ingestion handler on PostgreSQL, without a queue: bodies in, committed entries out. Run by
//! `scripts/bench-ingest.sh`.

use std::time::{Duration, Instant};

use epr_bench::measure::fsync_rate;
use epr_core::Epr;
use epr_core::ingest::{IngestOutcome, Message};
use epr_core::settings::{Settings, Source};
use epr_testkit::database::{Database, DatabaseKind};
use serde_json::json;

/// Duration of each measurement.
const SPAN: Duration = Duration::from_secs(4);

#[tokio::main]
async fn main() {
    println!("fsync of 8 KiB: {:.0}/s", fsync_rate());
    let database = Database::create(DatabaseKind::Postgres).await;
    let source = Source::of([("EPR_DATABASE_URL", database.url.as_str())]);
    let epr = Epr::from_settings(&Settings::from_source(&source).expect("settings")).await.expect("a service");
    epr.start(true).await.expect("a schema");
    for size in [1, 10, 100, 1000] {
        println!("batches of {size:>4}, one after the other: {:>8.0} events/s", rate(&epr, size, 1).await);
    }
    for (size, callers) in [(10, 16), (10, 64), (100, 4)] {
        println!(
            "batches of {size:>4}, {callers:>2} at a time:        {:>8.0} events/s",
            rate(&epr, size, callers).await
        );
    }
    let found = epr.verify_ledger(epr_core::store::ScanRange::ALL, None, &mut |_, _| {}).await.expect("a verification");
    assert!(found.valid, "{found:?}");
    println!("the chain holds: {} entries", found.checked);
}

/// Half of them in an envelope.
fn body(n: usize) -> String {
    let event = json!({
        "event_id": uuid::Uuid::from_u128(rand::random()), "source": "document-vault-service",
            "action": "document.uploaded",
        "actor_id": "aaaaaaaa-0000-4000-8000-000000000001", "entity_id": "bbbbbbbb-0000-4000-8000-000000000002",
        "entity_type": "document", "correlation_id": format!("req-{n}"), "occurred_at": "2026-01-01T00:00:00.123456Z",
        "details": {"name": "prospectus.pdf", "size": 123_456, "tags": ["a", "b"]},
    });
    if n.is_multiple_of(2) {
        return event.to_string();
    }
    json!({
        "Type": "Notification", "MessageId": uuid::Uuid::from_u128(rand::random()),
            "TopicArn": "arn:aws:sns:us-east-1:1:audit",
        "Message": event.to_string(), "Timestamp": "2026-01-01T00:00:00.000Z", "SignatureVersion": "1",
    })
    .to_string()
}

fn batch(size: usize) -> Vec<Message> {
    (0..size).map(|n| Message::new(uuid::Uuid::from_u128(rand::random()).to_string(), body(n))).collect()
}

#[allow(clippy::cast_precision_loss, reason = "counts of events")]
async fn rate(epr: &Epr, size: usize, callers: usize) -> f64 {
    // Making messages is not what is measured.
    let prepared: Vec<Vec<Vec<Message>>> =
        (0..callers).map(|_| (0..(200_000 / size / callers)).map(|_| batch(size)).collect()).collect();
    let begun = Instant::now();
    let tasks: Vec<_> = prepared
        .into_iter()
        .map(|batches| {
            let epr = epr.clone();
            tokio::spawn(async move {
                let mut done = 0;
                for batch in batches {
                    if begun.elapsed() >= SPAN {
                        break;
                    }
                    let ingested = epr.ingest(&batch).await;
                    assert!(ingested.outcomes.iter().all(|outcome| matches!(outcome, IngestOutcome::Recorded { .. })));
                    done += batch.len();
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for task in tasks {
        done += task.await.expect("a caller");
    }
    done as f64 / begun.elapsed().as_secs_f64()
}
