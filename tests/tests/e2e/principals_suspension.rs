//! Suspension: a suspended principal is denied everything, at once and on every process, and nothing of it is lost.

use std::sync::Arc;

use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::wait;
use rstest::rstest;
use serde_json::json;

const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";

async fn set_status(api: &Api, id: &str, status: &str) {
    api.patch(&format!("/api/v1/principals/{id}"), json!({"status": status})).await.expect(200);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspended_principal_is_denied_everything_until_it_is_active_again(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (spv, role) = (api.entity("S", "spv", None).await, api.role("Reader", &[], &["document:download"]).await);
    for principal_type in ["user", "service"] {
        api.post("/api/v1/principals", json!({"id": ADA, "type": principal_type})).await.expect(201);
        for entity in [json!(null), json!(spv)] {
            let body =
                json!({"principal_id": ADA, "principal_type": principal_type, "role_id": role, "entity_id": entity});
            api.post("/api/v1/assignments", body).await.expect(201);
        }
    }
    let asks = async |principal_type: &str| {
        let question = json!({
            "user_id": ADA, "action": "document:download", "resource_id": spv, "principal_type": principal_type,
        });
        api.post("/api/v1/authorize", question).await.expect(200)["authorized"].as_bool().unwrap()
    };
    for _ in 0..2 {
        assert!(asks("user").await, "decided, and then from the cache");
    }
    for _ in 0..3 {
        set_status(&api, ADA, "suspended").await;
        assert!(!asks("user").await, "its own process denies at once");
        assert!(!asks("user").await, "also from the cache");
        assert!(asks("service").await, "the same id of another type is another principal");
        set_status(&api, ADA, "active").await;
        assert!(asks("user").await, "its assignments are as they were");
    }
    let reasons = api.get("/api/v1/audit/entries?action=authorization.evaluate").await.expect(200).to_string();
    assert!(reasons.contains("\"reason\":\"principal_suspended\""), "{reasons}");
    // A registration can suspend a principal that has assignments.
    let ben = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a02";
    api.post("/api/v1/assignments", json!({"principal_id": ben, "role_id": role})).await.expect(201);
    assert!(api.authorized(ben, "document:download", &spv).await);
    api.post("/api/v1/principals", json!({"id": ben, "status": "suspended"})).await.expect(201);
    assert!(!api.authorized(ben, "document:download", &spv).await);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_suspension_reaches_another_process_as_a_revocation_does(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let (api, other) = (Api::on(Arc::clone(&database)).await, Api::on(database).await);
    let (spv, role) = (api.entity("S", "spv", None).await, api.role("Reader", &[], &["document:download"]).await);
    api.post("/api/v1/principals", json!({"id": ADA})).await.expect(201);
    api.post("/api/v1/assignments", json!({"principal_id": ADA, "role_id": role, "entity_id": spv})).await.expect(201);
    let asks = async || other.authorized(ADA, "document:download", &spv).await;
    for _ in 0..5 {
        wait::until("the other process allows", asks).await;
        assert!(asks().await, "from its cache");
        set_status(&api, ADA, "suspended").await;
        wait::until("the other process denies", async || !asks().await).await;
        assert!(!asks().await, "and goes on to deny");
        set_status(&api, ADA, "active").await;
    }
}
