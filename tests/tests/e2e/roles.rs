//! `/api/v1/roles`, line by line of the contract.

use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::json;

const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_is_created_read_and_listed(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let body = json!({"name": "Reader", "description": "reads", "scope_types": ["spv", "issuer", "spv"],
            "permissions": ["zeta:do", "document:download", "Alpha:do", "zeta:do"]});
    let made = api.post("/api/v1/roles", body).await.expect(201);
    let mut keys: Vec<_> = made.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(
        keys,
        ["created_at", "description", "id", "is_system", "name", "permissions", "scope_types", "updated_at"]
    );
    assert_eq!(made["permissions"], json!(["Alpha:do", "document:download", "zeta:do"]));
    assert_eq!(made["scope_types"], json!(["spv", "issuer"]));
    assert_eq!(made["is_system"], json!(false));
    let bare = api.post("/api/v1/roles", json!({"name": "Bare"})).await.expect(201);
    assert_eq!(
        (&bare["description"], &bare["permissions"], &bare["scope_types"]),
        (&json!(null), &json!([]), &json!([]))
    );
    let path = format!("/api/v1/roles/{}", made["id"].as_str().unwrap());
    assert_eq!(api.get(&path).await.expect(200), made);
    assert_eq!(api.get("/api/v1/roles").await.expect(200), json!([bare, made]));
    let page = api.get("/api/v1/roles?limit=1").await;
    assert!(page.headers.contains_key("link"));
    assert_eq!(page.expect(200), json!([bare]));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_role_name_is_unique(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.role("Reader", &[], &[]).await;
    let again = api.post("/api/v1/roles", json!({"name": "Reader"})).await.expect(409);
    assert_eq!(again, json!({"detail": "Role 'Reader' already exists"}));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patch_replaces_the_given_lists(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let id = api.role("Editor", &["spv"], &["a:one", "b:two"]).await;
    let path = format!("/api/v1/roles/{id}");
    let before = api.get(&path).await.expect(200);
    assert_eq!(api.patch(&path, json!({"permissions": ["b:two", "a:one"]})).await.expect(200), before);
    let after = api.patch(&path, json!({"permissions": ["c:new", "a:one"], "description": "d"})).await.expect(200);
    assert_eq!(after["permissions"], json!(["a:one", "c:new"]));
    assert_eq!(after["scope_types"], json!(["spv"]));
    assert_eq!(after["description"], "d");
    let emptied =
        api.patch(&path, json!({"permissions": [], "scope_types": [], "description": null})).await.expect(200);
    assert_eq!(
        (&emptied["permissions"], &emptied["scope_types"], &emptied["description"]),
        (&json!([]), &json!([]), &json!("d")),
        "null changes nothing"
    );
    assert_eq!(api.get(&path).await.expect(200), emptied);
    let errors = api
        .patch(&path, json!({"name": "New", "is_system": true, "permissions": ["ab", 7], "scope_types": "spv"}))
        .await;
    assert_eq!(
        errors.field_errors(),
        ["body.scope_types: list_type", "body.permissions.0: string_too_short", "body.permissions.1: string_type"]
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_roles_and_values_out_of_bounds_are_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for answer in [
        api.get(&format!("/api/v1/roles/{UNKNOWN}")).await,
        api.patch(&format!("/api/v1/roles/{UNKNOWN}"), json!({})).await,
    ] {
        assert_eq!(answer.expect(404)["detail"], format!("Role {UNKNOWN} not found"));
    }
    let long = json!({"name": "x".repeat(121), "description": "d".repeat(513), "permissions": ["p".repeat(256)]});
    assert_eq!(
        api.post("/api/v1/roles", long).await.field_errors(),
        ["body.name: string_too_long", "body.description: string_too_long", "body.permissions.0: string_too_long"]
    );
    api.post(
        "/api/v1/roles",
        json!({"name": "ü".repeat(120), "description": "ü".repeat(512), "permissions": ["ü".repeat(255)]}),
    )
    .await
    .expect(201);
    assert_eq!(api.post("/api/v1/roles", json!({"name": "ab"})).await.field_errors(), ["body.name: string_too_short"]);
}
