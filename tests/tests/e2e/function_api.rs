//! The API as a function of AWS Lambda: the real program in the runtime of cargo-lambda, behind a gateway. It answers
//! as the service does, and never from before it was frozen.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::http::Request;
use epr_api_lambda::Function;
use epr_core::clock::{Clock as _, SystemClock};
use epr_core::settings::{Settings, Source};
use epr_testkit::api::id_of;
use epr_testkit::aws::{self, Topic};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::gateway::{self, Gateway};
use epr_testkit::lambda::Lambda;
use epr_testkit::process::{Process, epr};
use epr_testkit::proxy::Proxy;
use epr_testkit::tour::tour;
use epr_testkit::wait;
use reqwest::header::{HeaderMap, HeaderName};
use reqwest::{Client, Method};
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

const USER: &str = "11111111-2222-4333-8444-555555555555";
const NOBODY: &str = "00000000-0000-4000-8000-000000000000";

async fn function(environment: &[(&str, &str)]) -> Lambda {
    let mut all = vec![("EPR_ENVIRONMENT", "test"), ("EPR_DATABASE_POOL_SIZE", "2")];
    all.extend_from_slice(environment);
    Lambda::start_program("epr-api-lambda", &all).await
}

/// Ends every connection of a service, as a network or a server does to those that are silent for long.
async fn end_connections(database: &Database) {
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() \
               AND application_name LIKE 'omen-epr%' AND pid <> pg_backend_pid()";
    database.execute(sql).await.unwrap();
}

/// One invocation by the gateway; returns the status and the body.
async fn send(function: &Lambda, method: &str, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    let event = gateway::event(&request.body(body).unwrap(), "$default");
    let answer = gateway::response(&function.invoke(&event).await.expect("an answer"));
    (answer.status().as_u16(), serde_json::from_slice(answer.body()).unwrap())
}

async fn created(function: &Lambda, path: &str, body: Value) -> String {
    let (status, created) = send(function, "POST", path, &body).await;
    assert_eq!(status, 201, "{created}");
    id_of(&created)
}

/// The form of an answer that callers rely on: the status, the headers and the body.
async fn form(base: &str, (method, path, headers, body): &Sent) -> (u16, Vec<(String, String)>, Value) {
    let mut request = Client::new().request(method.clone(), format!("{base}{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = request.body(body.clone()).send().await.unwrap();
    let status = answer.status().as_u16();
    let headers = headers_of(answer.headers());
    let text = answer.text().await.unwrap();
    (status, headers, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// The headers without those of the connection, and without the values that differ from answer to answer.
fn headers_of(headers: &HeaderMap) -> Vec<(String, String)> {
    let of_connection = ["date", "content-length", "connection", "transfer-encoding"];
    let name_only = |name: &HeaderName| name == "epr-revision";
    let mut seen: Vec<_> = headers
        .iter()
        .filter(|(name, _)| !of_connection.contains(&name.as_str()))
        .map(|(name, value)| {
            let value = if name_only(name) { "" } else { value.to_str().unwrap() };
            (name.to_string(), value.to_owned())
        })
        .collect();
    seen.sort();
    seen
}

type Sent = (Method, String, Vec<(&'static str, &'static str)>, Vec<u8>);

fn sent(method: Method, path: &str, headers: &[(&'static str, &'static str)], body: impl Into<Vec<u8>>) -> Sent {
    let mut headers = headers.to_vec();
    headers.push(("x-request-id", "from-the-caller"));
    (method, path.to_owned(), headers, body.into())
}

/// Requests whose answers say the same each time, of every kind that the contract describes.
fn requests(entity: &str) -> Vec<Sent> {
    let json = [("content-type", "application/json")];
    let check = json!({"user_id": USER, "action": "document:download", "resource_id": entity}).to_string();
    let unknown = json!({"user_id": USER, "action": "a:b", "resource_id": NOBODY}).to_string();
    let (get, post) = (Method::GET, Method::POST);
    vec![
        sent(get.clone(), "/healthz", &[], ""),
        sent(Method::HEAD, "/healthz", &[], ""),
        sent(get.clone(), "/openapi.json", &[], ""),
        sent(get.clone(), "/docs/", &[], ""),
        sent(get.clone(), "/nowhere", &[], ""),
        sent(Method::PUT, "/api/v1/roles", &json, "{}"),
        sent(get.clone(), &format!("/api/v1/entities/{entity}"), &[], ""),
        sent(get.clone(), &format!("//api//v1/entities/{}/", entity.to_uppercase()), &[], ""),
        sent(get.clone(), &format!("/api/v1/entities/{NOBODY}"), &[], ""),
        sent(get.clone(), "/api/v1/entities/no-uuid", &[], ""),
        sent(get.clone(), "/api/v1/entities/%2f", &[], ""),
        sent(get.clone(), "/api/v1/entities/caf%C3%A9%20", &[], ""),
        sent(get.clone(), "/api/v1/entities?type=spv&type=agent&limit=1", &[], ""),
        sent(get.clone(), "/api/v1/entities?type=none&limit=0&cursor=%25&x=caf%C3%A9+%26", &[], ""),
        sent(get.clone(), "/api/v1/events?limit=201", &[], ""),
        sent(get.clone(), "/api/v1/audit/entries?order=asc&limit=2&action=entity.create", &[], ""),
        sent(get.clone(), "/api/v1/changes?wait=0&limit=1", &[], ""),
        sent(get.clone(), "/api/v1/roles", &[("epr-at-least", "nonsense")], ""),
        sent(post.clone(), "/api/v1/authorize", &json, check.clone()),
        // As bytes: the gateway sends a body of another type as base64.
        sent(post.clone(), "/api/v1/authorize", &[("content-type", "application/json; charset=utf-8")], check.clone()),
        sent(post.clone(), "/api/v1/authorize", &[("content-type", "text/plain")], check),
        sent(post.clone(), "/api/v1/authorize", &json, unknown),
        sent(post.clone(), "/api/v1/authorize", &json, "{"),
        sent(post.clone(), "/api/v1/authorize", &json, ""),
        sent(post.clone(), "/api/v1/authorize", &json, vec![0xff, 0xfe]),
        sent(post.clone(), "/api/v1/entities", &[json[0], ("x-actor-id", "nobody")], r#"{"name": "", "typ": 1}"#),
        sent(post.clone(), "/api/v1/entities", &json, format!(r#"{{"name": "{}"}}"#, "x".repeat(40_000))),
        sent(
            Method::OPTIONS,
            "/api/v1/roles",
            &[
                ("origin", "https://app.example.com"),
                ("access-control-request-method", "POST"),
                ("access-control-request-headers", "content-type,x-actor-id"),
            ],
            "",
        ),
        sent(get, "/api/v1/roles", &[("origin", "https://app.example.com")], ""),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_function_answers_as_the_service_does() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let environment = [
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_MAX_BODY_BYTES", "32768"),
        ("EPR_CORS_ORIGINS", "https://app.example.com"),
    ];
    let function = Arc::new(function(&environment).await);
    let gateway = Gateway::start(Arc::clone(&function), "dev").await;
    tour(&gateway.base, 1).await;
    let (_service, base) = Process::api(&environment).await;
    let entity = created(&function, "/api/v1/entities", json!({"name": "One", "type": "spv"})).await;
    created(&function, "/api/v1/entities", json!({"name": "Two", "type": "agent", "parent_id": entity})).await;
    // The first check is recorded, and its answer is the same from the cache of the service.
    for request in requests(&entity) {
        let (method, path, ..) = &request;
        let (of_service, of_function) = (form(&base, &request).await, form(&gateway.base, &request).await);
        assert_eq!(of_function, of_service, "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_has_the_id_of_the_gateway_and_credentials_are_verified() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (code, out, _) =
        epr("sqlite:////nowhere/at/all.db", &["token", "new", "--name", "n", "--scopes", "epr:read"]).await;
    assert_eq!(code, 0);
    let (token, entry) = out.trim().split_once('\n').unwrap();
    let mut function = function(&[
        ("EPR_DATABASE_URL", &database.url),
        ("EPR_AUTH_MODE", "token"),
        ("EPR_API_TOKENS", &format!("[{entry}]")),
    ])
    .await;
    let bearer = format!("Bearer {token}");
    for (path, authorization, status) in [
        ("/healthz", None, 200),
        ("/api/v1/roles", None, 401),
        ("/api/v1/roles", Some("Bearer epr_nonsense"), 401),
        ("/api/v1/audit/entries", Some(bearer.as_str()), 403),
        ("/api/v1/roles", Some(bearer.as_str()), 200),
    ] {
        let mut request = Request::get(path);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let event = gateway::event(&request.body(Bytes::new()).unwrap(), "$default");
        let answer = gateway::response(&function.invoke(&event).await.unwrap());
        assert_eq!(answer.status(), status, "{path} {authorization:?}");
        assert_eq!(answer.headers()["x-request-id"], event["requestContext"]["requestId"].as_str().unwrap());
        let line = function.function.wait_for_log("http_request").await;
        assert_eq!(line["extra"]["request_id"], event["requestContext"]["requestId"], "{line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_function_never_answers_from_before_the_freeze() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let function =
        function(&[("EPR_DATABASE_URL", &database.url), ("EPR_DECISION_CACHE", "true"), ("EPR_GRAPH", "on")]).await;
    let entity = created(&function, "/api/v1/entities", json!({"name": "Frozen", "type": "spv"})).await;
    let role = created(&function, "/api/v1/roles", json!({"name": "reader", "permissions": ["a:read"]})).await;
    let check = json!({"user_id": USER, "action": "a:read", "resource_id": entity});
    let (service, base) = Process::api(&[("EPR_DATABASE_URL", &database.url)]).await;
    for round in 0..5 {
        let grant = json!({"principal_id": USER, "role_id": role, "entity_id": entity});
        let grant = created(&function, "/api/v1/assignments", grant).await;
        for _ in 0..3 {
            let answer = send(&function, "POST", "/api/v1/authorize", &check).await;
            assert_eq!(answer, (200, json!({"authorized": true})), "round {round}");
        }
        function.function.suspend().await;
        let revoked = Client::new().delete(format!("{base}/api/v1/assignments/{grant}")).send().await.unwrap();
        assert_eq!(revoked.status(), 200);
        if round == 2 {
            end_connections(&database).await;
        }
        // The next request is there when the process goes on.
        let (answer, ()) = tokio::join!(send(&function, "POST", "/api/v1/authorize", &check), async {
            function.function.signal("CONT").await;
        });
        assert_eq!(answer, (200, json!({"authorized": false})), "round {round}");
    }
    // A change is made on a new connection, too.
    function.function.suspend().await;
    end_connections(&database).await;
    let late = json!({"name": "Thawed", "type": "spv"});
    let (_, ()) = tokio::join!(created(&function, "/api/v1/entities", late), async {
        function.function.signal("CONT").await;
    });
    // Nothing is left behind in the database while the function is frozen. The service may be reading in a transaction.
    service.terminate().await;
    function.function.suspend().await;
    let open = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in%'";
    assert_eq!(database.number(open).await, 0);
}

/// The event of a request that creates an entity.
fn creation(name: &str) -> Value {
    let request = Request::post("/api/v1/entities").header("content-type", "application/json");
    gateway::event(&request.body(json!({"name": name, "type": "spv"}).to_string().into()).unwrap(), "$default")
}

/// Takes the ledger's lock.
async fn lock_ledger(database: &Database) -> PgConnection {
    let mut conn = PgConnection::connect(&database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT * FROM audit_chain_head FOR UPDATE").execute(&mut conn).await.unwrap();
    conn
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_outlasts_its_timeout_is_answered_when_it_is_complete() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let function = function(&[("EPR_DATABASE_URL", &database.url), ("EPR_REQUEST_TIMEOUT", "1")]).await;
    assert_eq!(send(&function, "GET", "/api/v1/roles", &Value::Null).await, (200, json!([])));
    let mut other = lock_ledger(&database).await;
    let event = creation("Late");
    let (answer, ()) = tokio::join!(function.invoke(&event), async {
        let waiting = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                       AND wait_event_type = 'Lock' AND clock_timestamp() - query_start > interval '1.1 seconds'";
        wait::until("a change that waits", async || database.number(waiting).await == 1).await;
        sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    });
    assert_eq!(answer.unwrap()["statusCode"], 201);
    assert_eq!(database.number("SELECT COUNT(*) FROM entities").await, 1);
}

/// The deadline of the invocation is that of Lambda, which the runtime for local use does not send.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_outlasts_its_invocation_is_cut_off_and_answered_before_the_deadline() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let source = Source::of([("EPR_DATABASE_URL", database.url.as_str()), ("EPR_DATABASE_POOL_SIZE", "2")]);
    let function = Function::new(&Settings::from_source(&source).unwrap()).await.unwrap();
    let now = || u64::try_from(SystemClock.now().unix_micros() / 1_000).unwrap();
    let invoke = async |event: Value, deadline: u64| {
        let answer = serde_json::to_value(function.handle(event, "invocation", deadline).await.unwrap()).unwrap();
        (answer["statusCode"].as_u64().unwrap(), answer["body"].as_str().unwrap().to_owned())
    };
    let list = gateway::event(&Request::get("/api/v1/entities").body(Bytes::new()).unwrap(), "$default");
    assert_eq!(invoke(list.clone(), now() + 60_000).await, (200, "[]".to_owned()));
    let mut other = lock_ledger(&database).await;
    // Shorter than the time that a change waits for the lock.
    let deadline = now() + 3_000;
    let (status, body) = invoke(creation("Cut off"), deadline).await;
    assert!(now() < deadline, "Lambda has killed the process");
    assert_eq!(status, 503, "{body}");
    // It does not go on in the next invocation, not even when the lock is free.
    sqlx::raw_sql("COMMIT").execute(&mut other).await.unwrap();
    assert_eq!(invoke(list, now() + 60_000).await, (200, "[]".to_owned()));
    assert_eq!(database.number("SELECT COUNT(*) FROM entities").await, 0);
}

fn schedule() -> Value {
    json!({"version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_that_a_request_left_behind_are_delivered_by_the_schedule() {
    let (topic, database) = (Topic::create().await, Database::create(DatabaseKind::Postgres).await);
    let moto = aws::endpoint();
    let proxy = Proxy::to(moto.trim_start_matches("http://")).await;
    let endpoint = format!("http://{}", proxy.address);
    let mut environment =
        vec![("EPR_DATABASE_URL", database.url.as_str()), ("EPR_DOCUMENT_VAULT_TOPIC_ARN", topic.arn.as_str())];
    environment.extend(aws::environment(&endpoint));
    let function = function(&environment).await;
    let event = |n: u32| json!({"event_type": "a.happened", "source": "vault", "correlation_id": n.to_string()});
    proxy.cut().await;
    let (status, pending) = send(&function, "POST", "/api/v1/events", &event(1)).await;
    assert_eq!((status, &pending["delivery_state"]), (201, &json!("pending")), "{pending}");
    assert!(topic.drain().await.is_empty());
    proxy.restore().await;
    assert_eq!(function.invoke(&schedule()).await, Some(Value::Null));
    let received = topic.drain().await;
    assert_eq!(received.len(), 1, "{received:?}");
    assert_eq!(received[0].body["event_id"], pending["event_id"]);
    let path = format!("/api/v1/events/{}", pending["event_id"].as_str().unwrap());
    assert_eq!(send(&function, "GET", &path, &Value::Null).await.1["delivery_state"], "succeeded");
    // A request delivers its own event before it is answered.
    let (status, delivered) = send(&function, "POST", "/api/v1/events", &event(2)).await;
    assert_eq!((status, &delivered["delivery_state"]), (201, &json!("succeeded")));
    assert_eq!(topic.drain().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_function_without_its_database_says_so_and_recovers() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (proxy, url) = Proxy::in_front_of(&database).await;
    proxy.cut().await;
    let function = function(&[("EPR_DATABASE_URL", &url)]).await;
    for path in ["/healthz", "//healthz/"] {
        assert_eq!(send(&function, "GET", path, &Value::Null).await, (200, json!({"status": "ok"})));
    }
    let (status, readiness) = send(&function, "GET", "/readyz", &Value::Null).await;
    assert_eq!((status, &readiness["status"]), (503, &json!("not_ready")), "{readiness}");
    let (status, document) = send(&function, "GET", "/openapi.json", &Value::Null).await;
    assert_eq!((status, &document["info"]["title"].is_string()), (200, &true));
    // The schedule fails, so that an alarm can hear of it.
    assert_eq!(function.invoke(&schedule()).await, None);
    let event = gateway::event(&Request::get("/api/v1/roles").body(Bytes::new()).unwrap(), "$default");
    let answer = gateway::response(&function.invoke(&event).await.unwrap());
    assert_eq!(answer.status(), 503);
    assert!(answer.headers().contains_key("retry-after"));
    let body: Value = serde_json::from_slice(answer.body()).unwrap();
    assert!(body["detail"].as_str().is_some_and(|detail| !detail.contains(&proxy.address)), "{body}");
    proxy.restore().await;
    assert_eq!(send(&function, "GET", "/api/v1/roles", &Value::Null).await, (200, json!([])));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_events_fail_and_leave_the_function_as_it_was() {
    let database = Database::create(DatabaseKind::Sqlite).await;
    let mut function = function(&[("EPR_DATABASE_URL", &database.url)]).await;
    for other in [json!({"Records": []}), json!({"httpMethod": "GET", "path": "/healthz", "requestContext": {}})] {
        assert_eq!(function.invoke(&other).await, None, "{other}");
        let line = function.function.wait_for_log("invocation_failed").await;
        assert!(line["extra"]["error"].as_str().is_some_and(|error| error.contains("payload format 2.0")), "{line}");
    }
    assert_eq!(send(&function, "GET", "/api/v1/roles", &Value::Null).await, (200, json!([])));
}

/// From the start of the program to the answer to its first request, in the runtime for local use.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_start_answers_within_its_time() {
    let database = Database::create(DatabaseKind::Postgres).await;
    let (code, ..) = epr(&database.url, &["migrate"]).await;
    assert_eq!(code, 0);
    let begun = std::time::Instant::now();
    let function = function(&[("EPR_DATABASE_URL", &database.url), ("RUN_MIGRATIONS", "false")]).await;
    let started = begun.elapsed();
    assert_eq!(send(&function, "GET", "/api/v1/roles", &Value::Null).await, (200, json!([])));
    let answered = begun.elapsed();
    println!("runtime and program started in {started:?}, first answer after {answered:?}");
    // Generous: a build for tests on a machine that does other things.
    assert!(answered < Duration::from_secs(20), "{answered:?}");
}
