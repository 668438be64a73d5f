//! Conditions in checks: the context of a question, what it decides, what the ledger says about it, what is refused.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use epr_core::clock::SystemClock;
use epr_core::ledger::canonical::entry_hash;
use epr_testkit::api::{Api, until_cached};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::wait;
use rstest::rstest;
use serde_json::{Value, json};

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// A resource, and `pay:invoice` on it for [`USER`] up to an amount of 1000.
async fn limited(api: &Api) -> String {
    let spv = api.entity("SPV", "spv", None).await;
    let role = api.role("Payer", &[], &["pay:invoice"]).await;
    let condition = json!({"expression": "context.amount <= 1000", "parameters": {"amount": "int"}});
    let new = json!({"principal_id": USER, "role_id": role, "entity_id": spv, "condition": condition});
    api.post("/api/v1/assignments", new).await.expect(201);
    spv
}

fn question(resource: &str, context: &Value) -> Value {
    json!({"user_id": USER, "principal_id": USER, "action": "pay:invoice", "resource_id": resource, "context": context})
}

/// Whether both routes allow it.
async fn allowed(api: &Api, resource: &str, context: Value) -> bool {
    let body = question(resource, &context);
    let authorized = api.post("/api/v1/authorize", body.clone()).await.expect(200);
    let checked = api.post("/api/v1/permissions/check", body).await.expect(200);
    assert_eq!(authorized["authorized"], checked["allowed"]);
    authorized["authorized"].as_bool().unwrap()
}

/// The details of the newest decision.
async fn newest_details(api: &Api) -> Value {
    let entries = api.get("/api/v1/audit/entries?action=authorization.evaluate&limit=1").await.expect(200);
    entries[0]["details"].clone()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_context_decides_evaluated_and_cached_alike(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    until_cached(&api.epr).await;
    let spv = limited(&api).await;
    // The first round evaluates, the second answers from the residual.
    for _ in 0..2 {
        assert!(allowed(&api, &spv, json!({"amount": 1000})).await);
        assert!(!allowed(&api, &spv, json!({"amount": 1001})).await);
        assert!(!allowed(&api, &spv, json!({"other": 1})).await);
        assert!(!allowed(&api, &spv, Value::Null).await);
        let refused = api.post("/api/v1/authorize", question(&spv, &json!({"amount": "1000"}))).await.expect(400);
        assert_eq!(refused["detail"][0]["loc"], json!(["body", "context", "amount"]), "{refused}");
        assert_eq!(refused["detail"][0]["type"], "parameter_type", "{refused}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn attributes_decide_at_once_after_they_change(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    until_cached(&api.epr).await;
    let spv = api.entity("SPV", "spv", None).await;
    let role = json!({"name": "Reader", "permissions": ["pay:invoice"],
        "conditions": {"pay:invoice": {"expression": "resource.attributes.level <= principal.attributes.clearance"}}});
    let role = api.post("/api/v1/roles", role).await.expect(201);
    api.post("/api/v1/assignments", json!({"principal_id": USER, "role_id": role["id"]})).await.expect(201);
    assert!(!allowed(&api, &spv, Value::Null).await, "nothing is registered of either");
    assert_eq!(newest_details(&api).await["reason"], "context_missing");
    let principal = json!({"id": USER, "attributes": {"clearance": 2}});
    api.post("/api/v1/principals", principal).await.expect(201);
    let (entity, principal) = (format!("/api/v1/entities/{spv}"), format!("/api/v1/principals/{USER}?type=user"));
    for (path, attributes, expected) in [
        (&entity, json!({"level": 2}), true),
        (&entity, json!({"level": 3}), false),
        (&principal, json!({"clearance": 3}), true),
        (&principal, json!({"clearance": 1}), false),
        (&entity, json!({}), false),
    ] {
        // Cached before the change.
        allowed(&api, &spv, Value::Null).await;
        api.patch(path, json!({"attributes": attributes})).await.expect(200);
        assert_eq!(allowed(&api, &spv, Value::Null).await, expected, "{path} {attributes}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_external_id_of_the_resource_decides_at_once_after_it_changes(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    until_cached(&api.epr).await;
    let spv = api.entity("SPV", "spv", None).await;
    let role = api.role("Payer", &[], &["pay:invoice"]).await;
    let condition = json!({"expression": "resource.external_id == 'e-1'"});
    let new = json!({"principal_id": USER, "role_id": role, "condition": condition});
    api.post("/api/v1/assignments", new).await.expect(201);
    let path = format!("/api/v1/entities/{spv}");
    for (external_id, expected) in
        [(json!("e-1"), true), (json!("e-2"), false), (json!("e-1"), true), (Value::Null, false)]
    {
        // Cached before the change.
        allowed(&api, &spv, Value::Null).await;
        api.patch(&path, json!({"external_id": external_id})).await.expect(200);
        assert_eq!(allowed(&api, &spv, Value::Null).await, expected, "{external_id}");
    }
    // A change by another program, which writes no entry, is noticed too.
    allowed(&api, &spv, Value::Null).await;
    api.database.execute("UPDATE entities SET external_id = 'e-1'").await.unwrap();
    // By one route: the change may arrive between two calls.
    let body = question(&spv, &Value::Null);
    let authorized = async || api.post("/api/v1/authorize", body.clone()).await.expect(200)["authorized"] == true;
    wait::until("the change", authorized).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_has_the_hash_of_the_context_or_the_values_and_of_other_decisions_nothing(
    #[case] kind: DatabaseKind,
) {
    let api = Api::start(kind).await;
    let spv = limited(&api).await;
    assert!(allowed(&api, &spv, json!({"amount": 7, "b": "ü"})).await);
    let details = newest_details(&api).await;
    let hash = entry_hash("", r#"{"amount":7,"b":"\u00fc"}"#);
    assert_eq!((&details["context_sha256"], &details["parameters"]), (&json!(hash), &json!(["amount"])));
    assert_eq!((details["reason"].as_str(), details.get("context")), (Some("granted"), None));

    // Another action is held by nobody: no condition is looked at.
    let mut other = question(&spv, &json!({"amount": 7}));
    other["action"] = json!("pay:other");
    api.post("/api/v1/authorize", other).await.expect(200);
    let members: Vec<_> = newest_details(&api).await.as_object().unwrap().keys().cloned().collect();
    let today = [
        "action",
        "assignment_id",
        "authorized",
        "principal_id",
        "principal_type",
        "reason",
        "resource_id",
        "revision",
    ];
    assert_eq!(members, today);

    let settings = [("EPR_AUDIT_CONTEXT", "values"), ("EPR_AUDIT_DECISIONS", "every")];
    let values = Api::with_settings(Arc::clone(&api.database), Arc::new(SystemClock), &settings).await;
    until_cached(&values.epr).await;
    for cached in [Value::Null, json!(true)] {
        values.post("/api/v1/authorize", question(&spv, &json!({"amount": 1001, "b": "secret"}))).await.expect(200);
        let details = newest_details(&values).await;
        assert_eq!((&details["context"], &details["parameters"]), (&json!({"amount": 1001}), &json!(["amount"])));
        assert_eq!((details["reason"].as_str(), details.get("context_sha256")), (Some("condition_not_met"), None));
        assert_eq!(details["cached"], cached, "{details}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_context_that_is_no_object_or_too_large_is_refused_with_every_other_field(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = limited(&api).await;
    let text = |bytes: usize| json!({"a": "x".repeat(bytes - r#"{"a":""}"#.len())});
    assert!(!allowed(&api, &spv, text(64 * 1024)).await);
    for (context, kind) in [
        (json!([]), "dict_type"),
        (json!("x"), "dict_type"),
        (json!(1), "dict_type"),
        (text(64 * 1024 + 1), "too_large"),
        (json!({"a": "\u{0}"}), "string_nul"),
    ] {
        let mut body = question(&spv, &context);
        body["action"] = json!("");
        for path in ["/api/v1/authorize", "/api/v1/permissions/check"] {
            let refused = api.post(path, body.clone()).await.expect(400);
            let found: Vec<_> = refused["detail"].as_array().unwrap().iter().map(|one| one["loc"].clone()).collect();
            assert_eq!(found, [json!(["body", "action"]), json!(["body", "context"])], "{refused}");
            assert_eq!(refused["detail"][1]["type"], kind);
        }
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_condition_of_a_later_version_denies_and_is_counted(#[case] kind: DatabaseKind) {
    // Written past the service, and asked at once.
    let database = Arc::new(Database::create(kind).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), &[("EPR_GRAPH", "off")]).await;
    let spv = limited(&api).await;
    let later = r#"UPDATE role_assignments SET condition = '{"expression":"x.later()","parameters":{}}'"#;
    api.database.execute(later).await.unwrap();
    assert!(!allowed(&api, &spv, json!({"amount": 1})).await);
    assert_eq!(newest_details(&api).await["reason"], "condition_error");
    let (_, _, metrics) = api.text(Request::get("/metrics").body(Body::empty()).unwrap()).await;
    assert!(metrics.contains("epr_condition_errors_total 2\n"), "{metrics}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_takes_a_context_as_json_or_from_a_file(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = limited(&api).await;
    let cli = Cli::on(&api.database.url);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("context.json");
    std::fs::write(&file, r#"{"amount": 1001}"#).unwrap();
    for (context, code) in [(r#"{"amount": 1000}"#, 0), (file.to_str().unwrap(), 1), ("[]", 2), ("/no/such/file", 2)] {
        let answer = cli.run(&["check", USER, "pay:invoice", &spv, "--context", context]).await;
        assert_eq!(answer.code, code, "{context}");
    }
}
