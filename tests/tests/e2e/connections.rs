//! Connections that are open and say nothing: they do not shut others out, and the process keeps files for everything
//! else.

use std::time::Duration;

use epr_testkit::database::{Database, DatabaseKind, LOCK_WAITERS};
use epr_testkit::process::Process;
use epr_testkit::wait;
use serde_json::json;
use sqlx::{Connection as _, PgConnection};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

const ENTITIES: &str = "/api/v1/entities";

async fn crowd(base: &str, count: usize) -> Vec<TcpStream> {
    let mut crowd = Vec::new();
    for _ in 0..count {
        crowd.push(TcpStream::connect(base.trim_start_matches("http://")).await.unwrap());
    }
    crowd
}

async fn number(base: &str, name: &str) -> usize {
    let text = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("no {name}"));
    line.trim().parse().unwrap()
}

/// Calls of every kind, each on a connection of its own.
async fn calls_are_answered(base: &str) {
    let client = reqwest::Client::builder().pool_max_idle_per_host(0).build().unwrap();
    for path in ["/healthz", "/readyz", "/metrics", ENTITIES] {
        assert_eq!(client.get(format!("{base}{path}")).send().await.unwrap().status(), 200, "{path}");
    }
    let unknown = "00000000-0000-4000-8000-000000000001";
    let question = json!({"user_id": unknown, "action": "document:download", "resource_id": unknown});
    let check = client.post(format!("{base}/api/v1/authorize")).json(&question).send().await.unwrap();
    assert_eq!(check.status(), 404);
}

#[tokio::test]
async fn the_connection_that_is_idle_for_longest_is_closed_for_a_new_one() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (_process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url), ("EPR_MAX_CONNECTIONS", "32")]).await;
    let mut crowd = crowd(&base, 300).await;
    calls_are_answered(&base).await;
    // The oldest were closed, the latest were not.
    let mut byte = [0];
    assert_eq!(crowd[0].read(&mut byte).await.unwrap(), 0);
    let last = crowd.last_mut().unwrap();
    assert!(tokio::time::timeout(Duration::ZERO, last.read(&mut byte)).await.is_err());
    let settled = async || number(&base, "epr_http_connections ").await;
    wait::until_value("connections within the bound", Duration::from_millis(10), settled, |open| *open <= 33).await;
    assert!(number(&base, "epr_http_connections_evicted_total ").await >= 300 - 32 - 32);
}

#[tokio::test]
async fn a_connection_whose_request_is_worked_on_is_not_closed() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (_process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url), ("EPR_MAX_CONNECTIONS", "16")]).await;
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE entities IN ACCESS EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    let url = format!("{base}{ENTITIES}");
    let call = tokio::spawn(async move { reqwest::get(url).await.unwrap().status() });
    database.until(LOCK_WAITERS, 1).await;
    let _crowd = crowd(&base, 100).await;
    assert_eq!(reqwest::get(format!("{base}/healthz")).await.unwrap().status(), 200);
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_eq!(call.await.unwrap(), 200);
}

#[tokio::test]
async fn the_limit_of_open_files_bounds_connections() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let url = database.url.as_str();
    // The soft limit is raised, as far as the hard one allows.
    let (soft, base) = Process::api_limited("ulimit -Sn 64 && ulimit -Hn 1000", &[("EPR_DATABASE_URL", url)]).await;
    assert_eq!(soft.log.last().unwrap()["extra"]["max_connections"], 840);
    let _crowd_of_soft = crowd(&base, 100).await;
    calls_are_answered(&base).await;
    let (hard, base) = Process::api_limited("ulimit -n 256", &[("EPR_DATABASE_URL", url)]).await;
    let capped = hard.log.iter().find(|line| line["message"] == "connections_limited_by_descriptors").unwrap();
    assert_eq!((&capped["extra"]["max_connections"], &capped["extra"]["descriptors"]), (&json!(96), &json!(256)));
    let _crowd = crowd(&base, 400).await;
    calls_are_answered(&base).await;
}
