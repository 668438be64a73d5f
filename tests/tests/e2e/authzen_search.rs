//! AuthZEN searches over HTTP: pages and tokens, who is believed, the ledger, errors.

use std::sync::Arc;

use axum::http::Method;
use epr_core::authn::token;
use epr_core::clock::SystemClock;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};

const SUBJECTS: &str = "/access/v1/search/subject";
const RESOURCES: &str = "/access/v1/search/resource";
const ACTIONS: &str = "/access/v1/search/action";

/// `user:u-0` to `user:u-{n - 1}` and a user without an external id read `record:r-0` and `record:r-1`, below a parent.
/// Returns the UUID of that user.
pub(crate) async fn world(api: &Api, n: usize) -> String {
    let create = async |path: &str, body: Value| api.post(path, body).await.expect(201)["id"].clone();
    let parent = create("/api/v1/entities", json!({"name": "parent", "type": "other"})).await;
    for n in 0..2 {
        let record = json!({"name": format!("r{n}"), "type": "record", "external_id": format!("r-{n}"),
            "parent_id": parent, "attributes": {"n": n}});
        create("/api/v1/entities", record).await;
    }
    let role = json!({"name": "Reader", "permissions": ["read", "list", "erase"], "conditions":
        {"erase": {"expression": "action.properties.soft || resource.properties.old"}}});
    let role = create("/api/v1/roles", role).await;
    for n in 0..n {
        let user = create("/api/v1/principals", json!({"external_id": format!("u-{n}")})).await;
        create("/api/v1/assignments", json!({"principal_id": user, "role_id": role, "entity_id": parent})).await;
    }
    let unnamed = create("/api/v1/principals", json!({})).await;
    create("/api/v1/assignments", json!({"principal_id": unnamed, "role_id": role, "entity_id": parent})).await;
    unnamed.as_str().unwrap().to_owned()
}

pub(crate) async fn service(kind: DatabaseKind, more: &[(&str, &str)]) -> Api {
    let database = Arc::new(Database::create(kind).await);
    let environment = [&[("EPR_ENTITY_TYPES", "record")], more].concat();
    Api::with_settings(database, Arc::new(SystemClock), &environment).await
}

pub(crate) fn subjects() -> Value {
    json!({"subject": {"type": "user"}, "action": {"name": "read"}, "resource": {"type": "record", "id": "r-0"}})
}

pub(crate) fn page(mut request: Value, page: Value) -> Value {
    request["page"] = page;
    request
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn results_have_two_members_and_the_order_of_their_bytes(#[case] kind: DatabaseKind) {
    let api = service(kind, &[]).await;
    let unnamed = world(&api, 11).await;
    let user = |id: &str| json!({"type": "user", "id": id});
    let mut ids: Vec<_> = (0..11).map(|n| format!("u-{n}")).chain([unnamed]).collect();
    ids.sort_unstable();
    let users: Vec<_> = ids.iter().map(|id| user(id)).collect();
    let answer = api.post(SUBJECTS, subjects()).await.expect(200);
    assert_eq!(answer, json!({"page": {"next_token": "", "count": 12}, "results": users}));
    let (_, _, text) = api
        .text(
            axum::http::Request::post(SUBJECTS)
                .header("content-type", "application/json")
                .body(subjects().to_string().into())
                .unwrap(),
        )
        .await;
    assert!(text.starts_with(r#"{"page":{"next_token":"","count":12},"results":[{"type":"user","id":""#), "{text}");
    let resources =
        json!({"subject": user("u-1"), "action": {"name": "read"}, "resource": {"type": "record", "id": 7}});
    let found = json!([{"type": "record", "id": "r-0"}, {"type": "record", "id": "r-1"}]);
    assert_eq!(api.post(RESOURCES, resources).await.expect(200)["results"], found);
    let actions = json!({"subject": user("u-1"), "action": 7, "resource": {"type": "record", "id": "r-1"}});
    assert_eq!(
        api.post(ACTIONS, actions.clone()).await.expect(200)["results"],
        json!([{"name": "list"}, {"name": "read"}])
    );
    let mut old = actions;
    old["resource"]["properties"] = json!({"old": true});
    let found = json!([{"name": "erase"}, {"name": "list"}, {"name": "read"}]);
    assert_eq!(api.post(ACTIONS, old).await.expect(200)["results"], found);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_belongs_to_its_endpoint_request_and_limit(#[case] kind: DatabaseKind) {
    let api = service(kind, &[]).await;
    world(&api, 4).await;
    let token = async |path: &str, request: Value| {
        let answer = api.post(path, request).await.expect(200);
        answer["page"]["next_token"].as_str().unwrap().to_owned()
    };
    let first = token(SUBJECTS, page(subjects(), json!({"limit": 2}))).await;
    assert_eq!(
        first,
        token(SUBJECTS, page(subjects(), json!({"limit": 2}))).await,
        "the same request, the same answer"
    );
    for (how, expected) in [
        (json!({"token": first}), 2),
        (json!({"token": first, "limit": 2}), 2),
        (json!({"token": first, "limit": 0, "properties": {"x": 1}}), 2),
    ] {
        let answer = api.post(SUBJECTS, page(subjects(), how)).await.expect(200);
        assert_eq!(answer["page"]["count"], expected, "{answer}");
        assert_eq!(answer["results"][0]["id"], "u-1", "{answer}");
    }
    // What is ignored may differ.
    let mut more = page(subjects(), json!({"token": first}));
    more["subject"]["id"] = json!("u-1");
    more["unknown"] = json!(true);
    api.post(SUBJECTS, more).await.expect(200);
    let resources = json!({"subject": {"type": "user", "id": "u-1"}, "action": {"name": "read"},
        "resource": {"type": "record"}});
    let other = token(RESOURCES, page(resources.clone(), json!({"limit": 1}))).await;
    let mut on_record = resources.clone();
    on_record["resource"]["id"] = json!("r-0");
    let changed = |name: &str, value: Value| {
        let mut request = page(subjects(), json!({"token": first}));
        request[name] = value;
        request
    };
    let mut altered = first.clone().into_bytes();
    altered[30] = if altered[30] == b'A' { b'B' } else { b'A' };
    let altered = String::from_utf8(altered).unwrap();
    for (path, request) in [
        (SUBJECTS, page(subjects(), json!({"token": first, "limit": 3}))),
        (SUBJECTS, page(subjects(), json!({"token": other}))),
        (SUBJECTS, page(subjects(), json!({"token": altered}))),
        (SUBJECTS, page(subjects(), json!({"token": &first[1..]}))),
        (SUBJECTS, page(subjects(), json!({"token": format!("{first}=")}))),
        (SUBJECTS, page(subjects(), json!({"token": "x".repeat(5000)}))),
        (SUBJECTS, changed("resource", json!({"type": "record", "id": "r-1"}))),
        (SUBJECTS, changed("resource", json!({"type": "record", "id": "r-0", "properties": {"a": 1}}))),
        (SUBJECTS, changed("subject", json!({"type": "service"}))),
        (SUBJECTS, changed("action", json!({"name": "list"}))),
        (SUBJECTS, changed("action", json!({"name": "read", "properties": {"a": 1}}))),
        (SUBJECTS, changed("context", json!({"a": 1}))),
        (RESOURCES, page(resources.clone(), json!({"token": first}))),
        (ACTIONS, page(on_record, json!({"token": other}))),
    ] {
        let name = request.to_string();
        let detail = api.post(path, request).await.expect(400)["detail"].clone();
        assert!(detail.as_str().is_some_and(|detail| detail.contains("token")), "{name}: {detail}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_callers_that_may_assert_are_believed(#[case] kind: DatabaseKind) {
    let tokens = [token::mint().unwrap(), token::mint().unwrap()];
    let scopes = [vec!["epr:list"], vec!["epr:list", "epr:assert"]];
    let entry = |name: usize| {
        let hash = token::hex(&token::hash(&tokens[name]).unwrap());
        json!({"name": name.to_string(), "sha256": hash, "scopes": scopes[name]})
    };
    let list = json!([entry(0), entry(1)]).to_string();
    let open = service(kind, &[]).await;
    world(&open, 2).await;
    let environment = [("EPR_ENTITY_TYPES", "record"), ("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", list.as_str())];
    let api = Api::with_settings(Arc::clone(&open.database), Arc::new(SystemClock), &environment).await;
    let mut request = subjects();
    request["action"] = json!({"name": "erase", "properties": {"soft": true}});
    for (token, expected) in tokens.iter().zip([0, 3]) {
        let bearer = format!("Bearer {token}");
        let answer = api.raw(Method::POST, SUBJECTS, &[("authorization", &bearer)], request.to_string()).await;
        assert_eq!(answer.expect(200)["page"]["count"], expected);
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_is_recorded_before_it_is_answered_and_found_names_are_not(#[case] kind: DatabaseKind) {
    let api = service(kind, &[]).await;
    world(&api, 2).await;
    let answer = api.post(SUBJECTS, page(subjects(), json!({"limit": 2}))).await.expect(200);
    api.post(SUBJECTS, page(subjects(), json!({"token": answer["page"]["next_token"]}))).await.expect(200);
    let unknown =
        json!({"subject": {"type": "user", "id": "ada@secret.test"}, "resource": {"type": "todo", "id": "17"}});
    assert_eq!(api.post(ACTIONS, unknown).await.expect(200)["results"], json!([]));
    let entries = api.get("/api/v1/audit/entries?action=authorization.search&order=asc").await.expect(200);
    let details: Vec<_> = entries.as_array().unwrap().iter().map(|entry| entry["details"].clone()).collect();
    let [first, second, third] = details.as_slice() else { panic!("{details:?}") };
    assert_eq!((&first["kind"], &first["action"], &first["limit"]), (&json!("subject"), &json!("read"), &json!(2)));
    assert_eq!((&first["count"], &first["complete"], &first["continued"]), (&json!(2), &json!(false), &json!(false)));
    assert_eq!((&second["count"], &second["complete"], &second["continued"]), (&json!(1), &json!(true), &json!(true)));
    assert_eq!(first["resource_id"], entries[0]["entity_id"]);
    assert_eq!((&third["principal_id"], third["subject_hmac"].as_str().unwrap().len()), (&Value::Null, 64));
    assert!(!entries.to_string().contains("secret") && !entries.to_string().contains("u-0"), "{entries}");
    api.epr.close().await;
    api.post(SUBJECTS, subjects()).await.expect(503);
}

/// Global assignments reach what is not registered, and archived entities are found as evaluations allow them.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unregistered_resources_and_archived_entities_are_as_for_evaluations(#[case] kind: DatabaseKind) {
    let api = service(kind, &[]).await;
    world(&api, 1).await;
    let create = async |path: &str, body: Value| api.post(path, body).await.expect(201)["id"].clone();
    let role = json!({"name": "Everywhere", "permissions": ["own"], "conditions":
        {"own": {"expression": "resource.properties.owner == principal.external_id"}}});
    let role = create("/api/v1/roles", role).await;
    let bob = create("/api/v1/principals", json!({"external_id": "bob"})).await;
    create("/api/v1/assignments", json!({"principal_id": bob, "role_id": role})).await;
    let todo = json!({"type": "todo", "id": "17", "properties": {"owner": "bob"}});
    let request = json!({"subject": {"type": "user"}, "action": {"name": "own"}, "resource": todo});
    assert_eq!(api.post(SUBJECTS, request).await.expect(200)["results"], json!([{"type": "user", "id": "bob"}]));
    let request = json!({"subject": {"type": "user", "id": "bob"}, "resource": todo});
    assert_eq!(api.post(ACTIONS, request).await.expect(200)["results"], json!([{"name": "own"}]));
    let reads = json!({"subject": {"type": "user", "id": "u-0"}, "action": {"name": "read"},
        "resource": {"type": "record"}});
    let before = api.post(RESOURCES, reads.clone()).await.expect(200);
    let record = api.get("/api/v1/entities?external_id=r-1").await.expect(200)[0]["id"].clone();
    api.post(&format!("/api/v1/entities/{}/archive", record.as_str().unwrap()), json!({})).await.expect(200);
    assert_eq!(api.post(RESOURCES, reads).await.expect(200), before);
}

/// After a restore, the names before the position of a token may be others.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_of_a_former_incarnation_is_refused(#[case] kind: DatabaseKind) {
    let api = service(kind, &[]).await;
    world(&api, 3).await;
    let first = api.post(SUBJECTS, page(subjects(), json!({"limit": 2}))).await.expect(200);
    let next = page(subjects(), json!({"token": first["page"]["next_token"]}));
    api.post(SUBJECTS, next.clone()).await.expect(200);
    api.epr.reincarnate(&epr_core::Call::default(), &"a drill".parse().unwrap()).await.unwrap();
    let detail = api.post(SUBJECTS, next).await.expect(400)["detail"].clone();
    assert!(detail.as_str().unwrap().contains("incarnation"), "{detail}");
    assert_eq!(api.post(SUBJECTS, page(subjects(), json!({"limit": 2}))).await.expect(200)["page"]["count"], 2);
}
