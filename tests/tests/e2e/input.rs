//! The answers to bad input: a clear 400 (or 404, 405, 413) in the contract's shape, and an unchanged database.

use axum::http::Method;
use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use epr_testkit::wait;
use rstest::rstest;
use serde_json::json;

const ENTITIES: &str = "/api/v1/entities";

async fn nothing_was_stored(api: &Api) {
    for list in [ENTITIES, "/api/v1/roles", "/api/v1/assignments"] {
        assert_eq!(api.get(list).await.expect(200), json!([]), "{list}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_are_not_json_are_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let deep = format!(
        "{{\"name\":\"n\",\"type\":\"spv\",\"attributes\":{}1{}}}",
        "{\"a\":".repeat(10_000),
        "}".repeat(10_000)
    );
    let bodies: [(&[u8], &str); 11] = [
        (b"", "body: missing"),
        (b"{", "body: json_invalid"),
        (b"nonsense", "body: json_invalid"),
        (b"{} {}", "body: json_invalid"),
        (b"\xff\xfe{}", "body: json_invalid"),
        (b"{\"name\":\"\xc3\x28\",\"type\":\"spv\"}", "body: json_invalid"),
        (b"{\"name\":\"\\ud800\",\"type\":\"spv\"}", "body: json_invalid"),
        (deep.as_bytes(), "body: json_invalid"),
        (b"{\"name\":\"a\",\"name\":\"b\",\"type\":\"spv\"}", "body: json_invalid"),
        (b"{\"name\":\"a\",\"type\":\"spv\",\"attributes\":{\"n\":123456789012345678901}}", "body: json_invalid"),
        (b"[]", "body: dict_type"),
    ];
    for (body, expected) in bodies {
        let answer = api.raw(Method::POST, ENTITIES, &[], body.to_vec()).await;
        assert_eq!(answer.field_errors(), [expected], "{}", String::from_utf8_lossy(&body[..body.len().min(80)]));
    }
    nothing_was_stored(&api).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_json_content_types_are_accepted(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let body = json!({"name": "n", "type": "spv"}).to_string();
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", ""] {
        let answer = api.raw(Method::POST, ENTITIES, &[("content-type", wrong)], body.clone()).await;
        assert_eq!(answer.field_errors(), ["body: content_type"], "{wrong}");
    }
    nothing_was_stored(&api).await;
    for (n, right) in
        ["application/json", "Application/JSON; charset=utf-8", "application/merge-patch+json"].into_iter().enumerate()
    {
        let body = json!({"name": format!("n{n}"), "type": "spv"}).to_string();
        api.raw(Method::POST, ENTITIES, &[("content-type", right)], body).await.expect(201);
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_over_the_limit_are_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let body = json!({"name": "n", "type": "spv", "attributes": {"x": "y".repeat(3 << 20)}}).to_string();
    let answer = api.raw(Method::POST, ENTITIES, &[], body).await.expect(413);
    assert_eq!(answer, json!({"detail": "The body is larger than 1048576 bytes"}));
    nothing_was_stored(&api).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_about_bad_input_are_bounded(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let many: serde_json::Map<_, _> = (0..60_000).map(|n| (format!("m{n}"), json!(0))).collect();
    let items = vec!["x"; 999];
    let (long, large) = ("y".repeat(900_000), "y".repeat(190_000));
    for body in
        [json!(many), json!({"name": large, "type": large, "status": large, "parent_id": large, "attributes": large})]
    {
        let answer = api.raw(Method::POST, ENTITIES, &[], body.to_string()).await.expect(400);
        assert!(answer.to_string().len() < 200_000, "{}", answer.to_string().len());
    }
    let id = api.entity("n", "spv", None).await;
    let answer = api.raw(Method::PATCH, &format!("{ENTITIES}/{id}"), &[], json!(many).to_string()).await;
    let errors = answer.field_errors();
    assert_eq!((errors.len(), errors[1000].as_str()), (1001, "body: too_many_errors"));
    let answer = api
        .raw(Method::PATCH, &format!("{ENTITIES}/{id}"), &[], json!({long.as_str(): 1}).to_string())
        .await
        .expect(400);
    assert!(answer.to_string().len() < 1000, "{}", answer.to_string().len());
    let body = json!({"name": "role", "scope_types": items, "permissions": items, "description": large});
    let answer = api.raw(Method::POST, "/api/v1/roles", &[], body.to_string()).await.expect(400);
    assert!(answer.to_string().len() < 300_000, "{}", answer.to_string().len());
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_failing_field_is_listed(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let body = json!({"name": "", "type": "moon", "status": 1, "parent_id": "nope", "attributes": []});
    let answer = api.raw(Method::POST, ENTITIES, &[("x-actor-id", "nobody")], body.to_string()).await;
    assert_eq!(
        answer.field_errors(),
        [
            "header.X-Actor-Id: uuid_parsing",
            "body.name: string_too_short",
            "body.type: enum",
            "body.status: enum",
            "body.parent_id: uuid_parsing",
            "body.attributes: dict_type"
        ]
    );
    let long = json!({"name": "x".repeat(256), "type": "spv"});
    assert_eq!(api.post(ENTITIES, long).await.field_errors(), ["body.name: string_too_long"]);
    for nul in [
        json!({"name": "a\0b", "type": "spv"}),
        json!({"name": "n", "type": "spv", "attributes": {"k": ["\0"]}}),
        json!({"name": "n", "type": "spv", "attributes": {"\0": 1}}),
    ] {
        assert!(api.post(ENTITIES, nul).await.field_errors()[0].ends_with("string_nul"));
    }
    let many = json!({"name": "many", "permissions": vec!["a:b"; 1001]});
    assert_eq!(api.post("/api/v1/roles", many).await.field_errors(), ["body.permissions: too_long"]);
    nothing_was_stored(&api).await;
    api.post(ENTITIES, json!({"name": "x".repeat(255), "type": "spv"})).await.expect(201);
    api.post(ENTITIES, json!({"name": "'; DROP TABLE entities; --", "type": "spv"})).await.expect(201);
    api.post(ENTITIES, json!({"name": "Zoë — 中文 😀\u{200b}", "type": "spv"})).await.expect(201);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_that_are_no_uuids_are_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for bad in [
        "1",
        "x",
        "aaaaaaaa-0000-4000-8000-00000000000",
        "{aaaaaaaa-0000-4000-8000-000000000001",
        "urn:aaaaaaaa-0000-4000-8000-000000000001",
        "%00",
        "%ff",
        "a%2Fb",
    ] {
        assert_eq!(
            api.get(&format!("/api/v1/entities/{bad}")).await.field_errors(),
            ["path.id: uuid_parsing"],
            "{bad}"
        );
    }
    let answer = api.raw(Method::PATCH, "/api/v1/entities/x", &[("x-actor-id", "y")], "{\"type\":1}").await;
    assert_eq!(
        answer.field_errors(),
        ["path.id: uuid_parsing", "header.X-Actor-Id: uuid_parsing", "body.type: extra_forbidden"]
    );
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unknown_paths_and_methods_are_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    for path in ["/", "/api", "/api/v1", "/healthz/x", "/..", "/api/v1/entities//archive/x"] {
        assert_eq!(api.get(path).await.expect(404), json!({"detail": "Not Found"}), "{path}");
    }
    for (method, path) in [
        (Method::PUT, ENTITIES),
        (Method::DELETE, ENTITIES),
        (Method::POST, "/healthz"),
        (Method::GET, "/api/v1/authorize"),
    ] {
        let answer = api.raw(method, path, &[], "").await;
        assert!(answer.headers.contains_key("allow"));
        assert_eq!(answer.expect(405), json!({"detail": "Method Not Allowed"}), "{path}");
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn request_ids_are_echoed_and_recorded(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let made = api.get("/healthz").await;
    assert_eq!(made.headers["x-request-id"].len(), 36);
    let echoed = api.raw(Method::GET, "/api/v1/nope", &[("x-request-id", "abc 123")], "").await;
    assert_eq!(echoed.headers["x-request-id"], "abc 123");
    let long = "x".repeat(200);
    let body = json!({"name": "n", "type": "spv"}).to_string();
    let made = api.raw(Method::POST, ENTITIES, &[("x-request-id", &long)], body).await;
    assert_eq!(made.headers["x-request-id"], long.as_str());
    made.expect(201);
    let entries = api.get("/api/v1/audit/entries").await.expect(200);
    assert_eq!(entries[0]["correlation_id"], "x".repeat(120));
    assert_eq!(api.raw(Method::GET, ENTITIES, &[("x-request-id", "")], "").await.headers["x-request-id"].len(), 36);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_readiness_follow_the_database(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    assert_eq!(api.get("/healthz").await.expect(200), json!({"status": "ok"}));
    let ready = async || api.get("/readyz").await.expect(200);
    wait::until("a registry in memory", async || ready().await["dependencies"]["graph"]["status"] == "ok").await;
    let mut ready = ready().await;
    ready.as_object_mut().unwrap().remove("clock_offset_seconds");
    assert_eq!(
        ready,
        json!({
            "status": "ready",
            "dependencies": {"database": {"status": "ok"}, "cache": {"status": "ok"}, "graph": {"status": "ok"}},
        })
    );
    api.epr.close().await;
    assert_eq!(api.get("/healthz").await.expect(200), json!({"status": "ok"}));
    assert_eq!(api.get("/readyz").await.expect(503)["dependencies"]["database"]["status"], "unavailable");
    // A dependency that is down gives 503, never a decision.
    let id = "11111111-2222-4333-8444-555555555555";
    let asked = json!({"user_id": id, "action": "a:b", "resource_id": id});
    let answer = api.post("/api/v1/authorize", asked).await.expect(503);
    assert_eq!(answer, json!({"detail": "The service is temporarily unavailable"}));
}

#[tokio::test]
async fn an_unknown_query_parameter_is_named_with_the_nearest_known_one() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    for (query, msg) in [
        ("parent=x", "This query parameter is unknown; did you mean `parent_id`?"),
        ("zzzzzzzz=1", "This query parameter is unknown"),
    ] {
        let answer = api.get(&format!("{ENTITIES}?{query}")).await.expect(400);
        let name = query.split('=').next().unwrap();
        assert_eq!(answer, json!({"detail": [{"loc": ["query", name], "msg": msg, "type": "extra_forbidden"}]}));
    }
}

/// On a runtime with one thread: parsing a large document on it would keep every other call waiting.
#[tokio::test(flavor = "current_thread")]
async fn a_check_is_answered_while_a_large_document_is_parsed() {
    let api = Api::start(DatabaseKind::Sqlite).await;
    let entity = api.entity("n", "spv", None).await;
    let question = json!({"user_id": entity, "action": "document:download", "resource_id": entity});
    // It is invalid only at its end, so that its answer needs nothing but the parser.
    let large = format!("{}{}", "[".repeat(60), "{\"a\":[1,2,3]},".repeat(15_000));
    let mut parsing = Box::pin(api.raw(Method::POST, ENTITIES, &[], large));
    let begun = std::future::poll_fn(|context| std::task::Poll::Ready(parsing.as_mut().poll(context))).await;
    assert!(begun.is_pending(), "the document is parsed on the thread that serves calls");
    api.post("/api/v1/authorize", question).await.expect(200);
    assert_eq!(parsing.await.field_errors(), ["body: json_invalid"]);
}
