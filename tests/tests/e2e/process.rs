//! The API as an operator meets it: a process with an environment, signals and exit codes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use epr_testkit::database::{Database, DatabaseKind, LOCK_WAITERS};
use epr_testkit::process::{Process, run};
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite, "INT")]
#[case::postgres(DatabaseKind::Postgres, "TERM")]
#[tokio::test]
async fn a_signal_lets_a_request_in_flight_finish(#[case] kind: DatabaseKind, #[case] signal: &str) {
    let database = Database::create(kind).await;
    let (process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let client = reqwest::Client::new();
    let made =
        client.post(format!("{base}/api/v1/entities")).json(&json!({"name": "n", "type": "spv"})).send().await.unwrap();
    assert_eq!(made.status(), 201);

    // A request in flight: its head and half of its body are with the server when the signal comes.
    let body = json!({"name": "in flight", "type": "spv"}).to_string();
    let (first, second) = body.split_at(10);
    let mut slow = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let head = format!(
        "POST /api/v1/entities HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    slow.write_all(head.as_bytes()).await.unwrap();
    // The server asks for the body: now the request is in its hands.
    let mut interim = [0; 25];
    slow.read_exact(&mut interim).await.unwrap();
    assert!(interim.starts_with(b"HTTP/1.1 100"));
    slow.write_all(first.as_bytes()).await.unwrap();

    let mut process = process;
    let asked = Instant::now();
    process.signal(signal).await;
    process.wait_for_log("stopping").await;
    slow.write_all(second.as_bytes()).await.unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 201"), "{answer}");
    let (status, _) = process.wait_for_exit().await;
    assert_eq!(status.code(), Some(0));
    // A promise of the contract about behaviour (the drain is bounded), not a measurement of speed.
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert!(client.get(format!("{base}/healthz")).send().await.is_err(), "no process listens any more");
}

#[tokio::test]
async fn a_request_that_never_ends_does_not_hold_up_the_end() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let mut stuck = TcpStream::connect(base.trim_start_matches("http://")).await.unwrap();
    let head = "POST /api/v1/entities HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 100\r\n\r\n";
    stuck.write_all(head.as_bytes()).await.unwrap();
    let mut interim = [0; 25];
    stuck.read_exact(&mut interim).await.unwrap();
    let asked = Instant::now();
    process.signal("TERM").await;
    process.wait_for_log("stopping").await;
    let (status, _) = process.wait_for_exit().await;
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_request_that_waits_for_a_lock_does_not_hold_up_the_end() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let client = reqwest::Client::new();
    let made =
        client.post(format!("{base}/api/v1/entities")).json(&json!({"name": "n", "type": "spv"})).send().await.unwrap();
    let id = made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    let mut conn = sqlx::PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM entities FOR UPDATE").execute(&mut conn).await.unwrap();
    let patch = client.patch(format!("{base}/api/v1/entities/{id}")).json(&json!({"name": "m"})).send();
    let patch = tokio::spawn(patch);
    // The request waits for the lock once the database says so.
    database.until(LOCK_WAITERS, 1).await;
    let asked = Instant::now();
    process.signal("TERM").await;
    process.wait_for_log("stopping").await;
    let (status, _) = process.wait_for_exit().await;
    assert_eq!(status.code(), Some(0));
    assert!(asked.elapsed() < Duration::from_secs(10));
    assert_eq!(patch.await.unwrap().unwrap().status(), 503);
    assert_eq!(database.number("SELECT COUNT(*) FROM entities WHERE name = 'n'").await, 1);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_start_at_once_on_an_empty_database(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let tasks: Vec<_> = (0..10)
        .map(|_| {
            let database = Arc::clone(&database);
            tokio::spawn(async move {
                Process::api(&[("EPR_DATABASE_URL", &database.url), ("EPR_DATABASE_POOL_SIZE", "3")]).await
            })
        })
        .collect();
    let mut running = Vec::new();
    for task in tasks {
        running.push(task.await.unwrap());
    }
    for (_, base) in &running {
        let ready = reqwest::get(format!("{base}/readyz")).await.unwrap();
        assert_eq!(ready.status(), 200);
    }
    for (process, _) in running {
        assert_eq!(process.terminate().await.0.code(), Some(0));
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_newer_schema_is_refused(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let (process, _) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    process.terminate().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) VALUES (9999, \
     'later', TRUE, ";
    match kind {
        DatabaseKind::Postgres => {
            let mut conn = sqlx::PgConnection::connect(&database.url).await.unwrap();
            sqlx::query(sqlx::AssertSqlSafe(format!("{newer}''::bytea, 0)"))).execute(&mut conn).await.unwrap();
        }
        DatabaseKind::Sqlite => {
            let mut conn = sqlx::SqliteConnection::connect(&format!("sqlite://{}", database.file().unwrap().display()))
                .await
                .unwrap();
            sqlx::query(sqlx::AssertSqlSafe(format!("{newer}x'', 0)"))).execute(&mut conn).await.unwrap();
        }
    }
    for migrate in ["true", "false"] {
        let process = Process::start(
            "epr-api",
            &[("EPR_DATABASE_URL", &database.url), ("RUN_MIGRATIONS", migrate), ("PORT", "0")],
        );
        let (status, log) = process.wait_for_exit().await;
        assert_eq!(status.code(), Some(1));
        let error = log.last().unwrap()["extra"]["error"].as_str().unwrap().to_owned();
        assert!(error.contains("schema is at version 9999") && error.contains("run a newer program"), "{error}");
    }
}

#[tokio::test]
async fn without_migrations_an_empty_database_is_refused() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let process = Process::start("epr-api", &[("EPR_DATABASE_URL", &database.url), ("RUN_MIGRATIONS", "false")]);
    let (status, log) = process.wait_for_exit().await;
    assert_eq!(status.code(), Some(1));
    let error = log.last().unwrap()["extra"]["error"].as_str().unwrap().to_owned();
    assert!(error.contains("version 0") && error.contains("epr migrate"), "{error}");
}

#[tokio::test]
async fn settings_that_do_not_parse_stop_the_program() {
    let environment = [("PORT", "x"), ("EPR_LOG_JSON", "perhaps"), ("EPR_DATABASE_URL", "mysql://epr:hunter2@db/epr")];
    let (code, _, stderr) = run("epr-api", &environment, &[]).await;
    assert_eq!(code, 2);
    assert_eq!(stderr.lines().count(), 3, "{stderr}");
    for part in ["PORT is `x`; allowed:", "EPR_LOG_JSON is `perhaps`", "EPR_DATABASE_URL is `mysql://epr:***@db/epr`"] {
        assert!(stderr.contains(part), "{stderr}");
    }
    assert!(!stderr.contains("hunter2"));
}

#[tokio::test]
async fn the_sqlalchemy_spelling_and_a_dot_env_file_work() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let folder = tempfile::tempdir().unwrap();
    let url = database.url.replace("postgres://", "postgresql+psycopg2://");
    std::fs::write(folder.path().join(".env"), format!("EPR_DATABASE_URL={url}\nPORT=0\nEPR_SERVICE_NAME=from-file\n"))
        .unwrap();
    let mut process =
        Process::start_in("epr-api", folder.path(), &[("HOST", "127.0.0.1"), ("EPR_SERVICE_NAME", "from-environment")]);
    let line = process.wait_for_log("listening").await;
    assert_eq!(line["service"], "from-environment", "the environment wins over the file");
    assert_eq!(process.terminate().await.0.code(), Some(0));
    let mut conn = sqlx::PgConnection::connect(&database.url).await.unwrap();
    let actions: Vec<String> =
        sqlx::query_scalar("SELECT action FROM permissions ORDER BY action").fetch_all(&mut conn).await.unwrap();
    assert_eq!(actions, ["document:archive", "document:download", "document:upload", "document:verify"]);
}

#[tokio::test]
async fn log_lines_have_the_contracts_fields_and_names() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let (mut process, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    let client = reqwest::Client::new();
    let send = async |method: &str, path: &str, body: Value| {
        let request =
            client.request(method.parse().unwrap(), format!("{base}{path}")).header("x-request-id", "trace-1");
        request.json(&body).send().await.unwrap().json::<Value>().await.unwrap()
    };
    let user = "aaaaaaaa-0000-4000-8000-000000000001";
    let spv = send("POST", "/api/v1/entities", json!({"name": "S", "type": "spv"})).await;
    let role = send("POST", "/api/v1/roles", json!({"name": "Reader", "permissions": ["a:read"]})).await;
    let held = send("POST", "/api/v1/assignments", json!({"principal_id": user, "role_id": role["id"]})).await;
    send("POST", "/api/v1/authorize", json!({"user_id": user, "action": "a:read", "resource_id": spv["id"]})).await;
    send("POST", "/api/v1/authorize", json!({"user_id": user, "action": "a:write", "resource_id": spv["id"]})).await;
    send("PATCH", &format!("/api/v1/roles/{}", role["id"].as_str().unwrap()), json!({"permissions": []})).await;
    send("PATCH", &format!("/api/v1/entities/{}", spv["id"].as_str().unwrap()), json!({"name": "T"})).await;
    send("DELETE", &format!("/api/v1/assignments/{}", held["id"].as_str().unwrap()), Value::Null).await;
    send("POST", &format!("/api/v1/entities/{}/archive", spv["id"].as_str().unwrap()), Value::Null).await;
    for word in [
        "entity_created",
        "role_created",
        "role_assigned",
        "authorization_granted",
        "authorization_denied",
        "role_updated",
        "entity_updated",
        "role_assignment_revoked",
        "entity_archived",
    ] {
        let line = process.wait_for_log(word).await;
        let mut keys: Vec<_> = line.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["extra", "level", "logger", "message", "service", "timestamp"]);
        assert_eq!(
            (&line["level"], &line["service"], &line["extra"]["request_id"]),
            (&json!("INFO"), &json!("omen-epr"), &json!("trace-1"))
        );
    }
    process.terminate().await;
}

#[tokio::test]
async fn help_and_version_need_no_environment() {
    for (argument, expected) in [("--help", "EPR_DATABASE_URL"), ("--version", "epr-api 0.")] {
        let (code, stdout, _) = run("epr-api", &[], &[argument]).await;
        assert_eq!(code, 0);
        assert!(stdout.contains(expected));
    }
    assert_eq!(run("epr-api", &[], &["--nope"]).await.0, 2);
}
