//! The decision cache in a Redis behind TLS.

use std::sync::Arc;

use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use epr_testkit::redis::RedisServer;
use epr_testkit::wait;
use serde_json::{Value, json};

use crate::cache::{USER, World};

async fn answer(base: &str, spv: &str) -> Value {
    let asked = json!({"user_id": USER, "action": "document:download", "resource_id": spv});
    let answer = reqwest::Client::new().post(format!("{base}/api/v1/authorize")).json(&asked).send().await.unwrap();
    answer.json().await.unwrap()
}

async fn shared(base: &str) -> Value {
    let ready: Value = reqwest::get(format!("{base}/readyz")).await.unwrap().json().await.unwrap();
    ready["dependencies"]["shared_cache"]["status"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_behind_tls_is_trusted_by_its_certificate_only() {
    let redis = RedisServer::start_with_tls().await;
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    let world = World::create(&Api::on(database.clone()).await).await;
    let (url, certificate) = (redis.tls_url(), redis.certificate());
    let mut environment = vec![
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_REDIS_URL", url.as_str()),
        ("EPR_REDIS_TIMEOUT_MS", "5000"),
        // The shared cache is asked where the registry is not in memory.
        ("EPR_GRAPH", "off"),
    ];

    // No authority vouches for the certificate: no cache, and right answers.
    let (mut process, base) = Process::api(&environment).await;
    let reported = process.first_log("decision_cache_down").await;
    assert!(reported["extra"]["error"].as_str().unwrap().contains("certificate"), "{reported}");
    assert_eq!(answer(&base, &world.spv).await, json!({"authorized": true}));
    assert_eq!(redis.key_count().await, 0);
    process.terminate().await;

    // A process answers with the decision of another one; both use TLS.
    environment.push(("SSL_CERT_FILE", certificate.to_str().unwrap()));
    let (one, at_one) = Process::api(&environment).await;
    let (two, at_two) = Process::api(&environment).await;
    for base in [&at_one, &at_two] {
        wait::until("a shared cache in use", async || shared(base).await == "ok").await;
    }
    assert_eq!(answer(&at_one, &world.spv).await, json!({"authorized": true}));
    // An entry, a global epoch and one of the user.
    wait::until("a stored decision", async || redis.key_count().await >= 3).await;
    assert_eq!(answer(&at_two, &world.spv).await, json!({"authorized": true}));
    let metrics = reqwest::get(format!("{at_two}/metrics")).await.unwrap().text().await.unwrap();
    assert!(metrics.contains(r#"epr_decisions_total{outcome="allowed",tier="shared"} 1"#), "{metrics}");
    for process in [one, two] {
        process.terminate().await;
    }
}
