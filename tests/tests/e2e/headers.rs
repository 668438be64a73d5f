//! Headers that the service reads: malformed, empty and given twice.

use axum::body::Body;
use axum::http::{Method, Request};
use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::json;

const USER: &str = "11111111-2222-4333-8444-555555555555";
const ACTOR: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// Values that do not name one actor.
const NO_ACTOR: [&[&str]; 5] = [&["nobody"], &[""], &[ACTOR, ACTOR], &[ACTOR, USER], &["", ACTOR]];

fn actors(values: &[&'static str]) -> Vec<(&'static str, &'static str)> {
    values.iter().map(|value| ("x-actor-id", *value)).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_and_events_ignore_what_is_not_one_actor(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("Berlin One", "spv", None).await;
    let cases = [
        ("/api/v1/authorize", json!({"user_id": USER, "action": "a:b", "resource_id": spv}), 200),
        ("/api/v1/permissions/check", json!({"principal_id": USER, "action": "a:c", "resource_id": spv}), 200),
        ("/api/v1/events", json!({"event_type": "a.b.c", "source": "vault"}), 201),
    ];
    for (path, body, status) in &cases {
        for values in NO_ACTOR {
            api.raw(Method::POST, path, &actors(values), body.to_string()).await.expect(*status);
        }
    }
    let path = "/api/v1/audit/entries?action=authorization.evaluate";
    let entries = api.get(path).await.expect(200);
    assert!(entries.as_array().unwrap().iter().all(|entry| entry["actor_id"] == USER), "{entries}");
    // One that is well formed counts.
    let body = json!({"user_id": USER, "action": "a:d", "resource_id": spv}).to_string();
    api.raw(Method::POST, "/api/v1/authorize", &[("x-actor-id", ACTOR)], body).await.expect(200);
    assert_eq!(api.get(path).await.expect(200)[0]["actor_id"], ACTOR);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_refuse_what_is_not_one_actor(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for values in NO_ACTOR {
        let kind = if values.len() == 1 { "uuid_parsing" } else { "duplicate" };
        for (method, path) in [(Method::POST, "/api/v1/entities"), (Method::POST, "/api/v1/roles")] {
            let body = json!({"name": "Some name", "type": "spv"});
            let answer = api.raw(method, path, &actors(values), body.to_string()).await;
            assert!(answer.field_errors().contains(&format!("header.X-Actor-Id: {kind}")), "{path} {values:?}");
        }
    }
    assert_eq!(api.get("/api/v1/entities").await.expect(200), json!([]));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_header_that_is_read_is_given_once(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let body = json!({"name": "n", "type": "spv"}).to_string();
    let cases = [("X-Request-ID", "one"), ("Content-Type", "application/json")];
    for (name, value) in cases {
        let twice = [(name, value), (name, value)];
        let answer = api.raw(Method::POST, "/api/v1/entities", &twice, body.clone()).await;
        assert_ne!(answer.headers["x-request-id"], value);
        assert_eq!(answer.field_errors(), [format!("header.{name}: duplicate")]);
    }
    let twice = [("x-request-id", "one"), ("x-request-id", "other")];
    assert_eq!(
        api.raw(Method::GET, "/api/v1/roles", &twice, "").await.field_errors(),
        ["header.X-Request-ID: duplicate"]
    );
    assert_eq!(api.get("/api/v1/entities").await.expect(200), json!([]));
    // A header that an operation does not read is not validated.
    for name in ["accept", "authorization", "user-agent", "x-forwarded-for", "traceparent", "epr-unknown"] {
        let request = Request::get("/api/v1/roles").header(name, "a").header(name, "b");
        assert_eq!(api.send(request.body(Body::empty()).unwrap()).await.status, 200, "{name}");
    }
}
