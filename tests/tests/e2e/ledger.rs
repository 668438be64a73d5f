//! The entries that the service records about itself, and the interface that reads them.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::Method;
use epr_core::settings::{Settings, Source};
use epr_core::{Call, Epr};
use epr_testkit::api::{Api, id_of};
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const ACTOR: &str = "bbbbbbbb-0000-4000-8000-000000000002";
const ENTRIES: &str = "/api/v1/audit/entries";

/// One of everything, in order, by one actor.
async fn story(api: &Api) -> (String, String, String) {
    let headers = [("x-actor-id", ACTOR), ("x-request-id", "story-1")];
    let send =
        async |method: Method, path: String, body: Value| api.raw(method, &path, &headers, body.to_string()).await.body;
    let spv = id_of(
        &send(Method::POST, "/api/v1/entities".into(), json!({"name": "S", "type": "spv", "attributes": {"ü": 1.0}}))
            .await,
    );
    send(Method::PATCH, format!("/api/v1/entities/{spv}"), json!({"name": "T", "attributes": {}})).await;
    let role =
        id_of(&send(Method::POST, "/api/v1/roles".into(), json!({"name": "Reader", "permissions": ["a:read"]})).await);
    send(Method::PATCH, format!("/api/v1/roles/{role}"), json!({"permissions": ["a:read", "a:write"]})).await;
    let held = id_of(
        &send(
            Method::POST,
            "/api/v1/assignments".into(),
            json!({"principal_id": USER, "role_id": role, "entity_id": spv}),
        )
        .await,
    );
    send(Method::POST, "/api/v1/authorize".into(), json!({"user_id": USER, "action": "a:read", "resource_id": spv}))
        .await;
    send(Method::DELETE, format!("/api/v1/assignments/{held}"), Value::Null).await;
    send(Method::POST, format!("/api/v1/entities/{spv}/archive"), Value::Null).await;
    (spv, role, held)
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mutation_and_decision_is_recorded(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (spv, role, held) = story(&api).await;
    let entries = api.get(&format!("{ENTRIES}?order=asc")).await.expect(200);
    let entries = entries.as_array().unwrap();
    let actions: Vec<_> = entries.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    assert_eq!(
        actions,
        [
            "entity.create",
            "entity.update",
            "role.create",
            "role.update",
            "role_assignment.create",
            "authorization.evaluate",
            "role_assignment.delete",
            "entity.archive"
        ]
    );
    for (at, entry) in entries.iter().enumerate() {
        let mut keys: Vec<_> = entry.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(
            keys,
            [
                "action",
                "actor_id",
                "actor_type",
                "correlation_id",
                "details",
                "entity_id",
                "entity_type",
                "entry_hash",
                "event_id",
                "hash_version",
                "occurred_at",
                "previous_hash",
                "sequence",
                "source"
            ]
        );
        assert_eq!(entry["sequence"], json!(at + 1));
        assert_eq!(
            (&entry["actor_id"], &entry["actor_type"], &entry["correlation_id"]),
            (&json!(ACTOR), &json!("user"), &json!("story-1"))
        );
        assert_eq!(
            (&entry["source"], &entry["hash_version"], &entry["event_id"]),
            (&json!("entity_permissions_core"), &json!(1), &Value::Null)
        );
        let before = if at == 0 { "0".repeat(64) } else { entries[at - 1]["entry_hash"].as_str().unwrap().to_owned() };
        assert_eq!(entry["previous_hash"], json!(before));
    }
    assert_eq!(
        entries[0]["details"].to_string(),
        r#"{"attributes":{"ü":1.0},"name":"S","parent_id":null,"status":"active","type":"spv"}"#
    );
    assert_eq!(entries[1]["details"], json!({"changes": {"name": "T", "attributes": {}}}));
    assert_eq!((&entries[2]["entity_id"], &entries[2]["entity_type"]), (&json!(role), &json!("role")));
    assert_eq!(entries[3]["details"]["changes"], json!({"permissions": ["a:read", "a:write"]}));
    assert_eq!(
        (&entries[4]["entity_id"], &entries[4]["entity_type"], &entries[4]["details"]["assignment_id"]),
        (&json!(spv), &json!("spv"), &json!(held))
    );
    assert_eq!(
        entries[5]["details"],
        json!({"principal_id": USER, "principal_type": "user", "action": "a:read", "resource_id": spv,
            "authorized": true, "reason": "granted", "assignment_id": held, "revision": 5})
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_changes_nothing_records_nothing(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (spv, role, _) = story(&api).await;
    let count = || async { api.get(ENTRIES).await.expect(200).as_array().unwrap().len() };
    let before = count().await;
    api.post(&format!("/api/v1/entities/{spv}/archive"), json!({})).await.expect(200);
    api.patch(&format!("/api/v1/entities/{spv}"), json!({"name": "T"})).await.expect(200);
    api.patch(&format!("/api/v1/roles/{role}"), json!({})).await.expect(200);
    api.post("/api/v1/entities", json!({"name": "T", "type": "spv"})).await.expect(409);
    api.post("/api/v1/roles", json!({"name": "Reader"})).await.expect(409);
    api.delete("/api/v1/assignments/11111111-2222-4333-8444-555555555555").await.expect(404);
    api.post("/api/v1/authorize", json!({"user_id": USER, "action": "a:b", "resource_id": USER})).await.expect(404);
    let body = json!({"principal_id": USER, "role_id": role});
    api.post("/api/v1/assignments", body.clone()).await.expect(201);
    assert_eq!(count().await, before + 1);
    api.post("/api/v1/assignments", body).await.expect(201);
    assert_eq!(count().await, before + 1);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn entries_are_filtered_ordered_and_paged(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (spv, role, held) = story(&api).await;
    let sequences = async |query: &str| -> Vec<i64> {
        let body = api.get(&format!("{ENTRIES}?{query}")).await.expect(200);
        body.as_array().unwrap().iter().map(|entry| entry["sequence"].as_i64().unwrap()).collect()
    };
    assert_eq!(sequences("").await, [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(sequences("order=asc").await, [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(sequences("action=entity.update").await, [2]);
    assert_eq!(sequences(&format!("entity_id={spv}&entity_type=spv")).await, [8, 7, 6, 5, 2, 1]);
    assert_eq!(sequences(&format!("entity_id={role}")).await, [4, 3]);
    assert_eq!(sequences("entity_type=role&order=asc").await, [3, 4]);
    assert_eq!(sequences(&format!("actor_id={}", ACTOR.to_uppercase())).await.len(), 8);
    assert_eq!(sequences(&format!("actor_id={USER}")).await, [0; 0]);
    assert_eq!(sequences(&format!("principal_id={USER}")).await, [7, 5], "the grant and the revocation");
    assert_eq!(sequences(&format!("principal_id={USER}&action=role_assignment.delete")).await, [7]);
    assert_eq!(sequences(&format!("principal_id={ACTOR}")).await.len(), 8, "what it did");
    assert_eq!(sequences(&format!("assignment_id={held}&order=asc")).await, [5, 7]);
    assert_eq!(sequences(&format!("assignment_id={spv}")).await, [0; 0]);
    assert_eq!(sequences(&format!("assignment_id={held}&principal_id={USER}&to_sequence=6")).await, [5]);
    assert_eq!(sequences("source=entity_permissions_core&correlation_id=story-1").await.len(), 8);
    assert_eq!(sequences("source=other").await, [0; 0]);
    assert_eq!(sequences(&format!("event_id={USER}")).await, [0; 0]);
    assert_eq!(sequences("from_sequence=3&to_sequence=5").await, [5, 4, 3]);
    let all = api.get(&format!("{ENTRIES}?order=asc")).await.expect(200);
    let at = |n: usize| all[n]["occurred_at"].as_str().unwrap().to_owned();
    assert_eq!(sequences(&format!("occurred_from={}&occurred_to={}", at(2), at(4))).await, [5, 4, 3]);
    for order in ["asc", "desc"] {
        let mut next = Some(format!("{ENTRIES}?limit=3&entity_id={spv}&order={order}"));
        let mut seen = Vec::new();
        while let Some(path) = next {
            let page = api.get(&path).await;
            seen.extend(page.body.as_array().unwrap().iter().map(|entry| entry["sequence"].as_i64().unwrap()));
            next = page.next_page(&path);
        }
        let expected = if order == "asc" { [1, 2, 5, 6, 7, 8] } else { [8, 7, 6, 5, 2, 1] };
        assert_eq!(seen, expected);
    }
    let ids = "actor_id=me&principal_id=x&assignment_id=x";
    let errors = api
        .get(&format!("{ENTRIES}?order=up&{ids}&occurred_from=x&from_sequence=0&limit=0&cursor=x&action=%00"))
        .await
        .field_errors();
    let fields: BTreeSet<_> = errors.iter().map(|error| error.split(':').next().unwrap()).collect();
    assert_eq!(
        fields,
        BTreeSet::from([
            "query.order",
            "query.actor_id",
            "query.principal_id",
            "query.assignment_id",
            "query.occurred_from",
            "query.from_sequence",
            "query.limit",
            "query.cursor",
            "query.action"
        ])
    );
    api.raw(Method::DELETE, ENTRIES, &[], "").await.expect(405);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_whose_entry_cannot_be_written_does_not_happen(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("before", "spv", None).await;
    let role = api.role("Reader", &[], &["a:read"]).await;
    // The head row is the ledger's lock: without it nothing can be appended.
    api.database.execute("CREATE TABLE kept AS SELECT * FROM audit_chain_head").await.unwrap();
    api.database.execute("DELETE FROM audit_chain_head").await.unwrap();
    let down = json!({"detail": "The service is temporarily unavailable"});
    assert_eq!(api.post("/api/v1/entities", json!({"name": "after", "type": "spv"})).await.expect(503), down);
    assert_eq!(api.patch(&format!("/api/v1/entities/{spv}"), json!({"name": "after"})).await.expect(503), down);
    assert_eq!(api.post(&format!("/api/v1/entities/{spv}/archive"), json!({})).await.expect(503), down);
    assert_eq!(
        api.post("/api/v1/roles", json!({"name": "Other", "permissions": ["never:seen"]})).await.expect(503),
        down
    );
    assert_eq!(
        api.patch(&format!("/api/v1/roles/{role}"), json!({"permissions": ["never:seen"]})).await.expect(503),
        down
    );
    assert_eq!(api.post("/api/v1/assignments", json!({"principal_id": USER, "role_id": role})).await.expect(503), down);
    assert_eq!(
        api.post("/api/v1/authorize", json!({"user_id": USER, "action": "a:b", "resource_id": spv})).await.expect(503),
        down
    );
    assert_eq!(api.get("/api/v1/entities").await.expect(200).as_array().unwrap().len(), 1);
    assert_eq!(api.get(&format!("/api/v1/entities/{spv}")).await.expect(200)["name"], "before");
    assert_eq!(api.get("/api/v1/roles").await.expect(200)[0]["permissions"], json!(["a:read"]));
    assert_eq!(api.get("/api/v1/assignments").await.expect(200), json!([]));
    assert_eq!(api.database.number("SELECT COUNT(*) FROM permissions WHERE action = 'never:seen'").await, 0);
    api.database.execute("INSERT INTO audit_chain_head SELECT * FROM kept").await.unwrap();
    api.entity("after", "spv", None).await;
}

#[tokio::test]
async fn which_decisions_are_recorded_is_a_setting() {
    for (setting, expected) in [("all", 2), ("denied", 1), ("off", 0)] {
        let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
        let source = Source::of([("EPR_DATABASE_URL", database.url.as_str()), ("EPR_AUDIT_DECISIONS", setting)]);
        let epr = Epr::from_settings(&Settings::from_source(&source).unwrap()).await.unwrap();
        epr.start(true).await.unwrap();
        let call = Call::default();
        let new = epr_core::domain::NewEntity::new("S".try_into().unwrap(), epr_core::domain::EntityType::Spv);
        let spv = epr.create_entity(&call, new).await.unwrap();
        let new = epr_core::domain::NewRole::new("Reader".parse().unwrap()).permission("a:read".parse().unwrap());
        let role = epr.create_role(&call, new).await.unwrap();
        let user = USER.parse().unwrap();
        epr.assign(&call, epr_core::domain::NewAssignment::new(user, role.id)).await.unwrap();
        for action in ["a:read", "a:write"] {
            let question = epr_core::decision::Question::new(user, action.try_into().unwrap(), spv.id);
            assert_eq!(epr.check(&call, &question).await.unwrap().allowed, action == "a:read");
        }
        assert_eq!(
            database.number("SELECT COUNT(*) FROM audit_logs WHERE action = 'authorization.evaluate'").await,
            expected,
            "{setting}"
        );
    }
}
