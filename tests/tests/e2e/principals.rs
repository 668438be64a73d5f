//! `/api/v1/principals`, line by line of the contract: registration, lists, changes, suspension, and assignments by
//! external id.

use std::collections::BTreeSet;
use std::sync::Arc;

use epr_client::Error;
use epr_core::domain::assignment::PrincipalType;
use epr_core::domain::{AssignmentRequest, NewAssignment, NewPrincipal, PrincipalFilter, PrincipalPatch};
use epr_core::store::collect_into;
use epr_testkit::api::{Api, id_of};
use epr_testkit::database::{Database, DatabaseKind};
use futures_util::TryStreamExt as _;
use rstest::rstest;
use serde_json::{Value, json};

const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";
const ADA: &str = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a01";

/// The newest ledger entries with this action, newest first.
async fn entries(api: &Api, action: &str) -> Vec<Value> {
    let found = api.get(&format!("/api/v1/audit/entries?action={action}")).await.expect(200);
    found.as_array().unwrap().clone()
}

/// The types of all events, oldest first, with their payloads.
async fn events(api: &Api) -> Vec<(String, Value)> {
    let found = api.get("/api/v1/events?limit=200").await.expect(200);
    let mut found: Vec<_> = found.as_array().unwrap().clone();
    found.reverse();
    found.iter().map(|event| (event["event_type"].as_str().unwrap().to_owned(), event["payload"].clone())).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn registration_returns_the_whole_principal(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let made = api
        .post("/api/v1/principals", json!({"external_id": "auth0|17", "display_name": "Ada", "attributes": {"b": 1}}))
        .await
        .expect(201);
    let keys: BTreeSet<&str> = made.as_object().unwrap().keys().map(String::as_str).collect();
    let expected =
        ["attributes", "created_at", "display_name", "erased_at", "external_id", "id", "status", "type", "updated_at"];
    assert_eq!(keys, BTreeSet::from(expected));
    assert_eq!((&made["type"], &made["status"], &made["erased_at"]), (&json!("user"), &json!("active"), &json!(null)));
    let id = id_of(&made);
    assert_eq!(api.get(&format!("/api/v1/principals/{id}")).await.expect(200), made);
    let upper = format!("/api/v1/principals/{}?type=user", id.to_uppercase());
    assert_eq!(api.get(&upper).await.expect(200), made);
    // The same id of another type is another principal.
    let service = json!({"id": ADA, "type": "service"});
    let user = json!({"id": ADA, "status": "suspended", "external_id": null, "display_name": null, "attributes": {}});
    assert_eq!(id_of(&api.post("/api/v1/principals", service).await.expect(201)), ADA);
    assert_eq!(api.post("/api/v1/principals", user).await.expect(201)["status"], "suspended");
    let read = api.get(&format!("/api/v1/principals/{ADA}?type=service")).await.expect(200);
    assert_eq!(
        (&read["type"], &read["attributes"], &read["status"]),
        (&json!("service"), &json!({}), &json!("active"))
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_and_external_ids_are_unique_within_their_type(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let first = json!({"id": ADA, "external_id": "ada"});
    api.post("/api/v1/principals", first.clone()).await.expect(201);
    let detail = |body: Value| body["detail"].as_str().unwrap().to_owned();
    let again = detail(api.post("/api/v1/principals", json!({"id": ADA})).await.expect(409));
    assert_eq!(again, format!("Principal {ADA} of type 'user' already exists"));
    let taken = detail(api.post("/api/v1/principals", json!({"external_id": "ada"})).await.expect(409));
    assert!(taken.contains("external id") && !taken.contains("ada"), "an error names no personal field: {taken}");
    api.post("/api/v1/principals", json!({"external_id": "ada", "type": "service"})).await.expect(201);
    for other in ["Ada", "ada ", "ad\u{e1}"] {
        api.post("/api/v1/principals", json!({"external_id": other})).await.expect(201);
    }
    let other = id_of(&api.post("/api/v1/principals", json!({"external_id": "ben"})).await.expect(201));
    let path = format!("/api/v1/principals/{other}");
    api.patch(&path, json!({"external_id": "ada"})).await.expect(409);
    api.patch(&path, json!({"external_id": "ben"})).await.expect(200);
    // `null` removes it, and frees it for another.
    assert_eq!(api.patch(&path, json!({"external_id": null})).await.expect(200)["external_id"], json!(null));
    api.post("/api/v1/principals", json!({"external_id": "ben"})).await.expect(201);
}

#[tokio::test]
async fn every_failing_field_is_named() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let bad = json!({
        "id": "x", "type": "", "external_id": "", "display_name": "n".repeat(256), "attributes": [], "status": "gone",
        "nickname": "a",
    });
    let mut errors = api.post("/api/v1/principals", bad).await.field_errors();
    errors.sort();
    assert_eq!(
        errors,
        [
            "body.attributes: dict_type",
            "body.display_name: string_too_long",
            "body.external_id: string_too_short",
            "body.id: uuid_parsing",
            "body.nickname: extra_forbidden",
            "body.status: enum",
            "body.type: string_too_short",
        ]
    );
    let long = |text: String| api.post("/api/v1/principals", json!({"external_id": text}));
    long("ä".repeat(512)).await.expect(201);
    assert_eq!(long("ä".repeat(513)).await.field_errors(), ["body.external_id: string_too_long"]);
    assert_eq!(long("a\0b".to_owned()).await.field_errors(), ["body.external_id: string_nul"]);
    let immutable = api.patch(&format!("/api/v1/principals/{ADA}"), json!({"id": ADA, "type": "service"})).await;
    assert_eq!(immutable.field_errors(), ["body.id: extra_forbidden", "body.type: extra_forbidden"]);
    let long = "t".repeat(65);
    let query = api.get(&format!("/api/v1/principals/{ADA}?type={long}")).await;
    assert_eq!(query.field_errors(), ["query.type: string_too_long"]);
    api.get(&format!("/api/v1/principals/{ADA}?type=")).await.expect(404);
    let list = api.get("/api/v1/principals?status=gone&name=x&limit=0").await;
    let mut errors = list.field_errors();
    errors.sort();
    assert_eq!(errors, ["query.limit: greater_than_equal", "query.name: extra_forbidden", "query.status: enum"]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unregistered_principals_are_not_found(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.post("/api/v1/principals", json!({"id": UNKNOWN, "type": "service"})).await.expect(201);
    for answer in [
        api.get(&format!("/api/v1/principals/{UNKNOWN}")).await,
        api.patch(&format!("/api/v1/principals/{UNKNOWN}?type=user"), json!({"status": "suspended"})).await,
        api.post(&format!("/api/v1/principals/{UNKNOWN}/erase"), json!({})).await,
    ] {
        assert_eq!(answer.expect(404), json!({"detail": format!("Principal {UNKNOWN} not found")}));
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_newest_first_in_pages_and_filtered(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for n in 0..7 {
        let (kind, status) = if n % 2 == 0 { ("user", "active") } else { ("service", "suspended") };
        let new = json!({"external_id": format!("e{n}"), "type": kind, "status": status, "display_name": "Ü"});
        api.post("/api/v1/principals", new).await.expect(201);
    }
    let ids = |rows: &Value| -> Vec<String> {
        rows.as_array().unwrap().iter().map(|row| row["external_id"].as_str().unwrap().to_owned()).collect()
    };
    let all = api.get("/api/v1/principals").await.expect(200);
    assert_eq!(ids(&all), ["e6", "e5", "e4", "e3", "e2", "e1", "e0"]);
    let (mut path, mut walked) = ("/api/v1/principals?limit=3&type=user".to_owned(), Vec::new());
    loop {
        let page = api.get(&path).await;
        let next = page.next_page(&path);
        walked.extend(ids(&page.expect(200)));
        let Some(next) = next else { break };
        path = next;
    }
    assert_eq!(walked, ["e6", "e4", "e2", "e0"]);
    assert_eq!(ids(&api.get("/api/v1/principals?status=suspended").await.expect(200)), ["e5", "e3", "e1"]);
    assert_eq!(ids(&api.get("/api/v1/principals?external_id=e3").await.expect(200)), ["e3"]);
    assert_eq!(api.get("/api/v1/principals?external_id=e3&type=user").await.expect(200), json!([]));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_recorded_sealed_and_a_change_of_status_is_published(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let new = json!({"id": ADA, "external_id": "SECRET-external", "attributes": {"SECRET": "attribute"}});
    api.post("/api/v1/principals", new).await.expect(201);
    let path = format!("/api/v1/principals/{ADA}");
    let before = api.get(&path).await.expect(200);
    assert_eq!(api.patch(&path, json!({})).await.expect(200), before);
    assert_eq!(
        api.patch(&path, json!({"status": "active", "attributes": {"SECRET": "attribute"}})).await.expect(200),
        before
    );
    assert_eq!(entries(&api, "principal.update").await, Vec::<Value>::new(), "a change of nothing leaves no trace");

    let after = api.patch(&path, json!({"status": "suspended", "display_name": "SECRET name"})).await.expect(200);
    assert_eq!((&after["status"], &after["display_name"]), (&json!("suspended"), &json!("SECRET name")));
    assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    api.patch(&path, json!({"status": "active"})).await.expect(200);

    let created = &entries(&api, "principal.create").await[0];
    assert_eq!((&created["entity_id"], &created["entity_type"]), (&json!(ADA), &json!("principal")));
    let details = &created["details"];
    assert_eq!(
        (&details["principal_id"], &details["principal_type"], &details["status"], &details["sealed_fields"]),
        (&json!(ADA), &json!("user"), &json!("active"), &json!(["attributes", "external_id"]))
    );
    let updated = entries(&api, "principal.update").await;
    let changes: Vec<_> = updated.iter().map(|entry| &entry["details"]["changes"]).collect();
    assert_eq!(changes, [&json!({"status": "active"}), &json!({"status": "suspended"})]);
    assert_eq!(updated[0]["details"].get("sealed"), None, "nothing personal changed");
    assert_eq!(updated[1]["details"]["sealed_fields"], json!(["display_name"]), "only what changed is sealed");
    let ledger = api.get("/api/v1/audit/entries").await.expect(200).to_string();
    assert!(!ledger.contains("SECRET"), "{ledger}");

    let named = json!({"principal_id": ADA, "principal_type": "user"});
    assert_eq!(
        events(&api).await,
        [("principal.suspended".to_owned(), named.clone()), ("principal.activated".to_owned(), named)]
    );

    // The library opens what was sealed.
    let page = epr_core::domain::AuditPage { limit: 10, after: None, ascending: false };
    let filter = epr_core::domain::AuditFilter {
        action: Some("principal.update".into()),
        ..epr_core::domain::AuditFilter::default()
    };
    let mut read = Vec::new();
    api.epr.show_audit_entries(&filter, page, &mut collect_into(&mut read)).await.unwrap();
    let opened = api.epr.unsealed(&read[1]).await.unwrap().unwrap();
    assert_eq!(epr_core::domain::Json::Object(opened).to_string(), r#"{"display_name":"SECRET name"}"#);
    assert_eq!(api.epr.unsealed(&read[0]).await.unwrap(), None);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assignment_by_external_id_registers_the_principal_with_it(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let (spv, role) = (api.entity("S", "spv", None).await, api.role("Reader", &[], &["document:download"]).await);
    let assign = async |body: Value| api.post("/api/v1/assignments", body).await;
    let by_name = json!({"principal_external_id": "SECRET|17", "role_id": role, "entity_id": spv});
    let made = assign(by_name.clone()).await.expect(201);
    let registered = api.get("/api/v1/principals?external_id=SECRET%7C17").await.expect(200);
    assert_eq!(made["principal_id"], registered[0]["id"]);
    assert!(api.authorized(made["principal_id"].as_str().unwrap(), "document:download", &spv).await);
    assert_eq!(assign(by_name.clone()).await.expect(201), made, "again: the existing one");
    // Another type's external id is another principal.
    let mut service = by_name.clone();
    service["principal_type"] = "service".into();
    let other = assign(service).await.expect(201);
    assert_ne!(other["principal_id"], made["principal_id"]);
    assert_eq!(entries(&api, "principal.create").await.len(), 2);
    let ledger = api.get("/api/v1/audit/entries").await.expect(200).to_string();
    assert!(!ledger.contains("SECRET"), "{ledger}");
    assert!(entries(&api, "role_assignment.create").await[0]["details"].get("principal_external_id").is_none());

    // Exactly one name; and what fails registers nobody.
    let both = json!({"principal_external_id": "new", "principal_id": ADA, "role_id": role});
    assert_eq!(
        assign(both).await.field_errors(),
        ["body.principal_id: value_error", "body.principal_external_id: value_error"]
    );
    assert_eq!(assign(json!({"role_id": role})).await.field_errors(), ["body.principal_id: missing"]);
    assign(json!({"principal_external_id": "new", "role_id": UNKNOWN})).await.expect(404);
    assert_eq!(api.get("/api/v1/principals?external_id=new").await.expect(200), json!([]));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn racing_assignments_by_external_id_end_with_one_principal(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let (one, other) = (Api::on(Arc::clone(&database)).await, Api::on(database).await);
    let role = one.role("Reader", &[], &["document:download"]).await;
    for round in 0..5 {
        let racers = (0..8).map(|n| {
            let (api, role) = (if n % 2 == 0 { one.clone() } else { other.clone() }, role.clone());
            tokio::spawn(async move {
                let body = json!({"principal_external_id": format!("racer {round}"), "role_id": role});
                api.post("/api/v1/assignments", body).await.expect(201)
            })
        });
        let mut made = BTreeSet::new();
        for racer in racers.collect::<Vec<_>>() {
            let assignment = racer.await.unwrap();
            made.insert((id_of(&assignment), assignment["principal_id"].as_str().unwrap().to_owned()));
        }
        assert_eq!(made.len(), 1, "{made:?}");
    }
    assert_eq!(one.get("/api/v1/principals").await.expect(200).as_array().unwrap().len(), 5);
    assert_eq!(entries(&one, "principal.create").await.len(), 5);
    assert_eq!(entries(&one, "role_assignment.create").await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_rust_client_has_every_call() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let (client, role) = (api.client().await, api.role("Reader", &[], &["document:download"]).await);
    let (user, service): (PrincipalType, PrincipalType) = ("user".parse().unwrap(), "group of \u{e4}".parse().unwrap());
    let new = NewPrincipal::new().of_type(service.clone()).known_as("ada".parse().unwrap());
    let made = client.create_principal(&new).await.unwrap();
    assert_eq!(client.principal(&service, made.id).await.unwrap(), made);
    assert!(matches!(client.principal(&user, made.id).await, Err(Error::NotFound { .. })));
    assert!(matches!(client.create_principal(&new).await, Err(Error::Conflict { .. })));
    let patch = PrincipalPatch { display_name: Some(Some("Ada".parse().unwrap())), ..PrincipalPatch::default() };
    let changed = client.update_principal(&service, made.id, &patch).await.unwrap();
    assert_eq!((changed.display_name.as_deref(), changed.external_id), (Some("Ada"), made.external_id));
    let removed = PrincipalPatch { external_id: Some(None), ..PrincipalPatch::default() };
    assert_eq!(client.update_principal(&service, made.id, &removed).await.unwrap().external_id, None);
    let to = NewAssignment::new(uuid::Uuid::nil(), role.parse().unwrap());
    let request = AssignmentRequest::ToExternalId("ben".parse().unwrap(), to);
    let assigned = client.assign_to(&request).await.unwrap();
    let filter = PrincipalFilter { external_id: Some("ben".parse().unwrap()), ..PrincipalFilter::default() };
    let found: Vec<_> = client.principals(&filter).stream().try_collect().await.unwrap();
    assert_eq!(found.iter().map(|one| one.id).collect::<Vec<_>>(), [assigned.principal_id]);
    let erased = client.erase_principal(&service, made.id).await.unwrap();
    assert!(erased.erased_at.is_some() && erased.display_name.is_none());
    assert_eq!(client.erase_principal(&service, made.id).await.unwrap(), erased);
    assert!(matches!(client.update_principal(&service, made.id, &patch).await, Err(Error::Conflict { .. })));
}
