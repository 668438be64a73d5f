//! Proofs over the ledger: `epr-verify` beside bare SHA-256, and what the tree adds to appends, to a checkpoint of a
//! large ledger, and to the verification of the database.

use std::fs::File;
use std::io::{BufWriter, Read as _, Write as _};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use epr_core::ledger::chain::Draft;
use epr_core::settings::{Settings, Source};
use epr_core::store::ScanRange;
use epr_core::{CheckpointOutcome, Epr};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::draft;
use epr_testkit::process::program;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use tokio::sync::Notify;

use crate::ledger::fill;
use crate::report::{Aim, Report};
use crate::scale::Scale;

const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// Callers that append at the same time.
const CALLERS: usize = 32;
const ONE_CORE: &[&str] = &["taskset", "-c", "0"];
/// The bytes that the yardstick reads and hashes at a time.
const READ_BYTES: usize = 1 << 20;
/// The number of full tiles of leaves in a ledger of ten million entries.
const LARGE_TILES: i64 = 39_063;
/// A ratio at or above this is as fast, even if the rounds of the yardstick differ less.
const AS_FAST: f64 = 0.97;

pub(crate) async fn measure(scale: &Scale, report: &mut Report) {
    let database = Database::create(DatabaseKind::Postgres).await;
    fill(&database.url, scale.entries_verified).await;
    let epr = signing_service(&database.url).await;
    epr.make_checkpoint().await.expect("a checkpoint");
    verification(scale, &epr, report).await;
    exports(scale, &epr, report).await;
    epr.close().await;
    for kind in [DatabaseKind::Postgres, DatabaseKind::Sqlite] {
        large_checkpoint(scale, kind, report).await;
    }
    appends(scale, report).await;
}

async fn service(settings: &[(&str, &str)]) -> Epr {
    let source = Source::of(settings.iter().copied());
    let epr = Epr::from_settings(&Settings::from_source(&source).expect("settings")).await.expect("a service");
    epr.start(true).await.expect("a schema");
    epr
}

/// A service that makes a checkpoint every second if it is told to sign.
async fn signing_service(database: &str) -> Epr {
    service(&[
        ("EPR_DATABASE_URL", database),
        ("EPR_LEDGER_ORIGIN", "epr.example/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_CHECKPOINT_INTERVAL", "1"),
    ])
    .await
}

fn middle(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The ratio that still is within the spread of the yardstick: that of its slowest round to its median.
fn within_spread(yardstick: &mut [f64]) -> f64 {
    let median = middle(yardstick);
    yardstick.first().map_or(AS_FAST, |slowest| slowest / median).min(AS_FAST)
}

#[allow(clippy::cast_precision_loss, reason = "counts of entries and bytes")]
fn rate(count: u64, took: Duration) -> f64 {
    count as f64 / took.as_secs_f64()
}

/// The verification of the database with the tree, and without it: from the second entry on.
async fn verification(scale: &Scale, epr: &Epr, report: &mut Report) {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        for (from, rates) in [(2, &mut without), (1, &mut with)] {
            let begun = Instant::now();
            let range = ScanRange { from, ..ScanRange::ALL };
            let found = epr.verify_ledger(range, None, &mut |_, _| {}).await.expect("a verification");
            assert!(found.valid && found.tree.is_some() == (from == 1), "{found:?}");
            rates.push(rate(found.checked, begun.elapsed()));
        }
    }
    let (aim, without, with) = (within_spread(&mut without), middle(&mut without), middle(&mut with));
    report.say("audit verify without the tree", without, "entries/s");
    report.say("audit verify with the tree", with, "entries/s");
    report.aim("audit verify with the tree / without", with / without, "%", Aim::AtLeast(aim));
}

/// `epr-verify export` on one core and on all of them, beside SHA-256 over the bytes of the same file.
async fn exports(scale: &Scale, epr: &Epr, report: &mut Report) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ledger.jsonl");
    let mut out = BufWriter::new(File::create(&file).expect("a file"));
    let (mut entries, mut hashed) = (0, 0);
    let mut write = |entry: epr_core::ExportedEntry<'_>| {
        entries += 1;
        hashed += entry.previous_hash.len() + entry.canonical.len();
        serde_json::to_writer(&mut out, &entry).is_ok() && out.write_all(b"\n").is_ok()
    };
    epr.export_ledger(ScanRange::ALL, &mut write).await.expect("an export");
    out.flush().expect("an export");
    drop(out);
    let bytes = std::fs::metadata(&file).expect("an export").len();
    #[allow(clippy::cast_precision_loss, reason = "counts of bytes")]
    report.say("export: bytes that entry hashes cover / bytes of the file", hashed as f64 / bytes as f64, "%");

    let (mut bare, mut one_core, mut all_cores) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..scale.rounds {
        // A process on the same core: it waits as long for whatever else runs there.
        let yardstick = std::env::current_exe().expect("the bench");
        let begun = Instant::now();
        let status = on_cores(ONE_CORE, &yardstick).arg("hash").arg(&file).status().await.expect("a process");
        assert!(status.success(), "{status}");
        bare.push(rate(bytes, begun.elapsed()) / 1e6);
        for (cores, rates) in [(ONE_CORE, &mut one_core), (&[][..], &mut all_cores)] {
            let begun = Instant::now();
            verify(cores, &file, entries).await;
            rates.push(rate(bytes, begun.elapsed()) / 1e6);
        }
    }
    let (bare, one, all) = (middle(&mut bare), middle(&mut one_core), middle(&mut all_cores));
    report.say("bare SHA-256 of an export, one core", bare, "MB/s");
    report.say("epr-verify of an export, one core", one, "MB/s");
    report.aim("epr-verify / bare SHA-256, one core", one / bare, "%", Aim::AtLeast(0.6));
    report.say("epr-verify of an export, all cores", all, "MB/s");
    report.aim("epr-verify, all cores / one core", all / one, "x", Aim::AtLeast(1.4));
    report.aim("epr-verify, most resident", most_resident(&file).await, "MB", Aim::AtMost(32.0));
}

/// The yardstick.
pub(crate) fn hash_file(path: &Path) {
    let (mut file, mut buffer, mut hash) = (File::open(path).expect("a file"), vec![0; READ_BYTES], Sha256::new());
    loop {
        match file.read(&mut buffer).expect("a file") {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    std::hint::black_box(hash.finalize());
}

/// `program`, behind the words of a wrapper if there are any.
fn on_cores(wrapper: &[&str], program: &Path) -> Command {
    match wrapper {
        [] => Command::new(program),
        [wrapper, arguments @ ..] => {
            let mut command = Command::new(wrapper);
            command.args(arguments).arg(program);
            command
        }
    }
}

fn verifier(wrapper: &[&str], file: &Path) -> Command {
    let mut command = on_cores(wrapper, program("epr-verify").as_ref());
    command.arg("export").arg(file);
    command
}

async fn verify(wrapper: &[&str], file: &Path, entries: u64) {
    let output = verifier(wrapper, file).output().await.expect("epr-verify");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.starts_with(&format!("AGREES: {entries} entries")), "{output:?}");
}

/// The peak of the program's resident memory in MB.
async fn most_resident(file: &Path) -> f64 {
    let mut child = verifier(&[], file).stdout(Stdio::null()).spawn().expect("epr-verify");
    let status = format!("/proc/{}/status", child.id().expect("a running process"));
    let mut most = 0.0_f64;
    while child.try_wait().expect("its status").is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
        most = most.max(kib.unwrap_or_default() * 1024.0 / 1e6);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    most
}

fn entries(count: usize) -> Vec<Draft> {
    let entry = |n: usize| {
        draft(&json!({
            "source": "document-vault-service", "action": "document.uploaded", "actor_type": "user",
            "actor_id": "aaaaaaaa-0000-4000-8000-000000000001", "entity_id": "bbbbbbbb-0000-4000-8000-000000000002",
            "entity_type": "document", "correlation_id": format!("req-{n}"),
            "occurred_at": "2026-01-01T00:00:00.123456Z",
            "details": {"name": "prospectus.pdf", "size": 123_456, "tags": ["a", "b"]},
        }))
    };
    (0..count).map(entry).collect()
}

/// A checkpoint over new entries of a ledger of ten million. Only the tree of the ledger is there: every full tile, and
/// the last entry. A checkpoint reads nothing else of what is below it.
async fn large_checkpoint(scale: &Scale, kind: DatabaseKind, report: &mut Report) {
    let database = Database::create(kind).await;
    database.store().await.close().await;
    let size = LARGE_TILES * 256;
    let above = LARGE_TILES / 256;
    let (numbers, root, hashes) = match kind {
        DatabaseKind::Postgres => ("", "sha256(n::text::bytea)", "decode(repeat('00', 8192), 'hex')"),
        DatabaseKind::Sqlite => (
            "WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 39062) ",
            "randomblob(32)",
            "zeroblob(8192)",
        ),
    };
    let series = if kind == DatabaseKind::Postgres { "generate_series(0, 39062) n" } else { "numbers" };
    for (level, count) in [(0, LARGE_TILES), (1, above)] {
        let sql = format!(
            "{numbers}INSERT INTO audit_tiles (incarnation, level, number, root, hashes) \
             SELECT r.incarnation, {level}, n, {root}, {hashes} FROM registry_head r, {series} WHERE n < {count}"
        );
        database.execute(&sql).await.expect("tiles");
    }
    let head = format!("UPDATE audit_chain_head SET sequence = {}, entry_hash = '{}'", size - 1, "ab".repeat(32));
    database.execute(&head).await.expect("a head");

    let epr = signing_service(&database.url).await;
    epr.record(entries(1)).await.expect("the last entry");
    let made = epr.make_checkpoint().await.expect("a checkpoint of ten million entries");
    assert_eq!(made, Some(CheckpointOutcome::Signed(size)));
    let mut millis = Vec::new();
    for round in 1..=scale.rounds {
        for drafts in entries(scale.entries_checkpointed).chunks(1000) {
            epr.record(drafts.to_vec()).await.expect("entries");
        }
        let begun = Instant::now();
        let made = epr.make_checkpoint().await.expect("a checkpoint");
        millis.push(begun.elapsed().as_secs_f64() * 1000.0);
        let new = i64::try_from(round * scale.entries_checkpointed).expect("a count");
        assert_eq!(made, Some(CheckpointOutcome::Signed(size + new)));
    }
    epr.close().await;
    let what = format!("checkpoint over {} new entries at ten million, {kind:?}", scale.entries_checkpointed);
    report.aim(what, middle(&mut millis), "ms", Aim::AtMost(200.0));
}

/// Appends of concurrent callers while a checkpoint is made every second, and while none is.
async fn appends(scale: &Scale, report: &mut Report) {
    let databases = [Database::create(DatabaseKind::Postgres).await, Database::create(DatabaseKind::Postgres).await];
    let without = Arc::new(service(&[("EPR_DATABASE_URL", &databases[0].url)]).await);
    let with = Arc::new(signing_service(&databases[1].url).await);
    let stop = Arc::new(Notify::new());
    let signer = {
        let (with, stop) = (Arc::clone(&with), Arc::clone(&stop));
        tokio::spawn(async move { with.sign_checkpoints(stop.notified()).await })
    };
    for (what, size) in [("one by one", 1), ("in lists of 100", 100)] {
        let (mut rates, mut yardstick) = (Vec::new(), Vec::new());
        for _ in 0..scale.rounds {
            yardstick.push(append_for(scale.span, &without, size).await);
            rates.push(append_for(scale.span, &with, size).await);
            // What is left of its entries is not to slow the yardstick down.
            with.make_checkpoint().await.expect("a checkpoint");
        }
        let (aim, bare, rate) = (within_spread(&mut yardstick), middle(&mut yardstick), middle(&mut rates));
        report.say(format!("appends {what}, {CALLERS} callers, without checkpoints"), bare, "entries/s");
        report.say(format!("appends {what}, {CALLERS} callers, a checkpoint every second"), rate, "entries/s");
        let what = format!("appends {what}, with checkpoints / without");
        report.aim(what, rate / bare, "%", Aim::AtLeast(aim));
    }
    stop.notify_one();
    signer.await.expect("the signer");
    let made = databases[1].number("SELECT COUNT(*) FROM audit_checkpoints").await;
    #[allow(clippy::cast_precision_loss, reason = "a count")]
    report.say("checkpoints made meanwhile", made as f64, "");
}

async fn append_for(span: Duration, epr: &Arc<Epr>, size: usize) -> f64 {
    let begun = Instant::now();
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (epr, drafts) = (Arc::clone(epr), entries(size));
            tokio::spawn(async move {
                let mut done = 0_u64;
                while begun.elapsed() < span {
                    done += epr.record(drafts.clone()).await.expect("entries").len() as u64;
                }
                done
            })
        })
        .collect();
    let mut done = 0;
    for caller in callers {
        done += caller.await.expect("a caller");
    }
    rate(done, begun.elapsed())
}
