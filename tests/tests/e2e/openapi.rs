//! The OpenAPI document says what the service does, and the page shows it without any network.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use axum::body::Body;
use axum::http::{Method, Request};
use epr_testkit::api::{Answer, Api, id_of};
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::{Value, json};

fn document() -> Value {
    serde_json::from_str(&epr_api::document()).unwrap()
}

/// Every operation: method, path, description.
fn operations(document: &Value) -> Vec<(Method, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, item)| {
        let methods = item.as_object().unwrap().iter();
        methods.map(|(method, operation)| (method.to_uppercase().parse().unwrap(), path.clone(), operation.clone()))
    });
    all.collect()
}

#[test]
fn the_checked_in_copy_is_the_document() {
    let copy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    if std::env::var_os("EPR_TEST_REWRITE").is_some() {
        std::fs::write(&copy, epr_api::document()).unwrap();
    }
    let same = std::fs::read_to_string(&copy).unwrap() == epr_api::document();
    assert!(
        same,
        "docs/openapi.json differs: `cargo run -p epr-api -- --openapi > docs/openapi.json`, and read the difference"
    );
}

#[test]
fn every_operation_is_described_completely() {
    let document = document();
    assert_eq!(document["openapi"], "3.1.0");
    let operations = operations(&document);
    assert_eq!(operations.len(), 52);
    let mut ids = BTreeSet::new();
    for (method, path, operation) in operations {
        let name = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{name}: its id is taken");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{name}");
        assert_eq!(operation["tags"].as_array().unwrap().len(), 1, "{name}");
        let statuses: BTreeSet<_> = operation["responses"].as_object().unwrap().keys().map(String::as_str).collect();
        assert!(statuses.iter().any(|status| status.starts_with('2') || *status == "307"), "{name}");
        if path.starts_with("/api/") {
            // Files of the ledger have no members that could be invalid. What proves the ledger can be absent.
            let of_ledger = path.starts_with("/api/v1/ledger/");
            let is_file = of_ledger && path != "/api/v1/ledger/consistency";
            assert!(statuses.is_superset(&["401", "403", "500", "503"].into()), "{name}: {statuses:?}");
            assert_eq!(statuses.contains("400"), !is_file, "{name}: {statuses:?}");
            assert_eq!(statuses.contains("413"), operation.get("requestBody").is_some(), "{name}");
            let can_be_absent = of_ledger || path.contains('{') || asks_for_others(&path, &method);
            assert_eq!(statuses.contains("404"), can_be_absent, "{name}");
            let parameters = operation["parameters"].as_array();
            let takes = |name: &str| parameters.is_some_and(|all| all.iter().any(|one| one["name"] == name));
            // Reads of the past are recorded, with their actor.
            assert_eq!(takes("X-Actor-Id"), method != Method::GET || takes("revision"), "{name}");
        }
        for (status, answer) in operation["responses"].as_object().unwrap() {
            assert!(answer["headers"]["X-Request-ID"].is_object(), "{name} {status}");
            if status == "307" {
                assert!(answer.get("content").is_none(), "{name}: a redirection has no body");
                continue;
            }
            // The files of the page are of two kinds, and changes are a list or a stream.
            let two = ["/docs/{file}", "/api/v1/changes"];
            let kinds = if two.contains(&path.as_str()) && status == "200" { 2 } else { 1 };
            assert_eq!(answer["content"].as_object().map(serde_json::Map::len), Some(kinds), "{name} {status}");
        }
        if let Some(body) = operation.get("requestBody") {
            assert!(body["content"]["application/json"]["example"].is_object(), "{name}");
        }
    }
    let mut references = Vec::new();
    find_references(&document, &mut references);
    for reference in references {
        let path = reference.trim_start_matches('#');
        assert!(document.pointer(path).is_some(), "{reference} leads nowhere");
    }
}

/// Whether a call without an id in its path can name something that does not exist.
fn asks_for_others(path: &str, method: &Method) -> bool {
    *method == Method::POST
        && (path.starts_with("/api/v1/access/")
            || ["/authorize", "/check", "/explain", "/assignments"].iter().any(|end| path.ends_with(end)))
}

fn find_references(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|value| find_references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| find_references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn a_method_that_is_not_described_is_not_allowed() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let mut documented: BTreeMap<String, BTreeSet<Method>> = BTreeMap::new();
    for (method, path, _) in operations(&document()) {
        documented.entry(path).or_default().insert(method);
    }
    for (path, methods) in documented {
        let uri =
            path.replace("{id}", &uuid::Uuid::nil().to_string()).replace("{event_id}", &uuid::Uuid::nil().to_string());
        for method in [Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE, Method::TRACE] {
            let request = Request::builder().method(&method).uri(&uri).body(Body::empty()).unwrap();
            let response = api.text(request).await;
            assert_eq!(response.0 == 405, !methods.contains(&method), "{method} {path}");
            if response.0 == 405 {
                let allowed = response.1["allow"].to_str().unwrap().to_owned();
                assert!(methods.iter().all(|method| allowed.contains(method.as_str())), "{path}: {allowed}");
            }
        }
    }
}

/// The response has exactly the documented members.
fn holds(document: &Value, operation: &str, answer: Answer, status: u16) -> Value {
    let (_, _, documented) = operations(document)
        .into_iter()
        .find(|(_, _, documented)| documented["operationId"] == operation)
        .unwrap_or_else(|| panic!("no {operation}"));
    let mut schema = &documented["responses"][status.to_string()]["content"]["application/json"]["schema"];
    let body = answer.expect(status);
    let one = body.as_array().map_or_else(|| body.clone(), |rows| rows.first().expect("a row").clone());
    if schema["type"] == "array" {
        schema = &schema["items"];
    }
    let path = schema["$ref"].as_str().expect("a named schema").trim_start_matches('#');
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    let described = document.pointer(path).unwrap();
    assert!(members(&one).is_subset(&members(&described["properties"])), "{operation}: {one}");
    let required: BTreeSet<_> =
        described["required"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect();
    assert!(members(&one).is_superset(&required), "{operation}: {one}");
    // Members that only some answers have: one of readiness, external ids and conditions.
    let mut always = members(&described["properties"]);
    for (schema, member) in [("/Entity", "external_id"), ("/Role", "conditions"), ("/Assignment", "condition")] {
        if path.ends_with(schema) {
            always.remove(member);
        }
    }
    assert!(operation == "getReadiness" || required == always, "{operation}");
    body
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_have_the_members_that_are_described(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let document = document();
    let user = "aaaaaaaa-0000-4000-8000-000000000001";
    let entity =
        holds(&document, "createEntity", api.post("/api/v1/entities", json!({"name": "n", "type": "spv"})).await, 201);
    let id = id_of(&entity);
    holds(&document, "getEntity", api.get(&format!("/api/v1/entities/{id}")).await, 200);
    holds(&document, "listEntities", api.get("/api/v1/entities").await, 200);
    holds(&document, "updateEntity", api.patch(&format!("/api/v1/entities/{id}"), json!({"name": "m"})).await, 200);
    let role = holds(&document, "createRole", api.post("/api/v1/roles", json!({"name": "Reader"})).await, 201);
    let role_id = id_of(&role);
    holds(&document, "getRole", api.get(&format!("/api/v1/roles/{role_id}")).await, 200);
    holds(&document, "listRoles", api.get("/api/v1/roles").await, 200);
    holds(&document, "updateRole", api.patch(&format!("/api/v1/roles/{role_id}"), json!({})).await, 200);
    let held = api.post("/api/v1/assignments", json!({"principal_id": user, "role_id": role_id})).await;
    let held = id_of(&holds(&document, "createAssignment", held, 201));
    holds(&document, "listAssignments", api.get("/api/v1/assignments").await, 200);
    let question = json!({"user_id": user, "principal_id": user, "action": "a", "resource_id": id});
    holds(&document, "authorize", api.post("/api/v1/authorize", question.clone()).await, 200);
    holds(&document, "checkPermission", api.post("/api/v1/permissions/check", question).await, 200);
    holds(&document, "revokeAssignment", api.delete(&format!("/api/v1/assignments/{held}")).await, 200);
    holds(&document, "archiveEntity", api.post(&format!("/api/v1/entities/{id}/archive"), json!({})).await, 200);
    let event = api.post("/api/v1/events", json!({"event_type": "a.b", "source": "test"})).await;
    let event = holds(&document, "ingestEvent", event, 201);
    holds(
        &document,
        "getEvent",
        api.get(&format!("/api/v1/events/{}", event["event_id"].as_str().unwrap())).await,
        200,
    );
    holds(&document, "listEvents", api.get("/api/v1/events").await, 200);
    holds(&document, "listAuditEntries", api.get("/api/v1/audit/entries").await, 200);
    holds(&document, "getLiveness", api.get("/healthz").await, 200);
    holds(&document, "getReadiness", api.get("/readyz").await, 200);
    assert_eq!(api.get("/openapi.json").await.expect(200), document);
}

#[tokio::test]
async fn the_page_loads_only_what_the_service_has() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let (status, headers, page) = api.text(Request::get("/docs").body(Body::empty()).unwrap()).await;
    assert_eq!(status, 200);
    assert!(headers["content-type"].to_str().unwrap().starts_with("text/html"));
    let policy = headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self'"), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
    let mut files = Vec::new();
    for attribute in ["src=\"", "href=\""] {
        files.extend(page.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap().to_owned()));
    }
    assert_eq!(files.len(), 3, "{files:?}");
    for file in files {
        assert!(file.starts_with("docs/"), "{file} is relative, so that it resolves behind a proxy with a prefix");
        let (status, headers, _) = api.bytes(Request::get(format!("/{file}")).body(Body::empty()).unwrap()).await;
        assert_eq!((status, &headers["x-content-type-options"]), (200, &"nosniff".parse().unwrap()), "{file}");
    }
    for file in ["nope.js", "index.html", "..%2fopenapi.json"] {
        let (status, _, _) = api.bytes(Request::get(format!("/docs/{file}")).body(Body::empty()).unwrap()).await;
        assert_eq!(status, 404, "{file}");
    }
}

#[tokio::test]
async fn the_page_finds_its_files_from_every_spelling_of_its_address() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    for address in ["/docs", "/docs/", "/docs//", "//docs///"] {
        let (status, _, page) = api.text(Request::get(address).body(Body::empty()).unwrap()).await;
        assert_eq!(status, 200, "{address}");
        let asked = reqwest::Url::parse(&format!("http://proxy.test/epr{address}")).unwrap();
        for attribute in ["src=\"", "href=\"", "data-document=\""] {
            for reference in page.split(attribute).skip(1).map(|rest| rest.split('"').next().unwrap()) {
                let url = asked.join(reference).unwrap();
                // A proxy that strips a prefix serves the page under this path.
                let path = url.path().strip_prefix("/epr").unwrap_or_else(|| panic!("{address}: {url}"));
                let (status, _, _) = api.bytes(Request::get(path).body(Body::empty()).unwrap()).await;
                assert_eq!(status, 200, "{address}: {reference}");
            }
        }
    }
}

/// Whether the text of a description or a summary is a phrase for people.
fn describes(value: &Value) -> bool {
    value.as_str().is_some_and(|text| text.trim().len() > 3)
}

#[test]
fn every_field_parameter_header_and_response_is_described() {
    let document = document();
    for (method, path, operation) in operations(&document) {
        let name = format!("{method} {path}");
        let summary = operation["summary"].as_str().unwrap();
        assert!(describes(&operation["summary"]) && !summary.contains('\n') && !summary.ends_with('.'), "{name}");
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            assert!(describes(&parameter["description"]), "{name}: {parameter}");
        }
        for (status, response) in operation["responses"].as_object().unwrap() {
            assert!(describes(&response["description"]), "{name} {status}");
            for (header, value) in response["headers"].as_object().into_iter().flatten() {
                assert!(describes(&value["description"]), "{name} {status} {header}");
            }
        }
    }
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, property) in schema["properties"].as_object().into_iter().flatten() {
            assert!(describes(&property["description"]), "{name}.{field}: {property}");
        }
    }
}

#[test]
fn every_operation_names_its_scope() {
    for (method, path, operation) in operations(&document()) {
        let about = operation["description"].as_str().unwrap_or_default();
        assert!(about.contains("Scope: "), "{method} {path}: {about}");
    }
}

/// Code generators give up on schemas that contain themselves.
#[test]
fn no_schema_contains_itself() {
    let document = document();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    for name in schemas.keys() {
        let (mut seen, mut next) = (BTreeSet::new(), vec![format!("#/components/schemas/{name}")]);
        while let Some(reference) = next.pop() {
            let mut below = Vec::new();
            find_references(document.pointer(reference.trim_start_matches('#')).unwrap(), &mut below);
            next.extend(below.into_iter().filter(|one| seen.insert(one.clone())));
        }
        assert!(!seen.contains(&format!("#/components/schemas/{name}")), "{name}");
    }
}
