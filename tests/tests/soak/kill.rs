//! The API is killed with -9 in mid-load, ten times: every answered mutation has its entry, no entry lacks its mutation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use epr_testkit::database::{Database, Kind};
use epr_testkit::ledger::verdict;
use epr_testkit::process::Process;
use epr_testkit::seed;
use rand::Rng as _;
use reqwest::Client;
use serde_json::{Value, json};
use tokio::sync::{Notify, RwLock};

const KILLS: usize = 10;
const CLIENTS: usize = 16;

async fn killed_ten_times(kind: Kind) {
    let mut rng = seed::rng("killed_ten_times");
    let database = Arc::new(Database::create(kind).await);
    let environment = [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_LOG_LEVEL", "WARNING")];
    let mut answered = BTreeSet::new();
    for round in 0..KILLS {
        let (process, base) = Process::api_at(&environment).await;
        let acknowledged = Arc::new(RwLock::new(Vec::new()));
        let (count, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let target = rng.random_range(40..160);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (base, acknowledged, count, enough) =
                    (base.clone(), acknowledged.clone(), count.clone(), enough.clone());
                tokio::spawn(async move {
                    let http = Client::new();
                    for n in 0.. {
                        let body = json!({"name": format!("{round}/{client}/{n}"), "type": "spv"});
                        // The connection breaks when the process is killed.
                        let Ok(response) = http.post(format!("{base}/api/v1/entities")).json(&body).send().await else {
                            break;
                        };
                        assert_eq!(response.status(), 201);
                        let Ok(made) = response.json::<Value>().await else { break };
                        acknowledged.write().await.push(made["id"].as_str().unwrap().to_owned());
                        if count.fetch_add(1, Ordering::SeqCst) == target {
                            enough.notify_one();
                        }
                    }
                })
            })
            .collect();
        enough.notified().await;
        process.signal("KILL").await;
        for client in clients {
            client.await.unwrap();
        }
        answered.extend(acknowledged.read().await.iter().cloned());
    }
    let (process, base) = Process::api_at(&environment).await;
    let read = async |path: &str| {
        let (mut all, mut next) = (Vec::new(), Some(path.to_owned()));
        while let Some(path) = next {
            let page = reqwest::get(format!("{base}{path}")).await.unwrap();
            next = page.headers().get("link").map(|link| {
                let link = link.to_str().unwrap();
                link[1..link.find('>').unwrap()].to_owned()
            });
            all.extend(page.json::<Vec<Value>>().await.unwrap());
        }
        all
    };
    let ids = |rows: Vec<Value>, field: &str| {
        rows.iter().map(|row| row[field].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let entities = ids(read("/api/v1/entities?limit=1000").await, "id");
    let recorded = ids(read("/api/v1/audit/entries?action=entity.create&limit=1000").await, "entity_id");
    let (entity_set, recorded_set) = (BTreeSet::from_iter(entities.clone()), BTreeSet::from_iter(recorded.clone()));
    println!(
        "{kind:?}: {} answered, {} stored, {} recorded after {KILLS} kills",
        answered.len(),
        entities.len(),
        recorded.len()
    );
    assert!(answered.is_subset(&entity_set), "an answered mutation was lost");
    assert_eq!(entity_set, recorded_set, "mutation without entry, or entry without mutation");
    assert_eq!(recorded.len(), recorded_set.len(), "recorded twice");
    process.signal("TERM").await;
    process.ended().await;
    let (code, said) = verdict(&database.url, &[]).await;
    assert_eq!((code, said["checked"].as_u64()), (0, Some(recorded.len() as u64)), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_postgres() {
    killed_ten_times(Kind::Postgres).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_sqlite() {
    killed_ten_times(Kind::Sqlite).await;
}
