//! Misspelt members and query parameters: a 400 that names what was meant, and nothing granted. Headers that are given
//! twice.

use std::sync::Arc;

use axum::http::Method;
use epr_core::clock::SystemClock;
use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::{Value, json};

const USER: &str = "11111111-2222-4333-8444-555555555555";

/// Starts an API on this database with another `EPR_UNKNOWN_MEMBERS`.
async fn under(api: &Api, mode: &str) -> Api {
    Api::with_settings(Arc::clone(&api.database), Arc::new(SystemClock), &[("EPR_UNKNOWN_MEMBERS", mode)]).await
}

/// The loc and the message of each failing field.
fn named(body: &Value) -> Vec<(String, String)> {
    let list = body["detail"].as_array().expect("a list");
    list.iter().map(|error| (error["loc"].to_string(), error["msg"].as_str().unwrap().to_owned())).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misspelt_member_grants_nothing(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("Berlin One", "spv", None).await;
    let role = api.role("Reader", &[], &["document:download"]).await;
    let cases = [
        ("entity", Some("entity_id")),
        ("expire_at", Some("expires_at")),
        ("entityId", Some("entity_id")),
        ("principal_typ", Some("principal_type")),
        ("comment", None),
    ];
    for (given, meant) in cases {
        let mut body = json!({"principal_id": USER, "role_id": role});
        body[given] = json!(spv);
        let named = named(&api.post("/api/v1/assignments", body).await.expect(400));
        assert_eq!(named.len(), 1);
        assert_eq!(named[0].0, format!("[\"body\",\"{given}\"]"));
        assert_eq!(named[0].1.contains("did you mean"), meant.is_some(), "{named:?}");
        assert!(meant.is_none_or(|meant| named[0].1.contains(&format!("`{meant}`"))), "{named:?}");
    }
    assert_eq!(api.get("/api/v1/assignments").await.expect(200), json!([]));
    let both = api.post("/api/v1/entities", json!({"name": "n", "type": "spv", "parent": spv, "colour": 1})).await;
    assert_eq!(both.field_errors(), ["body.colour: extra_forbidden", "body.parent: extra_forbidden"]);
    let scope = api.post("/api/v1/roles", json!({"name": "Other", "scope_type": ["spv"]})).await.expect(400);
    assert!(named(&scope)[0].1.contains("`scope_types`"), "{scope}");
    let path = format!("/api/v1/entities/{spv}");
    let patched = api.patch(&path, json!({"atributes": {}})).await.expect(400);
    assert!(named(&patched)[0].1.contains("`attributes`"), "{patched}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn routes_that_ignored_unknown_members_still_ignore_them(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("Berlin One", "spv", None).await;
    let role = api.role("Reader", &[], &["document:download"]).await;
    api.patch(&format!("/api/v1/roles/{role}"), json!({"name": "Other", "descriptio": "x"})).await.expect(200);
    api.post("/api/v1/authorize", json!({"user_id": USER, "action": "a:b", "resource_id": spv, "x": 1}))
        .await
        .expect(200);
    api.post("/api/v1/permissions/check", json!({"principal_id": USER, "action": "a:b", "resource_id": spv, "x": 1}))
        .await
        .expect(200);
    api.post("/api/v1/events", json!({"event_type": "a.b.c", "source": "vault", "x": 1})).await.expect(201);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_accepts_the_members_of_the_older_service(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let warned = under(&api, "warn").await;
    let answer = warned.post("/api/v1/entities", json!({"name": "a", "type": "spv", "colour": 1, "größe": 2})).await;
    assert_eq!(answer.headers["epr-ignored"], "colour, gr\\u{f6}\\u{df}e");
    answer.expect(201);
    let clean = warned.post("/api/v1/entities", json!({"name": "b", "type": "spv"})).await;
    assert!(!clean.headers.contains_key("epr-ignored"));
    clean.expect(201);
    let silent = under(&api, "ignore").await;
    let answer = silent.post("/api/v1/roles", json!({"name": "Reader", "colour": 1})).await;
    assert!(!answer.headers.contains_key("epr-ignored"));
    answer.expect(201);
    silent.post("/api/v1/entities", json!({"nam": "c", "type": "spv"})).await.expect(400);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_misspelt_condition_is_refused_under_every_setting(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = api.role("Reader", &[], &["document:download"]).await;
    for mode in ["reject", "warn", "ignore"] {
        let api = under(&api, mode).await;
        for misspelt in ["conditions", "condtion", "Condition"] {
            let mut body = json!({"principal_id": USER, "role_id": role});
            body[misspelt] = json!({"expression": "false"});
            let answer = api.post("/api/v1/assignments", body).await;
            assert_eq!(answer.field_errors(), [format!("body.{misspelt}: extra_forbidden")], "{mode}");
        }
        let answer = api.post("/api/v1/principals", json!({"external_id": "x", "Status": "suspended"})).await;
        assert_eq!(answer.field_errors(), ["body.Status: extra_forbidden"], "{mode}");
    }
    assert_eq!(api.get("/api/v1/assignments").await.expect(200), json!([]));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_name_a_parameter_they_do_not_know(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let cases = [
        ("/api/v1/entities?typ=spv", "typ", "`type`"),
        ("/api/v1/entities?parent=1", "parent", "`parent_id`"),
        ("/api/v1/roles?limt=1", "limt", "`limit`"),
        ("/api/v1/assignments?principal=1", "principal", "`principal_id`"),
        ("/api/v1/events?event_typ=x", "event_typ", "`event_type`"),
        ("/api/v1/audit/entries?occured_from=x", "occured_from", "`occurred_from`"),
    ];
    for (path, given, meant) in cases {
        let named = named(&api.get(path).await.expect(400));
        assert_eq!(named.len(), 1, "{path}");
        assert_eq!(named[0].0, format!("[\"query\",\"{given}\"]"));
        assert!(named[0].1.contains(meant), "{named:?}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_actor_is_named_once(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let other = USER.replace('1', "9");
    for second in [other.as_str(), USER, "nonsense"] {
        let twice = [("x-actor-id", USER), ("x-actor-id", second)];
        let body = json!({"name": "n", "type": "spv"}).to_string();
        let answer = api.raw(Method::POST, "/api/v1/entities", &twice, body).await;
        assert_eq!(answer.field_errors(), ["header.X-Actor-Id: duplicate"]);
    }
    assert_eq!(api.get("/api/v1/entities").await.expect(200), json!([]));
}
