//! Two processes sign checkpoints under load, and one of them is killed with -9, again and again: there are never two
//! checkpoints of one size with different roots, and every checkpoint that was served is stored.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use epr_core::ledger::checkpoint::Checkpoint;
use epr_core::ledger::note::Note;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::audit_verify;
use epr_testkit::process::{Process, run};
use epr_testkit::{seed, wait};
use rand::Rng as _;
use reqwest::Client;
use rstest::rstest;
use serde_json::json;
use tokio::sync::Notify;

/// Kills of a process; `EPR_TEST_KILLS` overrides it.
const KILLS: usize = 8;
const CLIENTS: usize = 8;
const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";

/// Size and root of every checkpoint that was served.
type Served = Arc<Mutex<BTreeMap<u64, [u8; 32]>>>;

/// Reads checkpoints until the service is gone or `stop` is set.
async fn read_checkpoints(base: String, served: Served, stop: Arc<AtomicBool>) {
    let http = Client::new();
    while !stop.load(Ordering::SeqCst) {
        let Ok(response) = http.get(format!("{base}/api/v1/ledger/checkpoint")).send().await else { return };
        let status = response.status();
        let Ok(text) = response.text().await else { return };
        if status == 404 {
            continue;
        }
        assert_eq!(status, 200, "{text}");
        let note: Note = text.parse().unwrap();
        let checkpoint: Checkpoint = note.text.parse().unwrap();
        let known = served.lock().unwrap().insert(checkpoint.size, checkpoint.root);
        assert!(known.is_none_or(|root| root == checkpoint.root), "two roots of {} entries", checkpoint.size);
    }
}

/// The number of files below a folder.
fn files(folder: &Path) -> usize {
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    let count = |entry: fs::DirEntry| if entry.path().is_dir() { files(&entry.path()) } else { 1 };
    entries.filter_map(Result::ok).map(count).sum()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_leave_one_checkpoint_of_each_size(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("signers_killed");
    let kills = std::env::var("EPR_TEST_KILLS").map_or(KILLS, |kills| kills.parse().expect("a number of kills"));
    let database = Arc::new(Database::create(kind).await);
    let published = tempfile::tempdir().unwrap();
    let environment = [
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_LOG_LEVEL", "WARNING"),
        ("EPR_LEDGER_ORIGIN", "epr.test/ledger"),
        ("EPR_LEDGER_KEY", SEED),
        ("EPR_LEDGER_CHECKPOINT_INTERVAL", "1"),
        ("EPR_LEDGER_PUBLISH_URL", published.path().to_str().unwrap()),
    ];
    let served = Served::default();
    let stop = Arc::new(AtomicBool::new(false));
    let (mut survivor, mut survivor_base) = Process::api_at(&environment).await;
    let mut reader = tokio::spawn(read_checkpoints(survivor_base.clone(), Arc::clone(&served), Arc::clone(&stop)));
    for round in 0..kills {
        let (next, next_base) = Process::api_at(&environment).await;
        let next_reader = tokio::spawn(read_checkpoints(next_base.clone(), Arc::clone(&served), Arc::clone(&stop)));
        let (count, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let target = rng.random_range(20..200);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (base, count, enough) = (survivor_base.clone(), Arc::clone(&count), Arc::clone(&enough));
                tokio::spawn(async move {
                    let http = Client::new();
                    for n in 0.. {
                        let body = json!({"name": format!("{round}/{client}/{n}"), "type": "spv"});
                        if http.post(format!("{base}/api/v1/entities")).json(&body).send().await.is_err() {
                            break;
                        }
                        if count.fetch_add(1, Ordering::SeqCst) == target {
                            enough.notify_one();
                        }
                    }
                })
            })
            .collect();
        enough.notified().await;
        if round % 2 == 1 {
            // While a checkpoint is being published.
            let before = files(published.path());
            let read = || std::future::ready(files(published.path()));
            wait::until_value("published files", Duration::from_millis(2), read, |now| *now > before).await;
        }
        survivor.signal("KILL").await;
        survivor.wait_for_exit().await;
        for client in clients {
            client.await.unwrap();
        }
        reader.await.unwrap();
        (survivor, survivor_base, reader) = (next, next_base, next_reader);
    }
    stop.store(true, Ordering::SeqCst);
    reader.await.unwrap();
    survivor.terminate().await;

    let served = served.lock().unwrap().clone();
    assert!(served.len() > kills / 4, "only {} checkpoints were served", served.len());
    for size in served.keys() {
        let sql = format!("SELECT COUNT(*) FROM audit_checkpoints WHERE size = {size}");
        assert_eq!(database.number(&sql).await, 1, "the checkpoint of {size} entries was served, but is not stored");
    }
    let (code, report) = audit_verify(&database.url, &[]).await;
    assert_eq!(code, 0, "{report}");
    let stored = database.number("SELECT COUNT(*) FROM audit_checkpoints").await;
    assert_eq!(report["tree"]["checkpoints"], json!(stored));

    // Whatever was being published when a process was killed.
    let place = fs::read_dir(published.path()).unwrap().next().unwrap().unwrap().path();
    let (code, out, error) = run("epr-verify", &[], &["published", place.to_str().unwrap()]).await;
    assert_eq!(code, 0, "{out}{error}");
    // A process that was killed leaves unfinished files under other names.
    let files = fs::read_dir(place.join("checkpoints")).unwrap().map(|file| file.unwrap().path());
    for file in files.filter(|file| file.extension().is_none()) {
        let note: Note = fs::read_to_string(file).unwrap().parse().unwrap();
        let checkpoint: Checkpoint = note.text.parse().unwrap();
        assert!(served.get(&checkpoint.size).is_none_or(|root| *root == checkpoint.root), "{note}");
    }
}
