//! Limits that protect callers from each other: concurrency permits, time, connections.

use std::time::Duration;

use epr_testkit::database::{Database, DatabaseKind, LOCK_WAITERS};
use epr_testkit::process::Process;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const ENTITIES: &str = "/api/v1/entities";

/// A service, and a connection that locks the table of entities.
async fn blocked(database: &Database, environment: &[(&str, &str)]) -> (Process, String, PgConnection) {
    // The registry in memory reads the tables, too.
    let mut all = vec![("EPR_DATABASE_URL", database.url.as_str()), ("EPR_GRAPH", "off")];
    all.extend_from_slice(environment);
    let (process, base) = Process::api(&all).await;
    let made = post(&base, &json!({"name": "n", "type": "spv"})).await;
    assert_eq!(made.status(), 201);
    let mut holder = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE entities IN ACCESS EXCLUSIVE MODE").execute(&mut holder).await.unwrap();
    (process, base, holder)
}

async fn post(base: &str, body: &Value) -> reqwest::Response {
    reqwest::Client::new().post(format!("{base}{ENTITIES}")).json(body).send().await.unwrap()
}

/// A GET whose response is awaited later.
fn begun(base: &str) -> tokio::task::JoinHandle<reqwest::Response> {
    let url = format!("{base}{ENTITIES}");
    tokio::spawn(async move { reqwest::get(url).await.unwrap() })
}

async fn metric(base: &str, line: &str) -> String {
    let text = reqwest::get(format!("{base}/metrics")).await.unwrap().text().await.unwrap();
    let found = text.lines().find_map(|each| each.strip_prefix(line)).unwrap_or_else(|| panic!("no {line} in {text}"));
    found.trim().to_owned()
}

#[tokio::test]
async fn healthz_answers_while_the_pool_is_exhausted() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let settings =
        [("EPR_DATABASE_POOL_SIZE", "1"), ("EPR_DATABASE_ACQUIRE_TIMEOUT", "1"), ("EPR_EVENT_RELAY", "false")];
    let (_process, base, mut holder) = blocked(&database, &settings).await;
    let first = begun(&base);
    database.until(LOCK_WAITERS, 1).await;

    // The only connection is taken.
    assert_eq!(reqwest::get(format!("{base}/healthz")).await.unwrap().status(), 200);
    let second = reqwest::get(format!("{base}{ENTITIES}")).await.unwrap();
    assert_eq!(second.status(), 503);
    assert_eq!(second.headers()["retry-after"], "1");
    assert_eq!(
        second.json::<Value>().await.unwrap(),
        json!({"detail": "Too many lists are being read; try again later"})
    );
    assert_eq!(reqwest::get(format!("{base}/readyz")).await.unwrap().status(), 503);
    // The metrics, too, and they show it.
    assert_eq!(metric(&base, "epr_database_connections_idle{pool=\"all\"}").await, "0");
    assert_eq!(metric(&base, "epr_database_connections_max{pool=\"all\"}").await, "1");

    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    assert_eq!(first.await.unwrap().status(), 200);
}

#[tokio::test]
async fn one_call_over_the_limit_is_refused_at_once() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (_process, base, mut holder) = blocked(&database, &[("EPR_MAX_CONCURRENCY", "2")]).await;
    let waiting = [begun(&base), begun(&base)];
    database.until(LOCK_WAITERS, 2).await;

    let turned_away = reqwest::get(format!("{base}{ENTITIES}")).await.unwrap();
    assert_eq!(turned_away.status(), 503);
    assert_eq!(turned_away.headers()["retry-after"], "1");
    assert!(turned_away.headers().contains_key("x-request-id"));
    let body = turned_away.json::<Value>().await.unwrap();
    assert_eq!(body, json!({"detail": "The service is overloaded; retry after the time in `Retry-After`"}));
    // Nothing but its own answer was needed for that: the others still wait.
    assert_eq!(database.number(LOCK_WAITERS).await, 2);
    for path in ["/healthz", "/readyz", "/metrics", "/openapi.json"] {
        assert_eq!(reqwest::get(format!("{base}{path}")).await.unwrap().status(), 200, "{path}");
    }

    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    for call in waiting {
        assert_eq!(call.await.unwrap().status(), 200);
    }
    assert_eq!(reqwest::get(format!("{base}{ENTITIES}")).await.unwrap().status(), 200, "places are given back");
}

#[tokio::test]
async fn a_slow_call_is_answered_and_its_change_is_completed() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (mut process, base, mut holder) = blocked(&database, &[("EPR_REQUEST_TIMEOUT", "1")]).await;
    let read = reqwest::get(format!("{base}{ENTITIES}")).await.unwrap();
    assert_eq!((read.status().as_u16(), read.headers()["retry-after"].to_str().unwrap()), (503, "1"));
    assert_eq!(read.json::<Value>().await.unwrap()["detail"], "The request timed out");

    let change = post(&base, &json!({"name": "late", "type": "spv"})).await;
    assert_eq!(change.status(), 503);
    let body = change.json::<Value>().await.unwrap();
    assert_eq!(body["detail"], "The request timed out; the change may still be made, read the result before you retry");
    sqlx::raw_sql("ROLLBACK").execute(&mut holder).await.unwrap();
    process.wait_for_log("request_ended_late").await;
    assert_eq!(database.number("SELECT COUNT(*) FROM entities WHERE name = 'late'").await, 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM audit_logs WHERE action = 'entity.create'").await, 2);
}

/// Reads until the other side closes; that it does so with or without an answer, or by a reset, is all the same.
async fn rest(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

async fn socket(base: &str) -> TcpStream {
    TcpStream::connect(base.trim_start_matches("http://")).await.unwrap()
}

const HALF: &str =
    "POST /api/v1/entities HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 40\r\n\r\n{\"na";

#[tokio::test]
async fn slow_callers_are_disconnected() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let settings =
        [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_HEADER_TIMEOUT", "1"), ("EPR_BODY_TIMEOUT", "1")];
    let (_process, base) = Process::api(&settings).await;

    // Half a head, and nothing more.
    let mut silent = socket(&base).await;
    silent.write_all(b"GET /healthz HTTP/1.1\r\nhost:").await.unwrap();
    assert_eq!(rest(&mut silent).await, "");

    // A head that never ends, one byte at a time.
    let (mut reader, mut writer) = socket(&base).await.into_split();
    let trickle = tokio::spawn(async move {
        let _ = writer.write_all(b"GET /healthz HTTP/1.1\r\n").await;
        while writer.write_all(b"a").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let mut bytes = Vec::new();
    let _ = reader.read_to_end(&mut bytes).await;
    assert!(bytes.is_empty());
    trickle.await.unwrap();

    // The second request of a connection is held to the same.
    let mut again = socket(&base).await;
    again.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut first = [0; 15];
    again.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    again.write_all(b"GET /he").await.unwrap();
    assert!(rest(&mut again).await.ends_with("{\"status\":\"ok\"}"));

    // A body that does not arrive is answered, and then the connection is closed.
    let mut body = socket(&base).await;
    body.write_all(HALF.as_bytes()).await.unwrap();
    let answer = rest(&mut body).await;
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("body_timeout"), "{answer}");
    assert_eq!(metric(&base, "epr_http_connections_timed_out_total").await, "3");
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (_process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url), ("EPR_KEEP_ALIVE_TIMEOUT", "1")]).await;
    let mut unused = socket(&base).await;
    let mut used = socket(&base).await;
    used.write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    assert!(rest(&mut used).await.ends_with("{\"status\":\"ok\"}"));
    assert_eq!(rest(&mut unused).await, "");
    assert_eq!(metric(&base, "epr_http_connections_timed_out_total").await, "0", "no caller was slow");
}

#[tokio::test]
async fn a_slow_body_holds_no_permit() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url), ("EPR_MAX_CONCURRENCY", "1")]).await;
    let mut slow = socket(&base).await;
    let head = "POST /api/v1/entities HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 31\r\n\
                connection: close\r\n\r\n";
    slow.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    // Asked for once the service reads the body.
    slow.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"));
    assert_eq!(post(&base, &json!({"name": "quick", "type": "spv"})).await.status(), 201);
    slow.write_all(b"{\"name\": \"slow\", \"type\": \"spv\"}").await.unwrap();
    assert!(rest(&mut slow).await.starts_with("HTTP/1.1 201"));
    process.wait_for_log("entity_created").await;
}

#[tokio::test]
async fn the_size_of_a_request_head_is_bounded() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (_process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url), ("EPR_MAX_HEADER_BYTES", "8192")]).await;
    let many = (0..101).fold(String::new(), |all, n| format!("{all}x-{n}: 1\r\n"));
    let large = format!("x: {}\r\n", "a".repeat(9000));
    for (headers, status) in [(many.as_str(), 431), (large.as_str(), 431), ("x: 1\r\n", 200)] {
        let mut stream = socket(&base).await;
        let head = format!("GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let answer = rest(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
    }
}
