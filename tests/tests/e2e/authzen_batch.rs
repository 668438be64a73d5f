//! AuthZEN batches: defaults, failing items, semantics, the ledger.

use std::sync::Arc;

use epr_core::clock::SystemClock;
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;
use serde_json::{Value, json};

const EVALUATIONS: &str = "/access/v1/evaluations";

/// `user:alice` may `read` the records `record-0` to `record-{n - 1}` with an even number, and `write` those whose
/// status is stated as `active`.
pub(crate) async fn world(kind: DatabaseKind, n: usize, more: &[(&str, &str)]) -> Api {
    let database = Arc::new(Database::create(kind).await);
    let environment = [&[("EPR_ENTITY_TYPES", "record")], more].concat();
    let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
    let create = async |path: &str, body: Value| api.post(path, body).await.expect(201)["id"].clone();
    let alice = create("/api/v1/principals", json!({"external_id": "alice"})).await;
    let reader = create("/api/v1/roles", json!({"name": "Reader", "permissions": ["read"]})).await;
    let condition = json!({"write": {"expression": "resource.properties.status == 'active'"}});
    let writer = json!({"name": "Writer", "permissions": ["write"], "conditions": condition});
    let writer = create("/api/v1/roles", writer).await;
    for n in 0..n {
        let record = json!({"name": format!("r{n}"), "type": "record", "external_id": format!("record-{n}")});
        let record = create("/api/v1/entities", record).await;
        let roles = if n % 2 == 0 { vec![&reader, &writer] } else { vec![&writer] };
        for role in roles {
            let held = json!({"principal_id": alice, "role_id": role, "entity_id": record});
            create("/api/v1/assignments", held).await;
        }
    }
    api
}

pub(crate) fn record(n: usize) -> Value {
    json!({"type": "record", "id": format!("record-{n}")})
}

/// The decisions of a batch; `None` for an item that failed.
async fn decisions(api: &Api, body: Value) -> Vec<Option<bool>> {
    let answer = api.post(EVALUATIONS, body).await.expect(200);
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["evaluations"], "{answer}");
    let items = answer["evaluations"].as_array().unwrap().iter();
    let of_item = |item: &Value| {
        let decision = item["decision"].as_bool().unwrap();
        let Some(context) = item.get("context") else {
            assert_eq!(*item, json!({"decision": decision}));
            return Some(decision);
        };
        assert_eq!((decision, &context["error"]["status"]), (false, &json!(400)), "{item}");
        assert!(!context["error"]["message"].as_str().unwrap().is_empty());
        None
    };
    items.map(of_item).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_items_member_replaces_the_default_whole_and_takes_only_names_from_it(#[case] kind: DatabaseKind) {
    let api = world(kind, 2, &[]).await;
    let alice = json!({"type": "user", "id": "alice"});
    let active = json!({"type": "record", "id": "record-0", "properties": {"status": "active"}});
    let body = json!({"subject": alice, "action": {"name": "write"}, "resource": active, "evaluations": [
        {},
        // Replaced whole: without the properties of the default.
        {"resource": {"type": "record", "id": "record-0"}},
        // Filled with the type, and without the properties of the default.
        {"resource": {"id": "record-1", "properties": {"status": "active"}}},
        {"resource": {"id": "record-1"}},
        {"resource": {}},
        {"action": {"name": "read"}, "resource": {"id": "record-0"}},
        {"action": {"properties": {"x": 1}}},
        {"subject": {"type": "user", "id": "bob"}},
        {"subject": {"id": "bob"}},
        {"resource": {"type": "spv"}},
        {"resource": {"type": 5}},
        {"subject": null},
        {"action": {"name": null}},
        "no object",
    ]});
    let expected = [
        Some(true),
        Some(false),
        Some(true),
        Some(false),
        Some(false),
        Some(true),
        Some(true),
        Some(false),
        Some(false),
        Some(false),
        None,
        None,
        None,
        None,
    ];
    assert_eq!(decisions(&api, body).await, expected);
    // An incomplete default is no fault as long as items replace or complete it.
    let body = json!({"subject": alice, "action": {"name": "read"}, "resource": {"type": "record"}, "evaluations": [
        {"resource": {"id": "record-0"}}, {"resource": record(1)}, {},
    ]});
    assert_eq!(decisions(&api, body).await, [Some(true), Some(false), None]);
    let body = json!({"subject": "alice", "context": 5, "evaluations": [
        {"subject": alice, "action": {"name": "read"}, "resource": record(0), "context": {}},
        {"subject": alice, "action": {"name": "read"}, "resource": record(0), "context": null},
        {"subject": alice, "action": {"name": "read"}, "resource": record(0)},
        {"action": {"name": "read"}, "resource": record(0), "context": {}},
    ]});
    assert_eq!(decisions(&api, body).await, [Some(true), Some(true), None, None]);
    assert_eq!(decisions(&api, json!({"evaluations": [{}]})).await, [None], "also the only item");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_semantic_ends_the_answer_and_the_ledger_with_the_item_that_decides(#[case] kind: DatabaseKind) {
    let api = world(kind, 4, &[("EPR_AUDIT_DECISIONS", "every")]).await;
    let body = |semantic: &str, items: &[usize]| {
        let items: Vec<_> = items
            .iter()
            .map(|n| if *n == 9 { json!({"resource": 9}) } else { json!({"resource": record(*n)}) })
            .collect();
        json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"}, "evaluations": items,
            "options": {"evaluations_semantic": semantic, "another": true}})
    };
    let recorded = async || {
        let entries = api.get("/api/v1/audit/entries?action=authorization.evaluate&limit=500").await.expect(200);
        entries.as_array().unwrap().len()
    };
    let (yes, no) = (Some(true), Some(false));
    for (semantic, items, expected) in [
        ("execute_all", &[0, 1, 2, 9, 3][..], &[yes, no, yes, None, no][..]),
        ("deny_on_first_deny", &[0, 2, 1, 0], &[yes, yes, no]),
        ("deny_on_first_deny", &[0, 9, 0], &[yes, None]),
        ("deny_on_first_deny", &[0, 2], &[yes, yes]),
        ("permit_on_first_permit", &[1, 9, 3, 2, 0], &[no, None, no, yes]),
        ("permit_on_first_permit", &[1, 3], &[no, no]),
        ("permit_on_first_permit", &[0, 1], &[yes]),
    ] {
        // Evaluated, and from the cache.
        for _ in 0..2 {
            let before = recorded().await;
            assert_eq!(decisions(&api, body(semantic, items)).await, expected, "{semantic} {items:?}");
            let decided = expected.iter().flatten().count();
            assert_eq!(recorded().await - before, decided, "one entry for each decision: {semantic} {items:?}");
        }
    }
    for options in [
        json!("x"),
        Value::Null,
        json!({"evaluations_semantic": "first"}),
        json!({"evaluations_semantic": 1}),
        json!({"evaluations_semantic": null}),
    ] {
        let mut body = body("execute_all", &[0]);
        body["options"] = options;
        let detail = api.post(EVALUATIONS, body).await.expect(400)["detail"].clone();
        assert!(detail.as_str().unwrap().starts_with("options"), "{detail}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_items_the_answer_is_that_of_one_evaluation() {
    let api = world(DatabaseKind::Sqlite, 2, &[]).await;
    let alice = json!({"type": "user", "id": "alice"});
    let one = |n: usize| json!({"subject": alice, "action": {"name": "read"}, "resource": record(n)});
    for (n, expected) in [(0, true), (1, false)] {
        for evaluations in [None, Some(json!([]))] {
            let mut body = one(n);
            if let Some(evaluations) = evaluations {
                body["evaluations"] = evaluations;
            }
            assert_eq!(api.post(EVALUATIONS, body).await.expect(200), json!({"decision": expected}));
        }
    }
    for evaluations in [json!({}), json!("x"), json!(1), Value::Null] {
        let mut body = one(0);
        body["evaluations"] = evaluations;
        let sentence = json!({"detail": "evaluations: Input should be a valid list"});
        assert_eq!(api.post(EVALUATIONS, body).await.expect(400), sentence);
    }
    let mut incomplete = one(0);
    incomplete["resource"] = json!({});
    incomplete["evaluations"] = json!([]);
    api.post(EVALUATIONS, incomplete).await.expect(400);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_items_are_one_append_and_more_are_a_400(#[case] kind: DatabaseKind) {
    let api = world(kind, 5, &[]).await;
    let batch = |items: usize| {
        let items: Vec<_> = (0..items)
            .map(|n| match n % 7 {
                5 => json!({"resource": {"type": "todo", "id": n.to_string()}}),
                6 => json!({"resource": {"type": "record", "id": n.to_string()}}),
                n => json!({"resource": record(n)}),
            })
            .collect();
        json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"}, "evaluations": items})
    };
    let found = decisions(&api, batch(1000)).await;
    let expected: Vec<_> = (0..1000).map(|n| Some(n % 7 < 5 && n % 7 % 2 == 0)).collect();
    assert_eq!(found, expected);
    let entries = api.get("/api/v1/audit/entries?action=authorization.evaluate&order=asc&limit=500").await.expect(200);
    let entries = entries.as_array().unwrap().clone();
    assert_eq!(entries.len(), 500);
    let first = entries[0]["sequence"].as_u64().unwrap();
    for (entry, (n, expected)) in entries.iter().zip(expected.iter().enumerate()) {
        assert_eq!(entry["sequence"].as_u64().unwrap(), first + u64::try_from(n).unwrap());
        assert_eq!(entry["details"]["authorized"].as_bool(), *expected, "{entry}");
        assert_eq!(entry["occurred_at"], entries[0]["occurred_at"], "decided at one moment");
    }
    let detail = json!({"detail": "evaluations: List should have at most 1000 items; this one has 1001"});
    assert_eq!(api.post(EVALUATIONS, batch(1001)).await.expect(400), detail);
}

/// A context that every item inherits would be in every entry.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_entries_would_be_too_large_is_refused_whole() {
    let api =
        world(DatabaseKind::Sqlite, 1, &[("EPR_AUDIT_CONTEXT", "values"), ("EPR_AUDIT_DECISIONS", "every")]).await;
    let resource = json!({"type": "record", "id": "record-0", "properties": {"x": "y".repeat(60_000)}});
    let body = |items: usize| {
        json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "write"}, "resource": resource,
            "evaluations": vec![json!({}); items]})
    };
    assert_eq!(decisions(&api, body(100)).await.len(), 100);
    let newest = async || api.get("/api/v1/audit/entries?limit=1").await.expect(200)[0]["sequence"].clone();
    let before = newest().await;
    let detail = api.post(EVALUATIONS, body(1000)).await.expect(400)["detail"].clone();
    assert!(detail.as_str().unwrap().contains("send fewer items"), "{detail}");
    assert_eq!(newest().await, before, "nothing of the refused batch is recorded");
}

/// Conditions read attributes, which may be large: what one call holds in memory is bounded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_that_would_read_too_many_attributes_is_refused_whole() {
    let api = world(DatabaseKind::Sqlite, 0, &[]).await;
    let condition = json!({"read": {"expression": "has(resource.attributes.text)"}});
    let role = json!({"name": "Large", "permissions": ["read"], "conditions": condition});
    let role = api.post("/api/v1/roles", role).await.expect(201)["id"].clone();
    let held = json!({"principal_external_id": "alice", "role_id": role});
    api.post("/api/v1/assignments", held).await.expect(201);
    for n in 0..17 {
        let record = json!({"name": format!("l{n}"), "type": "record", "external_id": format!("record-{n}")});
        api.post("/api/v1/entities", record).await.expect(201);
    }
    // A million characters each.
    let large = r#"UPDATE entities SET attributes = '{"text":"' || hex(zeroblob(500000)) || '"}'"#;
    api.database.execute(large).await.unwrap();
    let body = |items: usize| {
        let items: Vec<_> = (0..items).map(|n| json!({"resource": record(n)})).collect();
        json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"}, "evaluations": items})
    };
    let detail = api.post(EVALUATIONS, body(17)).await.expect(400)["detail"].clone();
    assert!(detail.as_str().unwrap().contains("ask fewer questions"), "{detail}");
    assert_eq!(decisions(&api, body(16)).await, [Some(true); 16]);
}
