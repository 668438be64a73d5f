//! The way to the database goes silent: connections stay open and nothing comes back, while new ones work, as after a
//! failover. No connection is lost to the pool for it, and the service goes on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::audit_verify;
use epr_testkit::metrics;
use epr_testkit::process::Process;
use epr_testkit::proxy::Proxy;
use epr_testkit::wait;
use reqwest::Client;
use serde_json::{Value, json};

const CLIENTS: usize = 12;
const SILENCES: usize = 3;
/// The work that must complete between two outages.
const DONE: usize = 500;
/// Time between two readings of a value that a test waits for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The sum of a metric's samples.
async fn metric(base: &str, name: &str) -> u64 {
    let text = reqwest::get(format!("{base}/metrics")).await.expect("an answer").text().await.expect("text");
    metrics::sum(&text, name)
}

/// Waits until [`DONE`] more calls have succeeded.
async fn until_more(done: &AtomicUsize) {
    let target = done.load(Ordering::SeqCst) + DONE;
    wait::until_value(
        "calls that succeed",
        POLL_INTERVAL,
        async || done.load(Ordering::SeqCst),
        |done| *done >= target,
    )
    .await;
}

/// Creates an entity and asks about it, again and again. What was refused was refused with a 503.
async fn work(base: Arc<str>, client: usize, done: Arc<AtomicUsize>, stop: Arc<AtomicBool>) -> usize {
    let (http, mut made) = (Client::new(), 0);
    let send = async |path: &str, body: &Value| {
        let answer = http.post(format!("{base}{path}")).json(body).send().await.expect("an answer");
        let status = answer.status().as_u16();
        let body: Value = answer.json().await.expect("JSON");
        assert!([200, 201, 503].contains(&status), "{path}: {status} {body}");
        if status != 503 {
            done.fetch_add(1, Ordering::SeqCst);
        }
        (status != 503).then_some(body)
    };
    for n in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("{client}/{n}");
        let Some(entity) = send("/api/v1/entities", &json!({"name": name, "type": "spv"})).await else { continue };
        made += 1;
        let asked = json!({"user_id": entity["id"], "action": "document:download", "resource_id": entity["id"]});
        if let Some(reported) = send("/api/v1/authorize", &asked).await {
            assert_eq!(reported, json!({"authorized": false}));
        }
    }
    made
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_goes_silent_keeps_no_connection() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (proxy, url) = Proxy::in_front_of(&database).await;
    let (process, base) = Process::api_at(&[
        ("EPR_DATABASE_URL", url.as_str()),
        ("EPR_DATABASE_POOL_SIZE", "6"),
        ("EPR_REQUEST_TIMEOUT", "5"),
        ("EPR_LOG_LEVEL", "CRITICAL"),
    ])
    .await;
    let base: Arc<str> = base.into();
    let (done, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> =
        (0..CLIENTS).map(|client| tokio::spawn(work(base.clone(), client, done.clone(), stop.clone()))).collect();
    for _ in 0..SILENCES {
        until_more(&done).await;
        proxy.silence();
    }
    until_more(&done).await;
    stop.store(true, Ordering::SeqCst);
    let mut made = 0;
    for client in clients {
        made += client.await.expect("a client that found everything as it should be");
    }
    let in_use = async || {
        metric(&base, "epr_database_connections{").await.abs_diff(metric(&base, "epr_database_connections_idle{").await)
    };
    wait::until_value("all connections given back", POLL_INTERVAL, in_use, |in_use| *in_use == 0).await;
    // A change whose answer did not arrive may have been made, too.
    assert!(database.number("SELECT COUNT(*) FROM entities").await >= i64::try_from(made).unwrap());
    assert_eq!(process.terminate().await.0.code(), Some(0));
    assert_eq!(audit_verify(&database.url, &[]).await.0, 0);
}

/// A check that changes nothing is asked again on another connection: its caller waits, and is not refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_get_their_answers_from_connections_that_answer() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (proxy, url) = Proxy::in_front_of(&database).await;
    let (process, base) = Process::api_at(&[
        ("EPR_DATABASE_URL", url.as_str()),
        ("EPR_DATABASE_ACQUIRE_TIMEOUT", "20"),
        ("EPR_DECISION_CACHE", "false"),
        ("EPR_AUDIT_DECISIONS", "off"),
        ("EPR_LOG_LEVEL", "CRITICAL"),
    ])
    .await;
    let base: Arc<str> = base.into();
    let made = Client::new().post(format!("{base}/api/v1/entities")).json(&json!({"name": "n", "type": "spv"}));
    let id = made.send().await.expect("an answer").json::<Value>().await.expect("JSON")["id"].clone();
    let (done, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (base, id, done, stop) = (base.clone(), id.clone(), done.clone(), stop.clone());
            tokio::spawn(async move {
                let http = Client::new();
                let asked = json!({"user_id": id, "action": "document:download", "resource_id": id});
                while !stop.load(Ordering::SeqCst) {
                    let answer =
                        http.post(format!("{base}/api/v1/authorize")).json(&asked).send().await.expect("an answer");
                    let (status, reported) = (answer.status().as_u16(), answer.json::<Value>().await.expect("JSON"));
                    assert_eq!((status, reported), (200, json!({"authorized": false})));
                    done.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for _ in 0..=SILENCES {
        until_more(&done).await;
        proxy.silence();
    }
    stop.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.expect("a client that was never refused");
    }
    assert_eq!(process.terminate().await.0.code(), Some(0));
}
