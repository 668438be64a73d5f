//! Measures a ledger of 100 million entries on PostgreSQL beside a new one: appends, look-ups, proofs, checkpoints,
//! verification, and of the new one its archive. Run by `scripts/bench-large-ledger.sh`.

// The future of a verification within that of the program.
#![recursion_limit = "256"]

use std::time::{Duration, Instant};

use epr_bench::measure::{fsync_rate, machine, peak_kib};
use epr_core::domain::{AuditEntry, AuditFilter, AuditPage};
use epr_core::ledger::chain::Draft;
use epr_core::ledger::merkle::{Hash, node_hash};
use epr_core::ledger::note::VerifierKey;
use epr_core::ledger::tile::write_hashes;
use epr_core::publish::ledger_target::LedgerFolder;
use epr_core::settings::{Settings, Source};
use epr_core::store::{ReadNeed, ScanRange};
use epr_core::{ArchiveCheckOptions, ArchiveOptions, Call, CheckpointOutcome, DropOptions, Epr};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::draft;
use epr_testkit::seed;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _};
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

/// Entries of the large ledger.
const ENTRIES: i64 = 100_000_000;
/// Those of its entries that have rows; the others have only their hashes. `EPR_BENCH_ROWS` overrides it.
const ROWS: i64 = 10_000_000;
/// Entries of the ledger beside it.
const NEW_LEDGER: i64 = 1_000_000;
/// Entries of a list that is appended.
const LIST: usize = 1_000;
/// Lists between two checkpoints.
const LISTS_PER_CHECKPOINT: i64 = 100;
/// Look-ups of each kind, and entries that are appended one by one.
const LOOKUPS: usize = 2_000;
/// Hashes in a tile.
const WIDTH: usize = 256;
/// Tiles that are written in one statement.
const TILES_AT_ONCE: usize = 512;
const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

#[tokio::main]
async fn main() {
    let mut rng = seed::rng("large-ledger-bench");
    println!("{}; fsync of 8 KiB: {:.0}/s", machine(), fsync_rate());
    let rows = std::env::var("EPR_BENCH_ROWS").ok().and_then(|text| text.parse().ok()).unwrap_or(ROWS);
    let width = i64::try_from(WIDTH).expect("a width");
    for (entries, rows) in [(NEW_LEDGER, NEW_LEDGER), (ENTRIES, rows)] {
        let database = Database::create(DatabaseKind::Postgres).await;
        database.store().await.close().await;
        // Whole tiles, as many as leave about that many rows.
        let before = (entries - rows) / width * width;
        println!("\na ledger of {entries} entries, of which {} have rows", entries - before);
        if before > 0 {
            only_hashes(&database, before, &mut rng).await;
        }
        measure(&database, before, entries, &mut rng).await;
    }
}

/// Gives the ledger `size` entries of which only the tree is there: every full tile, with random hashes of leaves.
async fn only_hashes(database: &Database, size: i64, rng: &mut StdRng) {
    let begun = Instant::now();
    let mut conn = PgConnection::connect(&database.url).await.expect("a connection");
    let (mut level, mut count) = (0, usize::try_from(size).expect("a count") / WIDTH);
    let mut roots: Vec<Hash> = Vec::new();
    while count > 0 {
        let below = std::mem::take(&mut roots);
        for first in (0..count).step_by(TILES_AT_ONCE) {
            let numbers = first..(first + TILES_AT_ONCE).min(count);
            let tiles: Vec<Vec<Hash>> = numbers
                .clone()
                .map(|number| match level {
                    0 => (0..WIDTH).map(|_| random_hash(rng)).collect(),
                    _ => below[number * WIDTH..(number + 1) * WIDTH].to_vec(),
                })
                .collect();
            let new: Vec<Hash> = tiles.iter().map(|tile| root(tile)).collect();
            sqlx::query(
                "INSERT INTO audit_tiles (incarnation, level, number, root, hashes) \
                 SELECT r.incarnation, $1, t.number, t.root, t.hashes \
                 FROM registry_head r, UNNEST($2::bigint[], $3::bytea[], $4::bytea[]) t(number, root, hashes)",
            )
            .bind(level)
            .bind(numbers.map(|number| i64::try_from(number).expect("a number")).collect::<Vec<_>>())
            .bind(new.iter().map(|hash| hash.to_vec()).collect::<Vec<_>>())
            .bind(tiles.iter().map(|tile| write_hashes(tile)).collect::<Vec<_>>())
            .execute(&mut conn)
            .await
            .expect("tiles");
            roots.extend(new);
        }
        (level, count) = (level + 1, count / WIDTH);
    }
    let head = "UPDATE audit_chain_head SET sequence = $1, entry_hash = $2";
    sqlx::query(head).bind(size - 1).bind("ab".repeat(32)).execute(&mut conn).await.expect("a head");
    println!("the tree of {size} entries was written in {:.0} s", begun.elapsed().as_secs_f64());
}

fn random_hash(rng: &mut StdRng) -> Hash {
    let mut hash = Hash::default();
    rng.fill_bytes(&mut hash);
    hash
}

/// The root of a full tile.
fn root(hashes: &[Hash]) -> Hash {
    match hashes {
        [one] => *one,
        _ => {
            let (left, right) = hashes.split_at(hashes.len() / 2);
            node_hash(&root(left), &root(right))
        }
    }
}

#[allow(clippy::cast_precision_loss, reason = "counts of entries and bytes")]
async fn measure(database: &Database, before: i64, entries: i64, rng: &mut StdRng) {
    let epr = service(&database.url).await;
    if before > 0 {
        // The last entry below has a row, too, because a checkpoint continues the chain after it.
        epr.record(vec![entry(before, rng)]).await.expect("an entry");
        assert_eq!(epr.make_checkpoint().await.expect("a checkpoint"), Some(CheckpointOutcome::Signed(before)));
    }
    let mut last = before;
    let (mut millions, mut checkpoints) = (Vec::new(), Vec::new());
    while last < entries {
        let mut appending = Duration::ZERO;
        let end = (last + NEW_LEDGER).min(entries);
        let first = last;
        while last < end {
            for _ in 0..LISTS_PER_CHECKPOINT {
                if last == end {
                    break;
                }
                let size = LIST.min(usize::try_from(end - last).expect("a count"));
                let drafts: Vec<_> = (last..).take(size).map(|n| entry(n + 1, rng)).collect();
                let begun = Instant::now();
                epr.record(drafts).await.expect("entries");
                appending += begun.elapsed();
                last += i64::try_from(size).expect("a count");
            }
            let begun = Instant::now();
            assert_eq!(epr.make_checkpoint().await.expect("a checkpoint"), Some(CheckpointOutcome::Signed(last)));
            checkpoints.push(begun.elapsed());
        }
        millions.push((end - first) as f64 / appending.as_secs_f64());
    }
    let shown: Vec<_> = millions.iter().map(|rate| format!("{rate:.0}")).collect();
    println!("appends in lists of {LIST}, each million of rows: {} entries/s", shown.join(", "));
    println!("a checkpoint over 100,000 new entries: {}", times(&mut checkpoints));

    let mut took = Vec::new();
    for _ in 0..LOOKUPS {
        last += 1;
        let drafts = vec![entry(last, rng)];
        let begun = Instant::now();
        epr.record(drafts).await.expect("an entry");
        took.push(begun.elapsed());
    }
    println!("an append of one entry: {}", times(&mut took));
    assert!(epr.make_checkpoint().await.expect("a checkpoint").is_some());
    // The bench and a server that has run for long have up-to-date statistics.
    database.execute("VACUUM (ANALYZE) audit_logs").await.expect("a vacuum");

    lookups(&epr, before, last, rng).await;
    proofs(&epr, before, last, rng).await;

    let begun = Instant::now();
    let range = ScanRange { from: before + 1, ..ScanRange::ALL };
    let found = epr.verify_ledger(range, None, &mut |_, _| {}).await.expect("a verification");
    assert!(found.valid, "{found:?}");
    let seconds = begun.elapsed().as_secs_f64();
    let rate = found.checked as f64 / seconds;
    println!("verification of {} entries: {seconds:.1} s, {rate:.0} entries/s", found.checked);
    println!("peak memory of this process: {} MiB", peak_kib() / 1024);
    let bytes = "SELECT CAST(pg_total_relation_size('audit_logs') AS bigint)";
    let (rows, tiles) = (database.number(bytes).await, database.number(&bytes.replace("logs", "tiles")).await);
    println!("on the disk: rows {} MB ({} bytes each), tiles {} MB", rows >> 20, rows / (last - before), tiles >> 20);
    // An archive begins with the first entry.
    if before == 0 {
        archive(&epr).await;
    }
    epr.close().await;
}

/// Publishes the ledger in a folder, archives it in another one, reads the archive back, and drops what it has.
async fn archive(epr: &Epr) {
    let folder = tempfile::tempdir().expect("a folder");
    let [published, target] = ["published", "archive"].map(|name| LedgerFolder(folder.path().join(name)));
    let begun = Instant::now();
    epr.publish_ledger(&published).await.expect("a publication");
    println!("publishing the tree: {:.1} s", begun.elapsed().as_secs_f64());

    let begun = Instant::now();
    let options = ArchiveOptions {
        target: &target,
        published: &published,
        to_sequence: None,
        older_than_days: None,
        bundle_entries: None,
        former_keys: &[],
    };
    let archived = epr.archive_ledger(&options, &mut |_, _| {}).await.expect("an archive");
    let (bundles, entries) = (archived.bundles_written, archived.archived_to);
    println!("archiving {}; {bundles} bundles, {} bytes an entry", rate(entries, begun), archived.bytes / entries);

    let begun = Instant::now();
    let options =
        ArchiveCheckOptions { target: &target, published: Some(&published), to_sequence: None, former_keys: &[] };
    let check = epr.check_archive(&options, &mut |_, _| {}).await.expect("a check");
    assert!(check.valid, "{check:?}");
    println!("reading the archive back and comparing it with the database: {}", rate(entries, begun));

    let begun = Instant::now();
    let options = DropOptions {
        target: &target,
        place: "the archive",
        published: &published,
        to_sequence: None,
        retention_days: 0,
        former_keys: &[],
        confirmed: true,
    };
    let dropped = epr.drop_archived(&Call::default(), &options, &mut |_, _| {}).await.expect("a drop");
    println!("verifying the archive and dropping {}", rate(dropped.deleted, begun));
}

#[allow(clippy::cast_precision_loss, reason = "counts of entries")]
fn rate(entries: u64, begun: Instant) -> String {
    let seconds = begun.elapsed().as_secs_f64();
    format!("{entries} entries: {seconds:.1} s, {:.0} entries/s", entries as f64 / seconds)
}

/// Look-ups of entries by sequence and by other filters, with random keys.
async fn lookups(epr: &Epr, before: i64, last: i64, rng: &mut StdRng) {
    for what in ["sequence", "correlation id", "entity, its newest 50"] {
        let mut took = Vec::new();
        for _ in 0..LOOKUPS {
            let sequence = rng.random_range(before + 1..=last);
            let (filter, limit) = match what {
                "sequence" => (
                    AuditFilter {
                        from_sequence: Some(sequence),
                        to_sequence: Some(sequence),
                        ..AuditFilter::default()
                    },
                    1,
                ),
                "correlation id" => {
                    (AuditFilter { correlation_id: Some(format!("req-{sequence}")), ..AuditFilter::default() }, 1)
                }
                _ => (AuditFilter { entity_id: Some(entity(rng)), ..AuditFilter::default() }, 50),
            };
            let mut found = 0;
            let page = AuditPage { limit, after: None, ascending: false };
            let begun = Instant::now();
            let mut take = |_| {
                found += 1;
                true
            };
            epr.list_audit_entries(ReadNeed::Primary, &filter, page, &mut take).await.expect("entries");
            took.push(begun.elapsed());
            assert!(found > 0 || limit > 1, "{filter:?}");
        }
        println!("entries by {what}: {}", times(&mut took));
    }
}

/// Proofs of random entries, each of which is verified.
async fn proofs(epr: &Epr, before: i64, last: i64, rng: &mut StdRng) {
    let keys = epr.verifier_keys().await.expect("a key");
    let key: VerifierKey = keys[0].parse().expect("a key");
    let mut took = Vec::new();
    for _ in 0..LOOKUPS {
        let sequence = rng.random_range(before + 1..=last);
        let begun = Instant::now();
        let proof = epr.prove_entry(sequence).await.expect("a proof");
        took.push(begun.elapsed());
        let hash = entry_hash(epr, sequence).await;
        let checkpoint = proof.verify(&hash, &key).expect("a proof that holds");
        assert_eq!((i64::try_from(checkpoint.size), i64::try_from(proof.index)), (Ok(last), Ok(sequence - 1)));
    }
    println!("the proof of an entry: {}", times(&mut took));
    let mut took = Vec::new();
    for _ in 0..LOOKUPS {
        let from = rng.random_range(1..=last);
        let begun = Instant::now();
        epr.prove_consistency(u64::try_from(from).expect("a size"), None).await.expect("a proof");
        took.push(begun.elapsed());
    }
    println!("the proof that a tree continues another: {}", times(&mut took));
}

async fn entry_hash(epr: &Epr, sequence: i64) -> Vec<u8> {
    let filter = AuditFilter { from_sequence: Some(sequence), to_sequence: Some(sequence), ..AuditFilter::default() };
    let page = AuditPage { limit: 1, after: None, ascending: true };
    let mut hash = None;
    let mut take = |entry: AuditEntry| {
        hash = Some(entry.entry_hash.clone());
        true
    };
    epr.list_audit_entries(ReadNeed::Primary, &filter, page, &mut take).await.expect("an entry");
    let hash = hash.expect("an entry");
    let digits = |at: usize| u8::from_str_radix(&hash[at..at + 2], 16).expect("hex digits");
    (0..hash.len()).step_by(2).map(digits).collect()
}

/// One of 100,000 entities.
fn entity(rng: &mut StdRng) -> Uuid {
    Uuid::from_u128(0xbbbb_bbbb_0000_4000_8000_0000_0000_0000 + rng.random_range(0..100_000))
}

/// An event with the correlation id `req-{sequence}`, by one of 10,000 actors, about one of 100,000 entities.
fn entry(sequence: i64, rng: &mut StdRng) -> Draft {
    draft(&json!({
        "event_id": Uuid::from_u128(rng.random()), "source": "document-vault-service", "action": "document.uploaded",
        "actor_type": "user", "actor_id": Uuid::from_u128(0xaaaa_0000 + rng.random_range(0..10_000)),
        "entity_id": entity(rng), "entity_type": "document", "correlation_id": format!("req-{sequence}"),
        "occurred_at": "2026-01-01T00:00:00.123456Z",
        "details": {"name": "prospectus.pdf", "size": 123_456, "tags": ["a", "b"]},
    }))
}

async fn service(database: &str) -> Epr {
    let source = Source::of([
        ("EPR_DATABASE_URL", database),
        ("EPR_LEDGER_ORIGIN", "epr.example/ledger"),
        ("EPR_LEDGER_KEY", SEED),
    ]);
    let epr = Epr::from_settings(&Settings::from_source(&source).expect("settings")).await.expect("a service");
    epr.start(true).await.expect("a schema");
    epr
}

fn times(took: &mut [Duration]) -> String {
    took.sort();
    let at = |share: usize| took[(took.len() - 1) * share / 100].as_secs_f64() * 1000.0;
    format!("p50 {:.2} ms, p99 {:.2} ms", at(50), at(99))
}
