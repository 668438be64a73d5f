//! `/api/v1/events` without a topic, line by line of the contract.

use std::collections::BTreeSet;

use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::{Value, json};

const EVENTS: &str = "/api/v1/events";

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_accepted_and_read_back(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let made = api
        .post(
            EVENTS,
            json!({
                "event_type": "document.uploaded", "source": "document-vault", "payload": {"b": 1.0, "a": []},
                "context": {"ip": "::1"}, "correlation_id": "c-1", "occurred_at": "2026-01-01T01:00:00+01:00",
                "schema_version": "v2",
            }),
        )
        .await
        .expect(201);
    let mut keys: Vec<_> = made.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys,
        [
            "context",
            "correlation_id",
            "created_at",
            "delivery_attempts",
            "delivery_state",
            "event_id",
            "event_type",
            "id",
            "last_error",
            "occurred_at",
            "payload",
            "schema_version",
            "source",
            "updated_at"
        ]
    );
    assert_eq!(
        (&made["delivery_state"], &made["delivery_attempts"], &made["last_error"]),
        (&json!("succeeded"), &json!(1), &Value::Null)
    );
    assert_eq!(made["occurred_at"], "2026-01-01T00:00:00.000000Z");
    assert_eq!(made["payload"].to_string(), r#"{"a":[],"b":1.0}"#);
    let path = format!("{EVENTS}/{}", made["event_id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.expect(200), made);
    let bare = api.post(EVENTS, json!({"event_type": "a.b", "source": "document-vault"})).await.expect(201);
    assert_eq!(
        (&bare["payload"], &bare["context"], &bare["correlation_id"], &bare["schema_version"]),
        (&json!({}), &json!({}), &Value::Null, &json!("v1"))
    );
    assert_eq!(api.get(EVENTS).await.expect(200), json!([bare, made]), "newest occurred_at first");
    assert_eq!(api.get(&format!("{EVENTS}?event_type=a.b&source=document-vault")).await.expect(200), json!([bare]));
    assert_eq!(api.get(&format!("{EVENTS}?source=nobody")).await.expect(200), json!([]));
    let first = format!("{EVENTS}?limit=1");
    let page = api.get(&first).await;
    let next = page.next_page(&first).unwrap();
    assert_eq!(page.expect(200), json!([bare]));
    assert_eq!(api.get(&next).await.expect(200), json!([made]));
    let unknown = "11111111-2222-4333-8444-555555555555";
    assert_eq!(
        api.get(&format!("{EVENTS}/{unknown}")).await.expect(404)["detail"],
        format!("Event {unknown} not found")
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repeated_event_returns_the_first(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let body = json!({"event_type": "a.b", "source": "vault", "correlation_id": "c", "payload": {"n": 1}});
    let first = api.post(EVENTS, body.clone()).await.expect(201);
    let mut other = body.clone();
    other["payload"] = json!({"n": 2});
    assert_eq!(api.post(EVENTS, other.clone()).await.expect(201), first);
    other["source"] = json!("another");
    assert_ne!(api.post(EVENTS, other).await.expect(201)["event_id"], first["event_id"]);
    // Without a correlation id each is its own.
    let bare = json!({"event_type": "a.b", "source": "vault"});
    assert_ne!(
        api.post(EVENTS, bare.clone()).await.expect(201)["event_id"],
        api.post(EVENTS, bare).await.expect(201)["event_id"]
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_equal_events_at_once_are_one_event(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let tasks: Vec<_> = (0..50)
        .map(|n| {
            let api = api.clone();
            tokio::spawn(async move {
                let body = json!({"event_type": "a.b", "source": "vault", "correlation_id": "c", "payload": {"n": n}});
                api.post(EVENTS, body).await.expect(201)["event_id"].to_string()
            })
        })
        .collect();
    let mut ids = BTreeSet::new();
    for task in tasks {
        ids.insert(task.await.unwrap());
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(api.get(EVENTS).await.expect(200).as_array().unwrap().len(), 1);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalid_events_are_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    assert_eq!(api.post(EVENTS, json!({})).await.field_errors(), ["body.event_type: missing", "body.source: missing"]);
    let wrong = json!({"event_type": "ab", "source": "x".repeat(129), "payload": [], "context": "x",
            "correlation_id": "c".repeat(129),
            "occurred_at": "never", "schema_version": "v".repeat(17)});
    assert_eq!(
        api.post(EVENTS, wrong).await.field_errors(),
        [
            "body.event_type: string_too_short",
            "body.source: string_too_long",
            "body.payload: dict_type",
            "body.context: dict_type",
            "body.correlation_id: string_too_long",
            "body.occurred_at: datetime_parsing",
            "body.schema_version: string_too_long"
        ]
    );
    let large = |bytes: usize| json!({"event_type": "a.b", "source": "vault", "payload": {"x": "y".repeat(bytes)}});
    assert_eq!(api.post(EVENTS, large(256 * 1024)).await.field_errors(), ["body: too_large"]);
    api.post(EVENTS, large(255 * 1024)).await.expect(201);
    assert_eq!(api.get(&format!("{EVENTS}?limit=201")).await.field_errors(), ["query.limit: less_than_equal"]);
    assert_eq!(
        api.get(&format!("{EVENTS}?limit=0&source=")).await.field_errors(),
        ["query.limit: greater_than_equal"],
        "an empty filter is none"
    );
    assert_eq!(api.get(EVENTS).await.expect(200).as_array().unwrap().len(), 1);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_write_their_events(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let user = "aaaaaaaa-0000-4000-8000-000000000001";
    let spv = api.entity("S", "spv", None).await;
    let other = api.entity("O", "spv", None).await;
    let role = api.role("Reader", &[], &[]).await;
    let held = api
        .post("/api/v1/assignments", json!({"principal_id": user, "role_id": role, "entity_id": spv}))
        .await
        .expect(201);
    api.post("/api/v1/assignments", json!({"principal_id": user, "role_id": role, "entity_id": spv})).await.expect(201);
    api.delete(&format!("/api/v1/assignments/{}", held["id"].as_str().unwrap())).await.expect(200);
    api.patch(&format!("/api/v1/roles/{role}"), json!({"description": "d"})).await.expect(200);
    api.patch(&format!("/api/v1/roles/{role}"), json!({"description": "d"})).await.expect(200);
    api.post(&format!("/api/v1/entities/{spv}/archive"), json!({})).await.expect(200);
    api.post(&format!("/api/v1/entities/{spv}/archive"), json!({})).await.expect(200);
    api.patch(&format!("/api/v1/entities/{other}"), json!({"status": "archived"})).await.expect(200);
    let mut events = api.get(EVENTS).await.expect(200).as_array().unwrap().clone();
    events.reverse();
    let reported: Vec<_> =
        events.iter().map(|event| (event["event_type"].as_str().unwrap(), event["payload"].clone())).collect();
    let changed = |change: &str| {
        json!({
            "principal_id": user, "principal_type": "user", "role_id": role, "entity_id": spv, "change": change,
        })
    };
    assert_eq!(
        reported,
        [
            ("role.assignment.changed", changed("created")),
            ("role.assignment.changed", changed("revoked")),
            ("role.updated", json!({"role_id": role})),
            ("entity.archived", json!({"entity_id": spv, "entity_type": "spv"})),
            ("entity.archived", json!({"entity_id": other, "entity_type": "spv"}))
        ]
    );
    assert!(
        events
            .iter()
            .all(|event| event["source"] == "entity_permissions_core" && event["delivery_state"] == "succeeded")
    );
}
