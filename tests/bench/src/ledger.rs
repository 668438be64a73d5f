//! Ingestion and verification, in short: `ledger-bench` and `ingest-bench` measure them at length.

use std::time::Instant;

use epr_core::Epr;
use epr_core::ingest::{IngestOutcome, Message};
use epr_core::settings::{Settings, Source};
use epr_core::store::ScanRange;
use epr_testkit::ledger::all_entries;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use crate::report::Report;
use crate::scale::Scale;

/// Messages in a batch.
const BATCH: usize = 100;

fn batch(size: usize) -> Vec<Message> {
    let body = |n: usize| {
        json!({
            "event_id": Uuid::from_u128(rand::random()), "source": "document-vault-service",
                "action": "document.uploaded",
            "actor_id": "aaaaaaaa-0000-4000-8000-000000000001", "entity_id": "bbbbbbbb-0000-4000-8000-000000000002",
            "entity_type": "document", "correlation_id": format!("req-{n}"),
            "occurred_at": "2026-01-01T00:00:00.123456Z",
            "details": {"name": "prospectus.pdf", "size": 123_456, "tags": ["a", "b"]},
        })
    };
    (0..size).map(|n| Message::new(Uuid::from_u128(rand::random()).to_string(), body(n).to_string())).collect()
}

#[allow(clippy::cast_precision_loss, reason = "counts of events")]
async fn rate(epr: &Epr, total: usize, size: usize) -> f64 {
    let batches: Vec<_> = (0..total / size).map(|_| batch(size)).collect();
    let begun = Instant::now();
    for batch in &batches {
        let ingested = epr.ingest(batch).await;
        assert!(ingested.outcomes.iter().all(|outcome| matches!(outcome, IngestOutcome::Recorded { .. })));
    }
    total as f64 / begun.elapsed().as_secs_f64()
}

async fn service(database: &str) -> Epr {
    let source = Source::of([("EPR_DATABASE_URL", database)]);
    let epr = Epr::from_settings(&Settings::from_source(&source).expect("settings")).await.expect("a service");
    epr.start(true).await.expect("a schema");
    epr
}

/// Appends until the ledger has at least this many entries.
pub(crate) async fn fill(database: &str, entries: usize) {
    let epr = service(database).await;
    let checked = epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.expect("a verification").checked;
    let missing = entries.saturating_sub(usize::try_from(checked).expect("a count"));
    rate(&epr, missing.next_multiple_of(BATCH), BATCH).await;
    epr.close().await;
}

pub(crate) async fn measure(scale: &Scale, database: &str, report: &mut Report) {
    let epr = service(database).await;
    let one = rate(&epr, scale.rows / 50, 1).await;
    let many = rate(&epr, scale.rows, BATCH).await;
    report.say("ingestion, one by one", one, "events/s");
    report.say("ingestion, batches of 100", many, "events/s");
    report.say("ingestion, batches of 100 / one by one", many / one, "x");

    let store = epr_core::store::postgres::open(database, &epr_core::store::postgres::Options::default());
    let entries = all_entries(&store.expect("a store")).await;
    #[allow(clippy::cast_precision_loss, reason = "a count of entries")]
    let count = entries.len() as f64;
    let (mut verified, mut hashed) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        let begun = Instant::now();
        let found = epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.expect("a verification");
        assert!(found.valid, "{found:?}");
        verified.push(count / begun.elapsed().as_secs_f64());
        let begun = Instant::now();
        for entry in &entries {
            let mut hash = Sha256::new();
            hash.update(&entry.previous_hash);
            hash.update(&entry.canonical);
            std::hint::black_box(hash.finalize());
        }
        hashed.push(count / begun.elapsed().as_secs_f64());
    }
    verified.sort_by(f64::total_cmp);
    hashed.sort_by(f64::total_cmp);
    let (verified, hashed) = (verified[verified.len() / 2], hashed[hashed.len() / 2]);
    report.say("bare SHA-256 over the same bytes", hashed, "entries/s");
    report.say("verification", verified, "entries/s");
    report.say("verification / bare SHA-256", verified / hashed, "%");
    epr.close().await;
}
