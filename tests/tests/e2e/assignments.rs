//! `/api/v1/assignments`, line by line of the contract.

use epr_testkit::api::{Api, id_of};
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::json;

const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";
const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_is_created_listed_and_revoked(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("S", "spv", None).await;
    let role = api.role("Reader", &["spv"], &["document:download"]).await;
    let body = json!({"principal_id": USER, "role_id": role, "entity_id": spv,
            "effective_at": "2025-01-01T01:00:00+01:00", "expires_at": "2099-01-01T00:00:00"});
    let made = api.post("/api/v1/assignments", body.clone()).await.expect(201);
    let mut keys: Vec<_> = made.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        [
            "created_at",
            "effective_at",
            "entity_id",
            "expires_at",
            "id",
            "principal_id",
            "principal_type",
            "role_id",
            "updated_at"
        ]
    );
    assert_eq!(made["principal_type"], "user");
    assert_eq!(made["effective_at"], "2025-01-01T00:00:00.000000Z");
    assert_eq!(made["expires_at"], "2099-01-01T00:00:00.000000Z");
    // A second request for an assignment returns the existing one, whatever else the request contains.
    let mut later = body;
    later["expires_at"] = json!("2050-01-01T00:00:00Z");
    assert_eq!(api.post("/api/v1/assignments", later).await.expect(201), made);
    // Another principal type is another principal.
    let service = json!({"principal_id": USER, "principal_type": "service", "role_id": role, "entity_id": spv});
    let service = api.post("/api/v1/assignments", service).await.expect(201);
    let global = api.post("/api/v1/assignments", json!({"principal_id": USER, "role_id": role})).await.expect(201);
    assert_eq!(
        api.post("/api/v1/assignments", json!({"principal_id": USER, "role_id": role, "entity_id": null}))
            .await
            .expect(201),
        global
    );
    assert_eq!((&global["entity_id"], &global["expires_at"]), (&json!(null), &json!(null)));

    assert_eq!(api.get("/api/v1/assignments").await.expect(200), json!([global, service, made]));
    assert_eq!(
        api.get(&format!("/api/v1/assignments?principal_id={USER}&entity_id={spv}")).await.expect(200),
        json!([service, made])
    );
    assert_eq!(api.get(&format!("/api/v1/assignments?principal_id={UNKNOWN}")).await.expect(200), json!([]));

    let id = id_of(&made);
    for written in [id.clone(), id.to_uppercase(), id.replace('-', "")] {
        assert_eq!(api.get(&format!("/api/v1/assignments/{written}")).await.expect(200), made);
    }
    let gone = api.delete(&format!("/api/v1/assignments/{}", id.to_uppercase())).await.expect(200);
    assert_eq!(gone, json!({"status": "revoked", "assignment_id": id}));
    for again in
        [api.delete(&format!("/api/v1/assignments/{id}")).await, api.get(&format!("/api/v1/assignments/{id}")).await]
    {
        assert_eq!(again.expect(404), json!({"detail": format!("Assignment {id} not found")}));
    }
    assert_eq!(api.get("/api/v1/assignments/x").await.field_errors(), ["path.id: uuid_parsing"]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_that_does_not_fit_is_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("S", "spv", None).await;
    let role = api.role("Issuers only", &["issuer", "agent"], &["a:do"]).await;
    let post = async |body| api.post("/api/v1/assignments", body).await;
    let unknown_role = post(json!({"principal_id": USER, "role_id": UNKNOWN, "entity_id": spv})).await;
    assert_eq!(unknown_role.expect(404)["detail"], format!("Role {UNKNOWN} not found"));
    let unknown_entity = post(json!({"principal_id": USER, "role_id": role, "entity_id": UNKNOWN})).await;
    assert_eq!(unknown_entity.expect(400)["detail"], format!("Entity {UNKNOWN} not found for assignment"));
    let wrong_type = post(json!({"principal_id": USER, "role_id": role, "entity_id": spv})).await;
    assert_eq!(wrong_type.expect(400)["detail"], "Role Issuers only cannot be assigned to entity type spv");
    for (from, to) in
        [("2030-01-01T00:00:00Z", "2030-01-01T00:00:00Z"), ("2030-01-01T00:00:00Z", "2029-01-01T00:00:00Z")]
    {
        let backwards =
            post(json!({"principal_id": USER, "role_id": role, "effective_at": from, "expires_at": to})).await;
        assert_eq!(backwards.field_errors(), ["body.expires_at: value_error"]);
    }
    // Without effective_at, now counts.
    let past = post(json!({"principal_id": USER, "role_id": role, "expires_at": "2020-01-01T00:00:00Z"})).await;
    assert_eq!(past.field_errors(), ["body.expires_at: value_error"]);
    let all_wrong = post(
        json!({"principal_id": 5, "principal_type": "", "entity_id": "x", "effective_at": "soon", "expires_at": true}),
    )
    .await;
    assert_eq!(
        all_wrong.field_errors(),
        [
            "body.principal_id: uuid_parsing",
            "body.principal_type: string_too_short",
            "body.role_id: missing",
            "body.entity_id: uuid_parsing",
            "body.effective_at: datetime_parsing",
            "body.expires_at: datetime_type"
        ]
    );
    assert_eq!(api.get("/api/v1/assignments").await.expect(200), json!([]));
}
