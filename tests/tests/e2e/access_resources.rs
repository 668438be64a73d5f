//! `POST /api/v1/access/resources`: the form of the answer, and its law: the union of all pages is what checks allow.

use std::sync::Arc;

use epr_core::clock::ManualClock;
use epr_core::domain::Timestamp;
use epr_testkit::api::{Api, id_of};
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const PATH: &str = "/api/v1/access/resources";

async fn api(kind: DatabaseKind) -> (Api, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-11-23T17:07:00Z").unwrap()));
    (Api::with_clock(Arc::new(Database::create(kind).await), clock.clone()).await, clock)
}

fn ids(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_names_the_entity_and_the_assignment_that_a_check_names(#[case] kind: DatabaseKind) {
    let (api, _) = api(kind).await;
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    let spv = api.entity("Berlin One", "spv", Some(&issuer)).await;
    api.patch(&format!("/api/v1/entities/{spv}"), json!({"external_id": "B1"})).await.expect(200);
    let reader = api.role("Document reader", &[], &["document:download"]).await;
    let held = json!({"principal_id": USER, "role_id": reader, "entity_id": issuer,
        "effective_at": "2026-01-01T00:00:00Z", "expires_at": "2026-12-01T12:00:00Z"});
    let held = id_of(&api.post("/api/v1/assignments", held).await.expect(201));
    let body = json!({"principal_id": USER, "action": "document:download", "limit": 1});
    let first = api.post(PATH, body.clone()).await.expect(200);
    let via = json!({"assignment_id": held, "role": {"id": reader, "name": "Document reader"},
        "entity": {"id": issuer, "type": "issuer", "name": "Acme Estates"}, "via": "direct",
        "until": "2026-12-01T12:00:00.000000Z"});
    assert_eq!(
        first["items"],
        json!([{"id": issuer, "type": "issuer", "name": "Acme Estates", "via": via}]),
        "an absent external id is no member"
    );
    assert_eq!((&first["complete"], &first["as_of"]), (&json!(false), &json!("2026-11-23T17:07:00.000000Z")));
    let mut next = body.clone();
    next["next"] = first["next"].clone();
    let second = api.post(PATH, next).await.expect(200);
    let mut inherited = via.clone();
    inherited["via"] = json!("inherited");
    assert_eq!(
        second["items"],
        json!([{"id": spv, "type": "spv", "name": "Berlin One", "external_id": "B1", "via": inherited}])
    );
    assert_eq!((&second["complete"], &second["next"]), (&json!(true), &Value::Null));
    let bare = json!({"principal_id": USER, "action": "document:download", "explain": false, "resource_type": "spv"});
    let bare = api.post(PATH, bare).await.expect(200);
    assert_eq!(bare["items"], json!([{"id": spv, "type": "spv", "name": "Berlin One", "external_id": "B1"}]));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn archived_and_conditional_entities_are_listed_on_request_only(#[case] kind: DatabaseKind) {
    let (api, _) = api(kind).await;
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    let spv = api.entity("Berlin One", "spv", Some(&issuer)).await;
    api.post(&format!("/api/v1/entities/{issuer}/archive"), json!({})).await.expect(200);
    let reader = api.role("Document reader", &[], &["document:download"]).await;
    let condition = json!({"expression": "context.amount < 10", "parameters": {"amount": "int"}});
    for held in [
        json!({"principal_id": USER, "role_id": reader, "entity_id": issuer, "condition": condition}),
        json!({"principal_id": USER, "principal_type": "service", "role_id": reader, "entity_id": issuer}),
    ] {
        api.post("/api/v1/assignments", held).await.expect(201);
    }
    let ask = async |extra: Value| {
        let mut body = json!({"principal_id": USER, "action": "document:download", "explain": false});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        api.post(PATH, body).await
    };
    let service = ask(json!({"principal_type": "service"})).await.expect(200);
    assert_eq!(ids(&service), [&*spv]);
    let service = ask(json!({"principal_type": "service", "include": ["archived"]})).await.expect(200);
    assert_eq!(ids(&service).len(), 2);
    assert_eq!(ids(&ask(json!({})).await.expect(200)), [""; 0]);
    assert_eq!(ids(&ask(json!({"context": {"amount": 9}})).await.expect(200)), [&*spv]);
    let conditional = ask(json!({"include": ["conditional"]})).await.expect(200);
    assert_eq!(
        conditional["items"],
        json!([{"id": spv, "type": "spv", "name": "Berlin One", "conditional": true, "missing": ["context.amount"]}])
    );
    assert_eq!(
        ask(json!({"context": {"amount": "nine"}})).await.field_errors(),
        ["body.context.amount: parameter_type"]
    );
    assert_eq!(
        ask(json!({"form": "subtrees", "context": {"amount": "nine"}})).await.field_errors(),
        ["body.context.amount: parameter_type"]
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_listed_is_refused_with_a_reason(#[case] kind: DatabaseKind) {
    let (api, clock) = api(kind).await;
    let unknown = "01a20864-775e-7192-9677-77033a7b75da";
    let body = json!({"principal_id": USER, "action": "document:download"});
    let with = |name: &str, value: Value| {
        let mut body = body.clone();
        body[name] = value;
        body
    };
    for form in ["items", "subtrees"] {
        let mut within = with("within", json!(unknown));
        within["form"] = json!(form);
        let missing = api.post(PATH, within).await.expect(404);
        assert_eq!(missing["detail"], format!("Entity {unknown} not found"));
        // A principal is never unknown, and an action that no role has has an empty list.
        let empty = api.post(PATH, with("form", json!(form))).await.expect(200);
        assert_eq!((ids(&empty).len(), &empty["complete"], &empty["next"]), (0, &json!(true), &Value::Null));
    }
    for (name, value, errors) in [
        ("form", json!("trees"), "body.form: enum"),
        ("resource_type", json!("castle"), "body.resource_type: enum"),
        ("limit", json!(0), "body.limit: greater_than_equal"),
        ("within", json!("below"), "body.within: uuid_parsing"),
    ] {
        assert_eq!(api.post(PATH, with(name, value)).await.field_errors(), [errors]);
    }
    // A token of one form is none of the other.
    let issuer = api.entity("Acme Estates", "issuer", None).await;
    api.entity("Berlin One", "spv", Some(&issuer)).await;
    let reader = api.role("Document reader", &[], &["document:download"]).await;
    for entity in [Some(&issuer), None] {
        let held = json!({"principal_id": USER, "role_id": reader, "entity_id": entity});
        api.post("/api/v1/assignments", held).await.expect(201);
        clock.advance_micros(1_000_000);
    }
    for (form, other) in [("items", "subtrees"), ("subtrees", "items")] {
        let mut page = with("form", json!(form));
        page["limit"] = json!(1);
        page["next"] = api.post(PATH, page.clone()).await.expect(200)["next"].clone();
        assert!(page["next"].is_string(), "{form}");
        page["form"] = json!(other);
        assert_eq!(api.post(PATH, page).await.field_errors(), ["body.next: page_token"]);
    }
}
