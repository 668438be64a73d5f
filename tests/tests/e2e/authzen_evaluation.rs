//! AuthZEN evaluations: names of other systems, stated properties, unregistered resources, errors, the ledger.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request};
use epr_core::authn::token;
use epr_core::clock::SystemClock;
use epr_testkit::api::{Answer, Api, until_cached};
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";

/// A service that knows the entity type `record`.
async fn service(kind: DatabaseKind, more: &[(&str, &str)]) -> Api {
    let database = Arc::new(Database::create(kind).await);
    let environment = [&[("EPR_ENTITY_TYPES", "record")], more].concat();
    Api::with_settings(database, Arc::new(SystemClock), &environment).await
}

/// Creates what `body` describes and returns its id.
async fn create(api: &Api, path: &str, body: Value) -> String {
    api.post(path, body).await.expect(201)["id"].as_str().unwrap().to_owned()
}

/// Registers `user:alice`, `record:record-1` and a role with `read`, which alice gets on the record under `condition`.
async fn alice_reads(api: &Api, condition: Value) -> (String, String) {
    let alice = json!({"external_id": "alice", "attributes": {"role": "reader"}});
    let alice = create(api, "/api/v1/principals", alice).await;
    let record = json!({"name": "r", "type": "record", "external_id": "record-1", "attributes": {"status": "active"}});
    let record = create(api, "/api/v1/entities", record).await;
    let role = create(api, "/api/v1/roles", json!({"name": "Reader", "permissions": ["read"]})).await;
    let held = json!({"principal_id": alice, "role_id": role, "entity_id": record, "condition": condition});
    create(api, "/api/v1/assignments", held).await;
    (alice, record)
}

fn question(subject: &str, action: &str, resource: &str) -> Value {
    let entity = |text: &str| {
        let (kind, id) = text.split_once(':').unwrap();
        json!({"type": kind, "id": id})
    };
    json!({"subject": entity(subject), "action": {"name": action}, "resource": entity(resource)})
}

/// The same question with properties of its subject, its action and its resource.
fn stating(mut question: Value, [subject, action, resource]: [Value; 3]) -> Value {
    for (name, properties) in [("subject", subject), ("action", action), ("resource", resource)] {
        question[name]["properties"] = properties;
    }
    question
}

async fn decision(api: &Api, body: Value) -> bool {
    let answer = api.post(EVALUATION, body).await.expect(200);
    let decision = answer["decision"].as_bool().unwrap();
    assert_eq!(answer, json!({"decision": decision}), "nothing else is in the answer");
    decision
}

async fn entries(api: &Api) -> Vec<Value> {
    let path = "/api/v1/audit/entries?action=authorization.evaluate&order=asc";
    api.get(path).await.expect(200).as_array().unwrap().clone()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_are_external_ids_or_else_uuids_byte_for_byte(#[case] kind: DatabaseKind) {
    let api = service(kind, &[]).await;
    let (alice, record) = alice_reads(&api, Value::Null).await;
    for (subject, resource, expected) in [
        ("user:alice", "record:record-1", true),
        (&*format!("user:{alice}"), &*format!("record:{record}"), true),
        ("user:Alice", "record:record-1", false),
        ("user:alice ", "record:record-1", false),
        ("service:alice", "record:record-1", false),
        ("user:alice", "record:Record-1", false),
        ("user:alice", "spv:record-1", false),
        ("user:alice", &format!("spv:{record}"), false),
        (&format!("user:{}", alice.to_uppercase()), "record:record-1", false),
        ("user:nobody", "record:record-1", false),
        ("spaceship:alice", "record:record-1", false),
        ("user:alice", "record:nothing", false),
        ("user:alice", "a type with / { } @ and spaces:x", false),
    ] {
        assert_eq!(decision(&api, question(subject, "read", resource)).await, expected, "{subject} on {resource}");
    }
    assert!(!decision(&api, question("user:alice", "write", "record:record-1")).await);
    // A change of the external id moves the name at once.
    let path = format!("/api/v1/entities/{record}");
    api.patch(&path, json!({"external_id": "record-9"})).await.expect(200);
    assert!(!decision(&api, question("user:alice", "read", "record:record-1")).await);
    assert!(decision(&api, question("user:alice", "read", "record:record-9")).await);
    let suspend = json!({"status": "suspended"});
    api.patch(&format!("/api/v1/principals/{alice}?type=user"), suspend).await.expect(200);
    assert!(!decision(&api, question("user:alice", "read", "record:record-9")).await);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stored_attributes_and_stated_properties_are_two_namespaces(#[case] kind: DatabaseKind) {
    let api = service(kind, &[]).await;
    let expression = "principal.attributes.role == 'reader' && principal.effective.role == 'admin' && \
                      action.properties.soft == true && resource.properties.owner == principal.external_id && \
                      resource.effective.status == 'active' && !has(resource.attributes.owner)";
    let (alice, record) = alice_reads(&api, json!({"expression": expression})).await;
    let asked = question("user:alice", "read", "record:record-1");
    let full = [json!({"role": "admin"}), json!({"soft": true}), json!({"owner": "alice"})];
    let without = |at: usize| {
        let mut properties = full.clone();
        properties[at] = json!({});
        stating(asked.clone(), properties)
    };
    // Twice: evaluated, and from the residual in the cache, which has nothing of what was sent before.
    for _ in 0..2 {
        assert!(decision(&api, stating(asked.clone(), full.clone())).await);
        assert!(!decision(&api, asked.clone()).await);
        for at in 0..3 {
            assert!(!decision(&api, without(at)).await, "without properties {at}");
        }
        let archived = [full[0].clone(), full[1].clone(), json!({"owner": "alice", "status": "archived"})];
        assert!(!decision(&api, stating(asked.clone(), archived)).await, "effective: what was sent lies over it");
        // A check states nothing.
        assert!(!api.authorized(&alice, "read", &record).await);
    }
}

/// A service that accepts two tokens: one with `epr:authorize`, one with `epr:assert` too.
async fn with_tokens(kind: DatabaseKind) -> (Api, [String; 2]) {
    let tokens = [token::mint().unwrap(), token::mint().unwrap()];
    let scopes = [vec!["epr:authorize"], vec!["epr:authorize", "epr:assert"]];
    let entry = |name: usize| {
        let hash = token::hex(&token::hash(&tokens[name]).unwrap());
        json!({"name": name.to_string(), "sha256": hash, "scopes": scopes[name]})
    };
    let list = json!([entry(0), entry(1)]).to_string();
    let open = service(kind, &[]).await;
    alice_reads(&open, json!({"expression": "has(action.properties.soft) && action.properties.soft"})).await;
    let environment = [("EPR_ENTITY_TYPES", "record"), ("EPR_AUTH_MODE", "token"), ("EPR_API_TOKENS", list.as_str())];
    let api = Api::with_settings(Arc::clone(&open.database), Arc::new(SystemClock), &environment).await;
    (api, tokens)
}

async fn bearing(api: &Api, token: &str, path: &str, body: Value) -> Answer {
    let bearer = format!("Bearer {token}");
    api.raw(Method::POST, path, &[("authorization", &bearer)], body.to_string()).await
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_callers_that_may_assert_are_believed(#[case] kind: DatabaseKind) {
    let (api, [plain, asserting]) = with_tokens(kind).await;
    let soft = [json!({}), json!({"soft": true}), json!({})];
    let body = stating(question("user:alice", "read", "record:record-1"), soft);
    let batch = json!({"evaluations": [body, body]});
    // In both orders: neither answer is cached for the other caller.
    for _ in 0..2 {
        for (token, expected) in [(&plain, false), (&asserting, true)] {
            let answer = bearing(&api, token, EVALUATION, body.clone()).await.expect(200);
            assert_eq!(answer, json!({"decision": expected}));
            let answer = bearing(&api, token, EVALUATIONS, batch.clone()).await.expect(200);
            assert_eq!(answer, json!({"evaluations": [{"decision": expected}, {"decision": expected}]}));
        }
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unregistered_resource_is_reached_by_global_assignments_alone(#[case] kind: DatabaseKind) {
    let api = service(kind, &[]).await;
    let (alice, _) = alice_reads(&api, Value::Null).await;
    let own = json!({"expression": "resource.type == 'todo' && resource.external_id == 'todo/1' && \
        !has(resource.id) && size(resource.attributes) == 0 && resource.properties.owner == principal.external_id"});
    for (name, scope_types, action, condition) in [
        ("Everything", json!([]), "any", Value::Null),
        ("Records", json!(["record"]), "narrow", Value::Null),
        ("Own", json!([]), "own", own),
        ("Not an id", json!([]), "ids", json!({"expression": "resource.id != principal.id"})),
    ] {
        let role = json!({"name": name, "scope_types": scope_types, "permissions": [action]});
        let role = create(&api, "/api/v1/roles", role).await;
        let held = json!({"principal_id": alice, "role_id": role, "condition": condition});
        create(&api, "/api/v1/assignments", held).await;
    }
    let owner = |owner: &str| [json!({}), json!({}), json!({"owner": owner})];
    for (action, resource, properties, expected) in [
        ("any", "todo:todo/1", owner(""), true),
        ("any", "A type of another system!:x", owner(""), true),
        ("any", "record:not registered", owner(""), true),
        ("any", "record:record-1", owner(""), true),
        ("narrow", "record:not registered", owner(""), true),
        ("narrow", "record:record-1", owner(""), true),
        ("narrow", "todo:todo/1", owner(""), false),
        ("narrow", "Record:not registered", owner(""), false),
        ("own", "todo:todo/1", owner("alice"), true),
        ("own", "todo:todo/1", owner("bob"), false),
        ("own", "todo:todo/2", owner("alice"), false),
        ("ids", "todo:todo/1", owner(""), false),
        ("ids", "record:record-1", owner(""), true),
        ("read", "record:not registered", owner(""), false),
    ] {
        let body = stating(question("user:alice", action, resource), properties);
        assert_eq!(decision(&api, body).await, expected, "{action} on {resource}");
    }
    assert!(!decision(&api, question("user:bob", "any", "todo:todo/1")).await);
    let suspend = json!({"status": "suspended"});
    api.patch(&format!("/api/v1/principals/{alice}?type=user"), suspend).await.expect(200);
    assert!(!decision(&api, question("user:alice", "any", "todo:todo/1")).await);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_ledger_has_ids_and_of_other_names_a_hash(#[case] kind: DatabaseKind) {
    let api = service(kind, &[("EPR_AUDIT_DECISIONS", "every")]).await;
    let condition = json!({"expression": "context.n > 1 || action.properties.soft", "parameters": {"n": "int"}});
    let (alice, record) = alice_reads(&api, condition).await;
    let mut body = question("user:alice", "read", "record:record-1");
    body["context"] = json!({"n": 1, "more": "secret"});
    let body = stating(body, [json!({}), json!({"soft": true}), json!({"mail": "ada@secret.test"})]);
    for _ in 0..2 {
        assert!(decision(&api, body.clone()).await);
    }
    assert!(!decision(&api, question("user:ada@secret.test", "read", "todo:ada@secret.test")).await);
    let all = entries(&api).await;
    let [evaluated, cached, unknown] = all.as_slice() else { panic!("{all:?}") };
    assert_eq!(evaluated["actor_id"], json!(alice));
    assert_eq!((&evaluated["entity_id"], &evaluated["entity_type"]), (&json!(record), &json!("record")));
    let details = &evaluated["details"];
    assert_eq!((&details["principal_id"], &details["resource_id"]), (&json!(alice), &json!(record)));
    assert_eq!((&details["authorized"], &details["reason"]), (&json!(true), &json!("granted")));
    assert_eq!(details["parameters"], json!(["n"]));
    assert_eq!(details["context_sha256"].as_str().unwrap().len(), 64);
    for part in ["subject", "action", "resource"] {
        assert_eq!(details["properties_hmac"][part].as_str().unwrap().len(), 64, "{details}");
    }
    assert!(details.get("cached").is_none());
    let mut again = cached["details"].clone();
    assert_eq!(again.as_object_mut().unwrap().remove("cached"), Some(json!(true)));
    assert_eq!(&again, details);
    let details = &unknown["details"];
    assert_eq!((&details["principal_id"], &details["resource_id"]), (&Value::Null, &Value::Null));
    assert_eq!((&details["principal_type"], &details["reason"]), (&json!("user"), &json!("no_assignment")));
    assert_eq!((&unknown["entity_id"], &unknown["entity_type"]), (&Value::Null, &json!("todo")));
    for hash in ["subject_hmac", "resource_hmac"] {
        assert_eq!(details[hash].as_str().unwrap().len(), 64, "{details}");
    }
    assert!(!json!(all).to_string().contains("secret"), "{all:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_subject_the_ledger_has_nothing_in_clear_even_where_the_settings_ask_for_values() {
    let api = service(DatabaseKind::Sqlite, &[("EPR_AUDIT_CONTEXT", "values")]).await;
    alice_reads(&api, json!({"expression": "action.properties.soft"})).await;
    let soft = [json!({"mail": "alice@secret.test"}), json!({"soft": true}), json!({"owner": "a team"})];
    assert!(decision(&api, stating(question("user:alice", "read", "record:record-1"), soft.clone())).await);
    assert!(!decision(&api, question("user:bob@secret.test", "read", "todo:17")).await);
    let mut search = stating(question("user:bob@secret.test", "read", "record:record-1"), soft);
    assert_eq!(api.post("/access/v1/search/action", search.clone()).await.expect(200)["results"], json!([]));
    search["subject"]["id"] = json!("alice");
    assert_eq!(api.post("/access/v1/search/resource", search).await.expect(200)["page"]["count"], 1);
    let all = entries(&api).await;
    let details = &all[0]["details"];
    assert_eq!(details["properties"], json!({"action": {"soft": true}, "resource": {"owner": "a team"}}), "{details}");
    assert_eq!(details["properties_hmac"]["subject"].as_str().unwrap().len(), 64);
    let details = &all[1]["details"];
    assert_eq!((&details["subject"], &details["resource"]), (&Value::Null, &json!({"type": "todo", "id": "17"})));
    assert_eq!(details["subject_hmac"].as_str().unwrap().len(), 64);
    let all = api.get("/api/v1/audit/entries?limit=500").await.expect(200).to_string();
    assert!(!all.contains("secret"), "{all}");
}

/// Two installations hash one name differently, and one always in the same way: the key is neither in the program nor
/// made again by another process.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hash_of_a_name_is_that_of_its_installation(#[case] kind: DatabaseKind) {
    let hash = async |api: &Api| {
        assert!(!decision(api, question("user:ada@secret.test", "read", "todo:17")).await);
        entries(api).await.last().unwrap()["details"]["subject_hmac"].as_str().unwrap().to_owned()
    };
    let (one, other) = (service(kind, &[]).await, service(kind, &[]).await);
    let again = Api::with_settings(Arc::clone(&one.database), Arc::new(SystemClock), &[("EPR_ENTITY_TYPES", "record")]);
    let again = again.await;
    let hashes = [hash(&one).await, hash(&again).await, hash(&one).await, hash(&other).await];
    assert!(hashes[0] == hashes[1] && hashes[1] == hashes[2] && hashes[2] != hashes[3], "{hashes:?}");
}

#[rstest]
#[case::one(EVALUATION)]
#[case::several(EVALUATIONS)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_not_valid_is_a_400_with_a_sentence(#[case] path: &str) {
    let api = service(DatabaseKind::Sqlite, &[]).await;
    let valid = question("user:alice", "read", "record:record-1");
    let without = |name: &str, member: &str| {
        let mut body = valid.clone();
        let parent = if name.is_empty() { &mut body } else { &mut body[name] };
        parent.as_object_mut().unwrap().remove(member).unwrap();
        body.to_string()
    };
    let with = |name: &str, member: &str, value: Value| {
        let mut body = valid.clone();
        let parent = if name.is_empty() { &mut body } else { &mut body[name] };
        parent[member] = value;
        body.to_string()
    };
    let doubled = r#"{"subject": {"type": "user", "id": "a", "id": "b"}, "action": {"name": "x"},
        "resource": {"type": "t", "id": "i"}}"#;
    for (body, expected) in [
        (String::new(), "A JSON body is required"),
        ("{".to_owned(), "The body is not valid JSON"),
        (doubled.to_owned(), "The body is not valid JSON"),
        (r#""\ud800""#.to_owned(), "The body is not valid JSON"),
        ("[]".to_owned(), "Input should be a valid object"),
        ("null".to_owned(), "Input should be a valid object"),
        ("{}".to_owned(), "subject: Field required; action: Field required; resource: Field required"),
        (without("", "subject"), "subject: Field required"),
        (without("subject", "type"), "subject.type: Field required"),
        (without("resource", "id"), "resource.id: Field required"),
        (without("action", "name"), "action.name: Field required"),
        (with("", "subject", json!("alice")), "subject: Input should be a valid object"),
        (with("", "resource", Value::Null), "resource: Input should be a valid object"),
        (with("action", "name", json!(123)), "action.name: Input should be a valid string"),
        (with("subject", "id", json!(7)), "subject.id: Input should be a valid string"),
        (with("subject", "properties", json!([])), "subject.properties: Input should be a valid object"),
        (with("", "context", json!("x")), "context: Input should be a valid object"),
        (with("subject", "type", json!("x".repeat(256))), "subject.type: String should have at most 255 characters"),
        (with("resource", "id", json!("ä".repeat(513))), "resource.id: String should have at most 1024 bytes"),
        (with("action", "name", json!("")), "action.name: String should have at least 1 character"),
        (with("", "context", json!({"x": "y".repeat(65_536)})), "context: The context should have at most 65536 bytes"),
    ] {
        let id = HeaderValue::from_bytes("a b/\"ä\" {1}; a%20=".as_bytes()).unwrap();
        let request = Request::post(path).header("content-type", "application/json").header("x-request-id", &id);
        let answer = api.send(request.body(Body::from(body.clone())).unwrap()).await;
        assert_eq!(answer.headers["x-request-id"], id, "{body}");
        let sentence = answer.expect(400)["detail"].as_str().unwrap_or_default().to_owned();
        assert!(sentence.starts_with(expected), "{body}: {sentence}");
    }
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        let answer = api.raw(Method::POST, path, &[("content-type", content_type)], valid.to_string()).await;
        assert_eq!(answer.expect(400)["detail"], "The content type should be application/json");
    }
    let json = [("content-type", "application/json; charset=utf-8")];
    api.raw(Method::POST, path, &json, valid.to_string()).await.expect(200);
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        api.raw(method, path, &[], valid.to_string()).await.expect(405);
    }
    let bounds = json!({"subject": {"type": "x".repeat(255), "id": "ä".repeat(512), "more": 1},
        "action": {"name": "x".repeat(255), "properties": null}, "resource": {"type": "ä".repeat(255), "id": "x"},
        "context": null, "unknown": {"nested": true}});
    assert_eq!(api.post(path, bounds).await.expect(200), json!({"decision": false}));
    api.epr.close().await;
    let away = json!({"detail": "The service is temporarily unavailable"});
    assert_eq!(api.post(path, valid.clone()).await.expect(503), away);
    assert_eq!(api.post(EVALUATIONS, json!({"evaluations": [valid, {}]})).await.expect(503), away);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_parameter_of_the_wrong_type_is_a_400_and_in_a_batch_fails_its_item(#[case] kind: DatabaseKind) {
    let api = service(kind, &[]).await;
    alice_reads(&api, json!({"expression": "context.n > 1", "parameters": {"n": "int"}})).await;
    let mut wrong = question("user:alice", "read", "record:record-1");
    wrong["context"] = json!({"n": "2"});
    let mut right = wrong.clone();
    right["context"] = json!({"n": 2});
    for _ in 0..2 {
        let detail = api.post(EVALUATION, wrong.clone()).await.expect(400)["detail"].clone();
        assert!(detail.as_str().unwrap().starts_with("context.n: A condition declares"), "{detail}");
        let answer = api.post(EVALUATIONS, json!({"evaluations": [wrong, right]})).await.expect(200);
        let failed = json!({"decision": false, "context": {"error": {"status": 400, "message": detail}}});
        assert_eq!(answer, json!({"evaluations": [failed, {"decision": true}]}));
    }
}

#[rstest]
#[case::host("https://pdp.test", "", "https://pdp.test")]
#[case::slash("https://pdp.test/", "", "https://pdp.test")]
#[case::tenant("https://pdp.test/t1", "/t1", "https://pdp.test/t1")]
#[case::deep("https://pdp.test/a%20b/t1/", "/a%20b/t1", "https://pdp.test/a%20b/t1")]
#[tokio::test]
async fn the_configuration_is_that_of_the_identifier(#[case] id: &str, #[case] path: &str, #[case] base: &str) {
    let api = service(DatabaseKind::Sqlite, &[("EPR_AUTHZEN_PDP_ID", id)]).await;
    let well_known = format!("/.well-known/authzen-configuration{path}");
    for asked in [well_known.clone(), format!("{well_known}/")] {
        // The host is that of any proxy.
        let answer =
            api.raw(Method::GET, &asked, &[("host", "evil.test"), ("x-forwarded-host", "evil.test")], "").await;
        assert_eq!(answer.headers["cache-control"], "public, max-age=3600");
        assert_eq!(answer.headers["content-type"], "application/json");
        let body = answer.expect(200);
        assert_eq!(body["policy_decision_point"], id);
        assert_eq!(body["access_evaluation_endpoint"], format!("{base}/access/v1/evaluation"));
        assert_eq!(body["access_evaluations_endpoint"], format!("{base}/access/v1/evaluations"));
        for value in body.as_object().unwrap().values() {
            assert!(value.as_str().is_some_and(|url| url.starts_with("https://pdp.test")), "{body}");
        }
    }
    for other in ["", "/t1", "/t2", "/t1/more", "/T1", "/a b/t1", "/a%20b", "x"] {
        if other != path {
            let asked = format!("/.well-known/authzen-configuration{}", other.replace(' ', "+"));
            assert_eq!(api.get(&asked).await.status, 404, "{asked}");
        }
    }
}

#[tokio::test]
async fn without_an_identifier_there_is_no_configuration() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let sentence = json!({"detail": "This service has no AuthZEN identifier (EPR_AUTHZEN_PDP_ID)"});
    assert_eq!(api.get("/.well-known/authzen-configuration").await.expect(404), sentence);
    until_cached(&api.epr).await;
}
