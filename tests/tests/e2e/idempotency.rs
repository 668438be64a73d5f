//! `Idempotency-Key`: a creation that is repeated is carried out once and gets its first answer, whatever happens in
//! between.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request};
use epr_core::authn::token;
use epr_core::clock::{Clock as _, ManualClock, SystemClock};
use epr_core::domain::Timestamp;
use epr_testkit::api::{Api, id_of};
use epr_testkit::aws;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::issuer::{AUDIENCE, Answers, ISSUER, Issuer, SigningKey, claims, key_set};
use epr_testkit::process::Process;
use epr_testkit::wait;
use futures_util::future::join_all;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::net::TcpListener;

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const KEY: &str = "0b8f1c7e-3f57-4d43-9d0e-6a5d6b1c9a55";

/// The status, the headers and the bytes of a POST with this key.
async fn post(api: &Api, path: &str, key: &str, body: &Value) -> (u16, HeaderMap, Vec<u8>) {
    let request = Request::post(path).header("content-type", "application/json").header("idempotency-key", key);
    api.bytes(request.body(Body::from(body.to_string())).unwrap()).await
}

fn is_replayed(headers: &HeaderMap) -> bool {
    headers.get("idempotency-replayed").is_some_and(|value| value == "true")
}

fn detail(bytes: &[u8]) -> String {
    serde_json::from_slice::<Value>(bytes).unwrap()["detail"].as_str().unwrap().to_owned()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_creation_is_carried_out_once_and_answers_alike(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = api.role("Reader", &[], &["a:read"]).await;
    let event = json!({"event_type": "document.uploaded", "source": "vault", "payload": {"n": 1.50}});
    for (path, body) in [
        ("/api/v1/entities", json!({"name": "Ä", "type": "spv", "attributes": {"b": 1, "a": 2}})),
        ("/api/v1/roles", json!({"name": "Writer", "permissions": ["a:write"]})),
        ("/api/v1/assignments", json!({"principal_id": USER, "role_id": role})),
        ("/api/v1/principals", json!({"display_name": "Ada", "external_id": "auth0|17"})),
        ("/api/v1/events", event.clone()),
        ("/api/v1/events", json!({"event_type": "a.b", "source": "vault", "correlation_id": "c"})),
    ] {
        let key = format!("{path}{}", body["correlation_id"]);
        let (status, headers, first) = post(&api, path, &key, &body).await;
        assert_eq!((status, is_replayed(&headers)), (201, false), "{path}: {}", String::from_utf8_lossy(&first));
        let entries = api.database.number("SELECT COUNT(*) FROM audit_logs").await;
        for _ in 0..2 {
            let (status, headers, again) = post(&api, path, &key, &body).await;
            assert_eq!((status, is_replayed(&headers)), (201, true), "{path}");
            assert_eq!(headers["content-type"], "application/json");
            assert_eq!(again, first, "{path}");
        }
        assert_eq!(api.database.number("SELECT COUNT(*) FROM audit_logs").await, entries, "{path}");
        // The order of the members is not part of a request, but every value is.
        let mut other = body.clone();
        other["name"] = json!("Other");
        let (status, headers, refused) = post(&api, path, &key, &other).await;
        assert_eq!((status, is_replayed(&headers)), (409, false), "{path}");
        assert!(detail(&refused).contains("another body"), "{path}: {}", detail(&refused));
    }
    for (table, count) in [("entities", 1), ("roles", 2), ("role_assignments", 1), ("principals", 1)] {
        assert_eq!(api.database.number(&format!("SELECT COUNT(*) FROM {table}")).await, count, "{table}");
    }
    assert_eq!(api.database.number("SELECT COUNT(*) FROM platform_events WHERE source = 'vault'").await, 2);
    // An event that had been ingested before is answered as such, also by a repeat.
    let duplicate = json!({"event_type": "a.b", "source": "vault", "correlation_id": "c", "payload": {"n": 2}});
    for replayed in [false, true] {
        let (status, headers, _) = post(&api, "/api/v1/events", "duplicate", &duplicate).await;
        assert_eq!(
            (status, is_replayed(&headers), headers["epr-duplicate"].as_bytes()),
            (201, replayed, &b"true; differs"[..])
        );
    }
    // One key is another key for each creation.
    let one = json!({"name": "One", "type": "spv"});
    assert_eq!(post(&api, "/api/v1/entities", KEY, &one).await.0, 201);
    let (status, headers, _) = post(&api, "/api/v1/roles", KEY, &json!({"name": "One role"})).await;
    assert_eq!((status, is_replayed(&headers)), (201, false));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_creation_keeps_nothing(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let taken = api.entity("Taken", "spv", None).await;
    let body = json!({"name": "Taken", "type": "spv"});
    let (status, _, bytes) = post(&api, "/api/v1/entities", KEY, &body).await;
    assert_eq!((status, detail(&bytes)), (409, "Entity 'Taken' of type 'spv' already exists".into()));
    assert_eq!(api.database.number("SELECT COUNT(*) FROM idempotency_keys").await, 0);
    api.patch(&format!("/api/v1/entities/{taken}"), json!({"name": "Moved"})).await.expect(200);
    // The same request now succeeds, and another one under the key would have.
    let (status, headers, _) = post(&api, "/api/v1/entities", KEY, &body).await;
    assert_eq!((status, is_replayed(&headers)), (201, false));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_is_not_valid_is_refused_with_the_other_errors() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let long = "k".repeat(256);
    let send = async |path: &str, headers: &[(&str, &str)], body: &str| {
        api.raw(Method::POST, path, headers, body.to_owned()).await.field_errors()
    };
    for path in ["entities", "roles", "assignments", "principals", "events"] {
        let path = format!("/api/v1/{path}");
        for (key, error) in [("", "string_too_short"), (&long, "string_too_long"), ("a b", "string_characters")] {
            let errors = send(&path, &[("idempotency-key", key)], "{}").await;
            let expected = format!("header.Idempotency-Key: {error}");
            assert!(errors.contains(&expected), "{path} {key:?}: {errors:?}");
            let alone = matches!(path.as_str(), "/api/v1/principals");
            assert!(errors.len() > 1 || alone, "{path}: the errors of the body are reported too: {errors:?}");
        }
        let twice = [("idempotency-key", "a"), ("idempotency-key", "a")];
        let errors = send(&path, &twice, "{}").await;
        assert!(errors.contains(&"header.Idempotency-Key: duplicate".to_owned()), "{path}: {errors:?}");
    }
    assert_eq!(api.database.number("SELECT COUNT(*) FROM idempotency_keys").await, 0);
    // A body that cannot be read is reported, and a key with it keeps nothing.
    let errors = send("/api/v1/entities", &[("idempotency-key", "k"), ("x-actor-id", "me")], "{").await;
    assert_eq!(errors, ["header.X-Actor-Id: uuid_parsing", "body: json_invalid"]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn twenty_at_once_create_one_entity_and_get_the_same_answer(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    // Two processes: nothing but the database knows both.
    let apis = [Api::on(Arc::clone(&database)).await, Api::on(Arc::clone(&database)).await];
    let body = json!({"name": "Once", "type": "spv"});
    let calls = (0..20).map(|n| {
        let (api, body) = (apis[n % 2].clone(), body.clone());
        tokio::spawn(async move { post(&api, "/api/v1/entities", KEY, &body).await })
    });
    let answers: Vec<_> = join_all(calls).await.into_iter().map(|answer| answer.unwrap()).collect();
    for (status, _, bytes) in &answers {
        assert_eq!((*status, bytes), (201, &answers[0].2), "{}", String::from_utf8_lossy(bytes));
    }
    assert_eq!(answers.iter().filter(|(_, headers, _)| !is_replayed(headers)).count(), 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM entities").await, 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM audit_logs WHERE action = 'entity.create'").await, 1);
    // Of different bodies under one key, one is created and the others are refused.
    let calls = (0..20).map(|n| {
        let (api, body) = (apis[n % 2].clone(), json!({"name": format!("Other {n}"), "type": "spv"}));
        tokio::spawn(async move { post(&api, "/api/v1/entities", "other", &body).await.0 })
    });
    let mut statuses: Vec<_> = join_all(calls).await.into_iter().map(|status| status.unwrap()).collect();
    statuses.sort_unstable();
    assert_eq!((statuses[0], &statuses[1..]), (201, &[409; 19][..]));
    assert_eq!(database.number("SELECT COUNT(*) FROM entities").await, 2);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_answer_whatever_changed_since(#[case] kind: DatabaseKind) {
    let start = Timestamp::parse("2026-03-01T00:00:00Z").unwrap();
    let clock = Arc::new(ManualClock::new(start));
    let api = Api::with_clock(Arc::new(Database::create(kind).await), clock.clone()).await;
    let role = api.role("Reader", &[], &["a:read"]).await;
    let body = json!({"principal_id": USER, "role_id": role, "expires_at": "2026-03-01T01:00:00Z"});
    let (status, _, first) = post(&api, "/api/v1/assignments", KEY, &body).await;
    assert_eq!(status, 201);
    let made = id_of(&serde_json::from_slice(&first).unwrap());
    api.delete(&format!("/api/v1/assignments/{made}")).await.expect(200);
    // Revoked, and by now its end would be refused.
    clock.advance_micros(2 * 3_600_000_000);
    let (status, headers, again) = post(&api, "/api/v1/assignments", KEY, &body).await;
    assert_eq!((status, is_replayed(&headers), &again), (201, true, &first));
    assert_eq!(api.database.number("SELECT COUNT(*) FROM role_assignments").await, 0, "it is not assigned again");
    // After a day the key is a new one.
    clock.advance_micros(22 * 3_600_000_000 + 1);
    let (status, ..) = post(&api, "/api/v1/assignments", KEY, &body).await;
    assert_eq!(status, 400);
    let later = json!({"principal_id": USER, "role_id": role});
    let (status, headers, _) = post(&api, "/api/v1/assignments", KEY, &later).await;
    assert_eq!((status, is_replayed(&headers)), (201, false));
}

#[tokio::test]
async fn keys_belong_to_their_callers() {
    let tokens = [token::mint().unwrap(), token::mint().unwrap()];
    let list: Vec<_> = tokens
        .iter()
        .enumerate()
        .map(|(n, token)| {
            let sha256 = token::hex(&token::hash(token).unwrap());
            // The same actor: a key belongs to the credential.
            json!({"name": format!("caller {n}"), "sha256": sha256, "scopes": ["epr:write"], "actor_id": USER})
        })
        .collect();
    let list = Value::from(list).to_string();
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let environment = [("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", list.as_str()), ("EPR_UNKNOWN_MEMBERS", "warn")];
    let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
    let send = async |token: &str, name: &str| {
        let bearer = format!("Bearer {token}");
        let headers = [("authorization", bearer.as_str()), ("idempotency-key", KEY)];
        let body = json!({"name": name, "type": "spv", "colour": "red"}).to_string();
        api.raw(Method::POST, "/api/v1/entities", &headers, body).await
    };
    let first = send(&tokens[0], "One").await;
    let other = send(&tokens[1], "Two").await;
    let again = send(&tokens[0], "One").await;
    assert_eq!((is_replayed(&other.headers), is_replayed(&again.headers)), (false, true));
    for answer in [&first, &other, &again] {
        assert_eq!((answer.status.as_u16(), answer.headers["epr-ignored"].as_bytes()), (201, &b"colour"[..]));
    }
    assert_eq!(again.body, first.body);
    assert_ne!(other.body["id"], first.body["id"]);
    send(&tokens[1], "One").await.expect(409);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_without_a_name_has_no_keys() {
    let key = SigningKey::ed("e");
    let issuer = Issuer::start(Answers::Document(key_set(&[&key]))).await;
    let environment = [
        ("EPR_AUTH_MODE", "jwt"),
        ("EPR_JWT_ISSUER", ISSUER),
        ("EPR_JWT_AUDIENCE", AUDIENCE),
        ("EPR_JWT_JWKS_URL", issuer.url.as_str()),
    ];
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
    let send = async |sub: Option<&str>, keyed: bool, name: &str| {
        let mut claims = claims(SystemClock.now().unix_micros() / 1_000_000, "epr:write");
        match sub {
            Some(sub) => claims["sub"] = sub.into(),
            None => drop(claims.as_object_mut().unwrap().remove("sub")),
        }
        let bearer = format!("Bearer {}", key.sign(&claims));
        let mut headers = vec![("authorization", bearer.as_str())];
        headers.extend(keyed.then_some(("idempotency-key", KEY)));
        let body = json!({"name": name, "type": "spv"}).to_string();
        api.raw(Method::POST, "/api/v1/entities", &headers, body).await
    };
    for sub in [None, Some(""), Some("\u{7}")] {
        let errors = send(sub, true, "One").await.field_errors();
        assert_eq!(errors, ["header.Idempotency-Key: caller_unnamed"], "{sub:?}");
    }
    send(None, false, "Without a key").await.expect(201);
    let first = send(Some("vault"), true, "One").await;
    let other = send(Some("portal"), true, "Two").await;
    let again = send(Some("vault"), true, "One").await;
    assert_eq!((is_replayed(&other.headers), is_replayed(&again.headers)), (false, true));
    assert_eq!(again.body, first.body);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_service_removes_answers_whose_day_is_over(#[case] kind: DatabaseKind) {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-03-01T00:00:00Z").unwrap()));
    let database = Arc::new(Database::create(kind).await);
    let api = Api::with_clock(Arc::clone(&database), clock.clone()).await;
    let create =
        async |n: u32| post(&api, "/api/v1/principals", &format!("{n}"), &json!({"display_name": "Ada"})).await.0;
    assert_eq!(create(1).await, 201);
    clock.advance_micros(12 * 3_600_000_000);
    assert_eq!(create(2).await, 201);
    clock.advance_micros(12 * 3_600_000_000 + 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM idempotency_keys").await, 2);
    // A process looks when it starts, and every few minutes. No creation follows.
    let _other = Api::with_clock(Arc::clone(&database), clock.clone()).await;
    wait::until("the first answer to be removed", async || {
        database.number("SELECT COUNT(*) FROM idempotency_keys").await == 1
    })
    .await;
    assert_eq!(database.number("SELECT COUNT(*) FROM idempotency_keys WHERE idempotency_key = '2'").await, 1);
}

/// The answer is withheld by a topic that does not respond, so that the process can be killed after its commit.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeat_gets_the_answer_of_a_process_that_was_killed_before_it_answered(#[case] kind: DatabaseKind) {
    let database = Database::create(kind).await;
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let mut environment = aws::environment(&endpoint).to_vec();
    environment.push(("EPR_DATABASE_URL", &database.url));
    environment.push(("EPR_DOCUMENT_VAULT_TOPIC_ARN", "arn:aws:sns:us-east-1:123456789012:silent"));
    let (process, base) = Process::api(&environment).await;
    let http = reqwest::Client::new();
    let send = |base: &str, path: &str, body: &Value| {
        let request = http.post(format!("{base}/api/v1/{path}")).header("idempotency-key", KEY);
        request.header("content-type", "application/json").body(body.to_string()).send()
    };
    let role = json!({"name": "Reader", "permissions": ["a:read"]});
    let role = send(&base, "roles", &role).await.unwrap().bytes().await.unwrap();
    let role: Value = serde_json::from_slice(&role).unwrap();
    let body = json!({"principal_id": USER, "role_id": role["id"]});
    let unanswered = tokio::spawn(send(&base, "assignments", &body));
    let kept = "SELECT COUNT(*) FROM idempotency_keys WHERE creation = 'assignment' AND answer IS NOT NULL";
    wait::until("a committed assignment", async || database.number(kept).await == 1).await;
    process.signal("KILL").await;
    process.wait_for_exit().await;
    assert!(unanswered.await.unwrap().is_err(), "the first call was answered");

    environment.retain(|(name, _)| *name != "EPR_DOCUMENT_VAULT_TOPIC_ARN");
    let (process, base) = Process::api(&environment).await;
    let answer = send(&base, "assignments", &body).await.unwrap();
    assert_eq!((answer.status().as_u16(), is_replayed(answer.headers())), (201, true));
    let made: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    let read = http.get(format!("{base}/api/v1/assignments/{}", id_of(&made))).send().await.unwrap();
    assert_eq!(serde_json::from_slice::<Value>(&read.bytes().await.unwrap()).unwrap(), made);
    assert_eq!(database.number("SELECT COUNT(*) FROM role_assignments").await, 1);
    assert_eq!(database.number("SELECT COUNT(*) FROM audit_logs WHERE action = 'role_assignment.create'").await, 1);
    drop(process);
}
