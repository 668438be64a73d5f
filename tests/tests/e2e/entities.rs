//! `/api/v1/entities`, line by line of the contract.

use epr_testkit::api::{Api, id_of};
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::json;
use uuid::Uuid;

const UNKNOWN: &str = "11111111-2222-4333-8444-555555555555";

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn create_returns_the_whole_entity(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let made = api
        .post("/api/v1/entities", json!({"name": "Berlin One", "type": "spv", "attributes": {"b": 1, "a": {"x": 1.0}}}))
        .await;
    let made = made.expect(201);
    let mut keys: Vec<_> = made.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    assert_eq!(keys, ["attributes", "created_at", "id", "name", "parent_id", "status", "type", "updated_at"]);
    assert_eq!(made["status"], "active");
    assert_eq!(made["parent_id"], json!(null));
    assert_eq!(made["attributes"].to_string(), r#"{"a":{"x":1.0},"b":1}"#);
    let at = made["created_at"].as_str().unwrap();
    assert!(at.len() == 27 && at.ends_with('Z') && at.contains('T'), "{at}");
    let id = id_of(&made);
    assert_eq!(id, Uuid::parse_str(&id).unwrap().hyphenated().to_string());
    // Read back the same, whatever way the id is written.
    for written in [id.clone(), id.to_uppercase(), id.replace('-', "")] {
        assert_eq!(api.get(&format!("/api/v1/entities/{written}")).await.expect(200), made);
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn name_and_type_are_unique_together(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.entity("Acme", "issuer", None).await;
    let again = api.post("/api/v1/entities", json!({"name": "Acme", "type": "issuer"})).await.expect(409);
    assert_eq!(again, json!({"detail": "Entity 'Acme' of type 'issuer' already exists"}));
    let other_type = api.entity("Acme", "spv", None).await;
    let other_name = api.entity("Other", "issuer", None).await;
    let rename = api.patch(&format!("/api/v1/entities/{other_name}"), json!({"name": "Acme"})).await.expect(409);
    assert_eq!(rename["detail"], "Entity 'Acme' of type 'issuer' already exists");
    assert_eq!(api.get(&format!("/api/v1/entities/{other_name}")).await.expect(200)["name"], "Other");
    // Onto its own name is no conflict, nor is a free name.
    api.patch(&format!("/api/v1/entities/{other_type}"), json!({"name": "Acme"})).await.expect(200);
    api.patch(&format!("/api/v1/entities/{other_type}"), json!({"name": "Acme 2"})).await.expect(200);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_ids_are_not_found(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for answer in [
        api.get(&format!("/api/v1/entities/{UNKNOWN}")).await,
        api.patch(&format!("/api/v1/entities/{UNKNOWN}"), json!({"name": "x"})).await,
        api.post(&format!("/api/v1/entities/{UNKNOWN}/archive"), json!({})).await,
    ] {
        assert_eq!(answer.expect(404), json!({"detail": format!("Entity {UNKNOWN} not found")}));
    }
    let orphan = api.post("/api/v1/entities", json!({"name": "x", "type": "spv", "parent_id": UNKNOWN})).await;
    assert_eq!(orphan.expect(400)["detail"], format!("Parent entity {UNKNOWN} not found"));
    assert_eq!(api.get("/api/v1/entities").await.expect(200), json!([]));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn patch_changes_only_the_given_fields(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let parent = api.entity("Parent", "issuer", None).await;
    let id = api.entity("Child", "spv", Some(&parent)).await;
    let path = format!("/api/v1/entities/{id}");
    let before = api.get(&path).await.expect(200);
    let same = api.patch(&path, json!({})).await.expect(200);
    assert_eq!(same, before);
    let after = api.patch(&path, json!({"status": "inactive", "attributes": {"k": [1, "ü"]}})).await.expect(200);
    assert_eq!(
        (&after["name"], &after["status"], &after["parent_id"]),
        (&json!("Child"), &json!("inactive"), &json!(parent))
    );
    assert_eq!(after["attributes"], json!({"k": [1, "ü"]}));
    assert!(after["updated_at"].as_str() > before["updated_at"].as_str());
    assert_eq!(after["created_at"], before["created_at"]);
    assert_eq!(api.patch(&path, json!({"parent_id": null})).await.expect(200)["parent_id"], json!(null));
    let errors =
        api.patch(&path, json!({"type": "issuer", "id": UNKNOWN, "wat": 1, "name": null})).await.field_errors();
    assert_eq!(
        errors,
        [
            "body.id: extra_forbidden",
            "body.type: extra_forbidden",
            "body.wat: extra_forbidden",
            "body.name: string_type"
        ]
    );
    assert_eq!(api.get(&path).await.expect(200)["type"], "spv");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archive_keeps_the_history(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let id = api.entity("Old", "offering", None).await;
    let first = api.post(&format!("/api/v1/entities/{id}/archive"), json!({})).await.expect(200);
    assert_eq!(first["status"], "archived");
    let second = api.post(&format!("/api/v1/entities/{id}/archive"), json!({})).await.expect(200);
    assert_eq!(second, first);
    assert_eq!(api.get(&format!("/api/v1/entities/{id}")).await.expect(200), first);
    assert_eq!(api.get("/api/v1/entities").await.expect(200), json!([]));
    assert_eq!(api.get("/api/v1/entities?type=offering").await.expect(200), json!([]));
    // The name stays taken: what happened to it must stay unambiguous.
    api.post("/api/v1/entities", json!({"name": "Old", "type": "offering"})).await.expect(409);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_filter_and_page_without_cutting_short(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let parent = api.entity("P", "issuer", None).await;
    let mut expected = Vec::new();
    for n in 0..7 {
        let kind = if n % 2 == 0 { "spv" } else { "agent" };
        expected.insert(0, api.entity(&format!("c{n}"), kind, Some(&parent)).await);
    }
    let ids = |body: &serde_json::Value| body.as_array().unwrap().iter().map(id_of).collect::<Vec<_>>();
    let children = api.get(&format!("/api/v1/entities?parent_id={parent}")).await;
    assert!(children.headers.get("link").is_none());
    assert_eq!(ids(&children.body), expected);
    let both = api.get("/api/v1/entities?type=issuer&type=agent").await.expect(200);
    assert_eq!(both.as_array().unwrap().len(), 4);
    assert_eq!(api.get("/api/v1/entities?type=spv").await.expect(200).as_array().unwrap().len(), 4);

    // Page by page: the links lead through all of them, each once.
    let mut next = Some(format!("/api/v1/entities?limit=3&parent_id={parent}"));
    let mut seen = Vec::new();
    let mut pages = 0;
    while let Some(path) = next {
        let page = api.get(&path).await;
        seen.extend(ids(&page.body));
        next = page.next_page(&path);
        pages += 1;
    }
    assert_eq!((seen, pages), (expected, 3));
    let errors = api.get("/api/v1/entities?limit=0&type=moon&parent_id=x&cursor=zzz").await.field_errors();
    assert_eq!(
        errors,
        [
            "query.type: enum",
            "query.parent_id: uuid_parsing",
            "query.limit: greater_than_equal",
            "query.cursor: cursor"
        ]
    );
    assert_eq!(api.get("/api/v1/entities?limit=1001").await.field_errors(), ["query.limit: less_than_equal"]);
    assert_eq!(api.get("/api/v1/entities?limit=ten").await.field_errors(), ["query.limit: int_parsing"]);
    assert_eq!(api.get("/api/v1/entities?limit=1&limit=2").await.field_errors(), ["query.limit: int_parsing"]);
}
