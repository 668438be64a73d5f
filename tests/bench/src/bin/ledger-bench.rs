//! Measures the ledger on PostgreSQL: appends by lists, group commit, verification. Run by `scripts/bench-ledger.sh`.

// The future of a verification within that of the program.
#![recursion_limit = "256"]

use std::sync::Arc;
use std::time::{Duration, Instant};

use epr_bench::measure::{cpu_seconds, fsync_rate, peak_kib};
use epr_bench::plain_rows::PlainRows;
use epr_core::ledger::chain::{Head, seal};
use epr_core::settings::{Settings, Source};
use epr_core::store::{ScanRange, Store};
use epr_core::{Call, Epr};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::event;
use serde_json::json;

/// Duration of each measurement.
const SPAN: Duration = Duration::from_secs(4);
/// Duration of each turn of two that are compared.
const TURN: Duration = Duration::from_millis(500);
/// Verified entries; `EPR_BENCH_ENTRIES` overrides it.
const ENTRIES: usize = 1_000_000;

/// The operation of concurrent callers.
#[derive(Clone, Copy)]
enum Work {
    /// Records one event.
    Record,
    /// Evaluates a check, whose decision is recorded.
    Check,
}

#[tokio::main]
async fn main() {
    println!("fsync of 8 KiB: {:.0}/s", fsync_rate());
    let database = Database::create(DatabaseKind::Postgres).await;
    let store = database.store().await;
    let epr = service(&database, 4).await;
    let mut plain_rows = PlainRows::create(&database.url).await;
    let mut per_entry = 0.0;
    for size in [1, 10, 100, 1000] {
        let (rate, plain) = appends(&epr, &mut plain_rows, size).await;
        if size == 1 {
            per_entry = rate;
        }
        println!(
            "append lists of {size:>4}: {rate:>9.0} entries/s, {:>6.1} times one by one, {:>3.0} % of plain rows \
             ({plain:.0}/s); hashing takes {:.1} % of it",
            rate / per_entry,
            100.0 * rate / plain,
            100.0 * rate * sealing(size).as_secs_f64()
        );
    }
    for (what, work) in [("group commit", Work::Record), ("audited checks", Work::Check)] {
        let mut one_caller = 0.0;
        for callers in [1, 8, 64] {
            let rate = callers_at_once(&database, callers, work).await;
            if callers == 1 {
                one_caller = rate;
            }
            println!("{what}, {callers:>2} callers: {rate:>9.0}/s, {:>6.1} times one caller", rate / one_caller);
        }
    }
    let wanted = std::env::var("EPR_BENCH_ENTRIES").ok().and_then(|text| text.parse().ok()).unwrap_or(ENTRIES);
    fill(&*store, wanted).await;
    verify(&epr, "right after filling").await;
    // The first reader of new rows sets their hint bits, which dirties every page.
    verify(&epr, "again").await;
    database.execute("VACUUM (ANALYZE) audit_logs").await.expect("a vacuum");
    verify(&epr, "after a vacuum").await;
}

async fn verify(epr: &Epr, when: &str) {
    let (clock, cpu) = (Instant::now(), cpu_seconds());
    let found = epr.verify_ledger(ScanRange::ALL, None, &mut |_, _| {}).await.expect("a verification");
    let (wall, cpu) = (clock.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    assert!(found.valid, "{found:?}");
    #[allow(clippy::cast_precision_loss, reason = "a count of entries")]
    let checked = found.checked as f64;
    println!(
        "verification {when}: {} entries in {wall:.1} s = {:.0}/s ({cpu:.1} s of this process's CPU), \
         peak memory {} MiB",
        found.checked,
        checked / wall,
        peak_kib() / 1024
    );
}

async fn service(database: &Database, pool: u32) -> Epr {
    let pool = pool.to_string();
    // A decision from the cache leaves no entry.
    let source = Source::of([
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_DATABASE_POOL_SIZE", pool.as_str()),
        ("EPR_DECISION_CACHE", "false"),
        ("EPR_GRAPH", "on"),
    ]);
    let epr = Epr::from_settings(&Settings::from_source(&source).expect("settings")).await.expect("a service");
    epr.start(true).await.expect("a schema");
    epr
}

fn fresh(n: usize) -> epr_core::ledger::chain::Draft {
    let mut event = event(&json!({
        "source": "document-vault-service", "action": "document.uploaded",
            "actor_id": "aaaaaaaa-0000-4000-8000-000000000001",
        "entity_id": "bbbbbbbb-0000-4000-8000-000000000002", "entity_type": "document", "correlation_id": "req-12345",
        "occurred_at": "2026-01-01T00:00:00.123456Z", "details": {"name": "prospectus.pdf", "size": 123_456,
            "tags": ["a", "b"]},
    }));
    // Random keys, as they come from outside.
    event.event_id = Some(uuid::Uuid::from_u128(rand::random::<u128>() ^ n as u128));
    epr_core::ledger::chain::Draft::new(event).expect("small details")
}

async fn append(store: &dyn Store, size: usize) {
    let drafts: Vec<_> = (0..size).map(fresh).collect();
    let mut tx = store.begin().await.expect("a transaction");
    tx.append(&drafts).await.expect("an append");
    tx.commit().await.expect("a commit");
}

/// Entries per second that one caller appends in lists of `size`, and rows per second that it inserts in the table
/// beside, in turn. The values of both are prepared beforehand.
#[allow(clippy::cast_precision_loss, reason = "counts of entries")]
async fn appends(epr: &Epr, plain_rows: &mut PlainRows, size: usize) -> (f64, f64) {
    let (mut appended, mut appending) = (0, Duration::ZERO);
    let (mut inserted, mut inserting) = (0, Duration::ZERO);
    while appending < SPAN {
        let end = appending + TURN;
        while appending < end {
            let drafts = (0..size).map(fresh).collect();
            let begun = Instant::now();
            epr.record(drafts).await.expect("entries");
            appending += begun.elapsed();
            appended += size;
        }
        let end = inserting + TURN;
        while inserting < end {
            let rows = plain_rows.prepare(size);
            let begun = Instant::now();
            plain_rows.insert(&rows).await;
            inserting += begun.elapsed();
            inserted += size;
        }
    }
    (appended as f64 / appending.as_secs_f64(), inserted as f64 / inserting.as_secs_f64())
}

/// Time in which the hashes of a list of `size` are computed, for each of its entries.
fn sealing(size: usize) -> Duration {
    let drafts: Vec<_> = (0..size).map(fresh).collect();
    let mut head = Head::genesis();
    let rounds = u32::try_from(100_000 / size).expect("a count");
    let begun = Instant::now();
    for _ in 0..rounds {
        std::hint::black_box(seal(&mut head, std::hint::black_box(&drafts)));
    }
    begun.elapsed() / rounds / u32::try_from(size).expect("a count")
}

#[allow(clippy::cast_precision_loss, reason = "counts of decisions")]
async fn callers_at_once(database: &Database, callers: usize, work: Work) -> f64 {
    let epr = Arc::new(service(database, 20).await);
    let call = Call::default();
    let name = format!("bench {callers} {:x}", rand::random::<u32>()).try_into().expect("a name");
    let new = epr_core::domain::NewEntity::new(name, epr_core::domain::EntityType::Spv);
    let spv = epr.create_entity(&call, new).await.expect("an entity").id;
    let begun = Instant::now();
    let tasks: Vec<_> = (0..callers)
        .map(|n| {
            let epr = Arc::clone(&epr);
            tokio::spawn(async move {
                let action = "a:read".try_into().expect("an action");
                let question = epr_core::decision::Question::new(uuid::Uuid::from_u128(n as u128), action, spv);
                let mut done = 0_usize;
                while begun.elapsed() < SPAN {
                    match work {
                        Work::Record => drop(epr.record(vec![fresh(done)]).await.expect("an entry")),
                        Work::Check => {
                            epr.check(&Call::default(), &question).await.expect("a decision");
                        }
                    }
                    done += 1;
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

async fn fill(store: &dyn Store, wanted: usize) {
    struct Last(i64);
    impl epr_core::store::LedgerVisitor for Last {
        fn begin(&mut self, start: epr_core::store::ScanStart) -> bool {
            self.0 = start.last;
            false
        }

        fn entry(
            &mut self,
            _: Result<epr_core::ledger::verify::StoredEntry<'_>, epr_core::ledger::verify::UnreadableRow>,
        ) -> bool {
            false
        }

        fn dropped(&mut self, _: i64, _: &str) -> bool {
            false
        }
    }
    let mut last = Last(0);
    store.scan_ledger(ScanRange::ALL, &mut last).await.expect("a scan");
    let mut have = usize::try_from(last.0).unwrap_or(0);
    while have < wanted {
        let size = (wanted - have).min(1000);
        append(store, size).await;
        have += size;
    }
}
