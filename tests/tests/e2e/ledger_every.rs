//! `EPR_AUDIT_DECISIONS=every`: answers from the cache are in the ledger, too, and none follows the change it
//! contradicts.

use std::sync::Arc;

use epr_core::clock::SystemClock;
use epr_testkit::api::{Api, id_of};
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const OTHER: &str = "aaaaaaaa-0000-4000-8000-000000000002";

async fn decisions(api: &Api) -> Vec<Value> {
    let page = api.get("/api/v1/audit/entries?order=asc&limit=100&action=authorization.evaluate").await.expect(200);
    page.as_array().unwrap().clone()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cached_answers_are_recorded(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), &[("EPR_AUDIT_DECISIONS", "every")]).await;
    let spv = api.entity("S", "spv", None).await;
    let role = api.role("Reader", &[], &["a:read"]).await;
    let grant = |user: &str| json!({"principal_id": user, "role_id": role, "entity_id": spv});
    let held = id_of(&api.post("/api/v1/assignments", grant(USER)).await.expect(201));
    for _ in 0..3 {
        assert!(api.authorized(USER, "a:read", &spv).await);
    }
    let recorded = decisions(&api).await;
    let cached: Vec<_> = recorded.iter().map(|entry| entry["details"]["cached"] == json!(true)).collect();
    assert_eq!(cached, [false, true, true]);
    for entry in &recorded {
        assert_eq!((&entry["entity_type"], &entry["actor_id"]), (&json!("spv"), &json!(USER)));
        assert_eq!(entry["details"]["assignment_id"], json!(held));
        assert_eq!(entry["details"]["revision"], recorded[0]["details"]["revision"]);
    }

    // The registry changes for another principal: the cached answer is evaluated once more, at the new revision.
    let other = api.post("/api/v1/assignments", grant(OTHER)).await.expect(201);
    assert!(api.authorized(USER, "a:read", &spv).await);
    assert!(api.authorized(USER, "a:read", &spv).await);
    let recorded = decisions(&api).await;
    let newest: Vec<_> = recorded[3..].iter().map(|entry| &entry["details"]).collect();
    assert_eq!((newest.len(), &newest[0]["cached"], &newest[1]["cached"]), (2, &Value::Null, &json!(true)));
    assert!(newest[0]["revision"].as_i64() > recorded[0]["details"]["revision"].as_i64());
    api.delete(&format!("/api/v1/assignments/{}", id_of(&other))).await.expect(200);

    api.delete(&format!("/api/v1/assignments/{held}")).await.expect(200);
    for _ in 0..2 {
        assert!(!api.authorized(USER, "a:read", &spv).await);
    }
    let recorded = decisions(&api).await;
    assert_eq!(recorded.len(), 7);
    assert_eq!(
        (&recorded[6]["details"]["reason"], &recorded[6]["details"]["cached"]),
        (&json!("no_assignment"), &json!(true))
    );
}
