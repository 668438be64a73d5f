//! The shared cache over Upstash's REST interface: a front over a real Redis, checked with Upstash's own client.

use std::process::Command;

use epr_core::clock::SystemClock;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use epr_testkit::redis::RedisServer;
use epr_testkit::upstash::{Front, TOKEN};
use epr_testkit::wait;
use serde_json::json;
use std::sync::Arc;

use crate::cache::{USER, World, metric, until_up};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_emulator_serves_upstashs_own_client() {
    let redis = RedisServer::start().await;
    let front = Front::start(&redis).await;
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/upstash_client.py");
    let url = front.url.clone();
    let ran = tokio::task::spawn_blocking(move || Command::new("python3").args([script, &url, TOKEN]).output());
    let ran = ran.await.unwrap().expect("python3 with upstash-redis, which scripts/test.sh installs");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    // The client takes the front's sync tokens for real: it sends each back with its next request.
    let tokens: Vec<_> = front.requests().iter().map(|request| request.sync_token).collect();
    assert_eq!((tokens[0], tokens[1], tokens[2]), (None, Some(1), Some(2)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_share_decisions_over_rest() {
    let redis = RedisServer::start().await;
    let front = Front::start(&redis).await;
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    // The shared cache is asked where the registry is not in memory.
    let settings = [
        ("EPR_REDIS_URL", front.url.as_str()),
        ("EPR_REDIS_TOKEN", TOKEN),
        ("EPR_REDIS_TIMEOUT_MS", "2000"),
        ("EPR_GRAPH", "off"),
    ];
    // The world is there before the processes are: an answer is not stored when a change is heard of meanwhile, and one
    // that is in the memory of a process is not stored later.
    let world = World::create(&Api::with_settings(database.clone(), Arc::new(SystemClock), &settings[3..]).await).await;
    let (one, two) = (
        Api::with_settings(database.clone(), Arc::new(SystemClock), &settings).await,
        Api::with_settings(database.clone(), Arc::new(SystemClock), &settings).await,
    );
    until_up(&one.epr).await;
    until_up(&two.epr).await;
    assert!(one.authorized(USER, "document:download", &world.spv).await);
    // An entry, a global epoch and one of the user, and the mark.
    wait::until("a stored decision", async || redis.key_count().await >= 4).await;
    assert!(two.authorized(USER, "document:download", &world.spv).await);
    assert_eq!(metric(&two.epr, r#"epr_decisions_total{outcome="allowed",tier="shared"}"#).await, 1);
    assert_eq!(metric(&two.epr, r#"epr_decisions_total{outcome="allowed",tier="evaluated"}"#).await, 0);
    one.delete(&format!("/api/v1/assignments/{}", world.assignment)).await.expect(200);
    assert!(!one.authorized(USER, "document:download", &world.spv).await);
    let denied = async || !two.authorized(USER, "document:download", &world.spv).await;
    wait::until("denied at the other process", denied).await;

    let requests = front.requests();
    // One round trip for a lookup, one more where epochs are made, one for a store, one for an invalidation.
    let kinds: Vec<Vec<&str>> =
        requests.iter().map(|request| request.commands.iter().map(String::as_str).collect()).collect();
    for kind in &kinds {
        let known: [&[&str]; 6] = [&["SET"], &["PING"], &["MGET"], &["DEL"], &["SET", "MGET"], &["SET", "SET", "MGET"]];
        assert!(known.contains(&kind.as_slice()), "{kind:?}");
    }
    assert!(requests.iter().skip(4).all(|request| request.sync_token.is_some()), "tokens are sent back");

    // A failure of the moment is not noticed by anybody: the call is repeated.
    let errors = metric(&one.epr, "epr_decision_cache_errors_total").await;
    front.fail_next(1);
    assert!(!one.authorized(USER, "document:upload", &world.spv).await);
    assert_eq!(metric(&one.epr, "epr_decision_cache_errors_total").await, errors);
    // An exhausted quota disables the tier; it recovers without a restart.
    front.quota_used_up(true);
    assert!(!one.authorized(USER, "document:archive", &world.spv).await);
    assert_eq!(
        one.get("/readyz").await.expect(200)["dependencies"]["shared_cache"],
        json!({"kind": "upstash", "status": "bypassed"})
    );
    front.quota_used_up(false);
    until_up(&one.epr).await;
}

#[tokio::test]
async fn a_wrong_token_is_reported_and_not_logged() {
    let redis = RedisServer::start().await;
    let front = Front::start(&redis).await;
    let database = Database::create(DatabaseKind::Sqlite).await;
    let wrong = "some-other-secret-token";
    let (mut process, base) = Process::api(&[
        ("EPR_DATABASE_URL", &database.url),
        ("EPR_REDIS_URL", &front.url),
        ("EPR_REDIS_TOKEN", wrong),
        ("EPR_LOG_LEVEL", "DEBUG"),
    ])
    .await;
    let line = process.first_log("decision_cache_down").await;
    assert!(line["extra"]["error"].as_str().unwrap().contains("WRONGPASS"), "{line}");
    assert_eq!(reqwest::get(format!("{base}/readyz")).await.unwrap().status(), 200);
    let (_, log) = process.terminate().await;
    assert!(log.iter().all(|line| !line.to_string().contains(wrong)));
}
