//! Batches of checks: each answer is that of a single check, in order, recorded once, under changes and outages.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::http::Method;
use epr_core::clock::SystemClock;
use epr_testkit::api::{Answer, Api};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use epr_testkit::proxy::Proxy;
use epr_testkit::seed;
use rand::Rng as _;
use rstest::rstest;
use serde_json::{Value, json};
use uuid::Uuid;

const BATCH: &str = "/api/v1/authorize/batch";
const SINGLE: &str = "/api/v1/authorize";
const ENTRIES: &str = "/api/v1/audit/entries?action=authorization.evaluate&order=asc&limit=500";

/// A chain of entities; principals 1 to 4 hold roles on some of them, 3 on a condition, 4 is suspended.
struct World {
    api: Api,
    entities: Vec<Value>,
}

fn user(n: u128) -> Value {
    json!(Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0000 + n))
}

async fn world(kind: DatabaseKind, more: &[(&str, &str)]) -> World {
    let database = Arc::new(Database::create(kind).await);
    let api = Api::with_settings(database, Arc::new(SystemClock), more).await;
    let create = async |path: &str, body: Value| api.post(path, body).await.expect(201)["id"].clone();
    let mut entities: Vec<Value> = Vec::new();
    for n in 0..6 {
        let parent = entities.last().filter(|_| n % 3 != 0);
        let entity = json!({"name": format!("e{n}"), "type": "spv", "parent_id": parent, "attributes": {"n": n}});
        entities.push(create("/api/v1/entities", entity).await);
    }
    let reader = create("/api/v1/roles", json!({"name": "Reader", "permissions": ["read"]})).await;
    let condition = json!({"expression": "context.amount <= 100 && resource.attributes.n < 5",
        "parameters": {"amount": "int"}});
    let payer = json!({"name": "Payer", "permissions": ["pay"], "conditions": {"pay": condition}});
    let payer = create("/api/v1/roles", payer).await;
    create("/api/v1/principals", json!({"id": user(4)})).await;
    for (who, role, entity) in
        [(1, &reader, Some(&entities[0])), (2, &reader, None), (3, &payer, Some(&entities[3])), (4, &reader, None)]
    {
        create("/api/v1/assignments", json!({"principal_id": user(who), "role_id": role, "entity_id": entity})).await;
    }
    let suspended = format!("/api/v1/principals/{}?type=user", user(4).as_str().unwrap());
    api.patch(&suspended, json!({"status": "suspended"})).await.expect(200);
    World { api, entities }
}

impl World {
    /// A random check, sometimes on an unknown resource or with a context of the wrong type.
    fn check(&self, rng: &mut impl rand::Rng) -> Value {
        let resource = match rng.random_range(0..10) {
            0 => json!(Uuid::from_u128(rng.random())),
            n => self.entities[n % self.entities.len()].clone(),
        };
        let (who, action) = match rng.random_range(0..3) {
            0 => (3, "pay"),
            1 => (rng.random_range(1..6), "read"),
            _ => (rng.random_range(1..6), "unknown"),
        };
        let mut check = json!({"user_id": user(who), "action": action, "resource_id": resource});
        match rng.random_range(0..6) {
            0 => check["context"] = json!({"amount": rng.random_range(0..200)}),
            1 => check["context"] = json!({"amount": "much"}),
            2 => check["context"] = Value::Null,
            3 => check["principal_type"] = json!("service"),
            4 => check["another"] = json!({"at": 1}),
            _ => {}
        }
        check
    }
}

/// What a batch says about a check that is answered like this alone.
fn expected(at: usize, single: Answer) -> Value {
    let status = single.status.as_u16();
    if status == 200 {
        return single.body;
    }
    let mut detail = single.body["detail"].clone();
    for field in detail.as_array_mut().into_iter().flatten() {
        let loc = field["loc"].as_array_mut().unwrap();
        loc.splice(1..1, [json!("checks"), json!(at)]);
    }
    json!({"authorized": false, "error": {"status": status, "detail": detail}})
}

async fn decisions(api: &Api, checks: Vec<Value>) -> Vec<Value> {
    let answer = api.post(BATCH, json!({"checks": checks})).await;
    assert!(answer.headers.contains_key("epr-revision"));
    let answer = answer.expect(200);
    assert_eq!(answer.as_object().unwrap().keys().collect::<Vec<_>>(), ["decisions"], "{answer}");
    answer["decisions"].as_array().unwrap().clone()
}

#[rstest]
#[case::sqlite_all(DatabaseKind::Sqlite, "all", "true")]
#[case::sqlite_every(DatabaseKind::Sqlite, "every", "true")]
#[case::postgres_all(DatabaseKind::Postgres, "all", "false")]
#[case::postgres_every(DatabaseKind::Postgres, "every", "true")]
#[case::postgres_off(DatabaseKind::Postgres, "off", "true")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_answer_is_that_of_a_single_check(#[case] kind: DatabaseKind, #[case] audit: &str, #[case] cache: &str) {
    let mut rng = seed::rng("each_answer_is_that_of_a_single_check");
    let world = world(kind, &[("EPR_AUDIT_DECISIONS", audit), ("EPR_DECISION_CACHE", cache)]).await;
    let mut seen = [0; 4];
    for round in 0..8 {
        let checks: Vec<_> = (0..rng.random_range(1..60)).map(|_| world.check(&mut rng)).collect();
        let mut alone = Vec::new();
        // Before and after: the first of both fills the cache for the second.
        if round % 2 == 0 {
            for (at, check) in checks.iter().enumerate() {
                alone.push(expected(at, world.api.post(SINGLE, check.clone()).await));
            }
        }
        let found = decisions(&world.api, checks.clone()).await;
        if alone.is_empty() {
            for (at, check) in checks.iter().enumerate() {
                alone.push(expected(at, world.api.post(SINGLE, check.clone()).await));
            }
        }
        for ((found, alone), check) in found.iter().zip(&alone).zip(&checks) {
            assert_eq!(found, alone, "{check}");
            seen[match (&found["authorized"], &found["error"]["status"]) {
                (Value::Bool(true), _) => 0,
                (_, Value::Null) => 1,
                (_, status) if *status == 404 => 2,
                _ => 3,
            }] += 1;
        }
        assert_eq!(found.len(), alone.len());
    }
    assert!(seen.iter().all(|count| *count > 0), "every kind of answer occurs: {seen:?}");
}

/// The entry of a decision in a batch is the entry of a single check, but for sequence, hashes, id and time.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_decision_is_recorded_once_as_that_of_a_single_check(#[case] kind: DatabaseKind) {
    let World { api, entities } = world(kind, &[("EPR_AUDIT_DECISIONS", "every")]).await;
    let check = |who: u128, action: &str, entity: usize| {
        let entity = &entities[entity];
        json!({"user_id": user(who), "action": action, "resource_id": entity})
    };
    let mut paying = check(3, "pay", 4);
    paying["context"] = json!({"amount": 7});
    let unknown = json!({"user_id": user(1), "action": "read", "resource_id": Uuid::from_u128(9)});
    let checks = [check(1, "read", 2), unknown, paying, check(1, "read", 2), check(4, "read", 0), check(1, "read", 5)];
    // Evaluated, and from the cache.
    for is_cached in [false, true] {
        let mut recorded = Vec::new();
        for single in [false, true] {
            let id = format!("{is_cached} {single}");
            let headers = [("x-request-id", id.as_str())];
            if single {
                for check in &checks {
                    let answer = api.raw(Method::POST, SINGLE, &headers, check.to_string()).await;
                    assert!([200, 404].contains(&answer.status.as_u16()), "{}", answer.body);
                }
            } else {
                let body = json!({ "checks": checks }).to_string();
                let answer = api.raw(Method::POST, BATCH, &headers, body).await.expect(200);
                assert_eq!(answer["decisions"].as_array().unwrap().len(), checks.len());
            }
            let path = format!("{ENTRIES}&correlation_id={}", id.replace(' ', "%20"));
            let mut entries = api.get(&path).await.expect(200).as_array().unwrap().clone();
            assert_eq!(entries.len(), 5, "one entry for each decision, and none without one");
            if !single {
                let first = entries[0]["sequence"].as_i64().unwrap();
                for (entry, n) in entries.iter().zip(0..) {
                    assert_eq!(entry["sequence"].as_i64().unwrap(), first + n, "consecutive: one append");
                }
            }
            for entry in &mut entries {
                let entry = entry.as_object_mut().unwrap();
                for changing in
                    ["id", "sequence", "previous_hash", "entry_hash", "occurred_at", "correlation_id", "created_at"]
                {
                    entry.remove(changing);
                }
                // The single checks come second and find what the batch left in the cache.
                let details = entry["details"].as_object_mut().unwrap();
                assert!(details.remove("cached").is_some() || !(is_cached || single), "{details:?}");
            }
            recorded.push(entries);
        }
        assert_eq!(recorded[0], recorded[1]);
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_check_refuses_the_call_and_is_named_by_its_index(#[case] kind: DatabaseKind) {
    let World { api, entities } = world(kind, &[("EPR_AUDIT_DECISIONS", "every")]).await;
    let good = json!({"user_id": user(1), "action": "read", "resource_id": entities[2]});
    let with = |member: &str, value: Value| {
        let mut check = good.clone();
        check[member] = value;
        check
    };
    let without = |member: &str| {
        let mut check = good.clone();
        check.as_object_mut().unwrap().remove(member);
        check
    };
    let deep = (0..70).fold(json!(1), |inner, _| json!({ "a": inner }));
    for (body, errors) in [
        (json!({}), vec!["body.checks: missing"]),
        (json!([good]), vec!["body: dict_type"]),
        (json!({"checks": good}), vec!["body.checks: list_type"]),
        (json!({"checks": null}), vec!["body.checks: list_type"]),
        (json!({"checks": []}), vec!["body.checks: too_short"]),
        (json!({"checks": vec![&good; 1001]}), vec!["body.checks: too_long"]),
        (
            json!({"checks": [good, 7, [], null]}),
            vec!["body.checks.1: dict_type", "body.checks.2: dict_type", "body.checks.3: dict_type"],
        ),
        (
            json!({"checks": [good, without("user_id"), good, with("resource_id", json!("x"))]}),
            vec!["body.checks.1.user_id: missing", "body.checks.3.resource_id: uuid_parsing"],
        ),
        (
            json!({"checks": [without("action"), with("principal_type", json!("x".repeat(65)))]}),
            vec!["body.checks.0.action: missing", "body.checks.1.principal_type: string_too_long"],
        ),
        (
            json!({"checks": [good, with("context", json!({"x": "y".repeat(70_000)}))]}),
            vec!["body.checks.1.context: too_large"],
        ),
        (json!({"checks": [good, with("context", json!([]))]}), vec!["body.checks.1.context: dict_type"]),
        // An answer about another moment must not be taken for one about the present.
        (json!({"checks": [good, with("at", json!("2026-01-01T00:00:00Z"))]}), vec!["body.checks.1.at: not_available"]),
        (json!({"checks": [with("revision", json!("x"))]}), vec!["body.checks.0.revision: not_available"]),
        (json!({"checks": [good], "at": "2026-01-01T00:00:00Z"}), vec!["body.at: not_available"]),
    ] {
        assert_eq!(api.post(BATCH, body).await.field_errors(), errors);
    }
    assert!(api.post(BATCH, json!({"checks": [with("context", deep)]})).await.field_errors().len() == 1);
    let twice = r#"{"checks": [], "checks": []}"#;
    api.raw(Method::POST, BATCH, &[], twice).await.expect(400);
    assert_eq!(api.get(ENTRIES).await.expect(200), json!([]), "nothing of a refused call is recorded");
    assert_eq!(decisions(&api, vec![with("at", Value::Null)]).await, [json!({"authorized": true})]);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_checks_are_one_append(#[case] kind: DatabaseKind) {
    let World { api, entities } = world(kind, &[]).await;
    let checks: Vec<_> = (0..1000_u128)
        .zip(entities.iter().cycle())
        .map(|(n, entity)| json!({"user_id": user(n % 3 + 1), "action": "read", "resource_id": entity}))
        .collect();
    let found = decisions(&api, checks).await;
    let expected: Vec<_> = (0..1000).map(|n| json!({"authorized": n % 3 == 1 || (n % 3 == 0 && n % 6 < 3)})).collect();
    assert_eq!(found, expected);
    let entries = api.get(ENTRIES).await.expect(200);
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), 500);
    let first = entries[0]["sequence"].as_i64().unwrap();
    for ((entry, expected), n) in entries.iter().zip(&expected).zip(0..) {
        assert_eq!(entry["sequence"].as_i64().unwrap(), first + n);
        assert_eq!(entry["details"]["authorized"], expected["authorized"]);
        assert_eq!(entry["occurred_at"], entries[0]["occurred_at"], "decided at one moment");
    }
}

/// Every entry would contain the context of its check.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_whose_entries_would_be_too_large_is_refused_whole() {
    let more = [("EPR_AUDIT_CONTEXT", "values"), ("EPR_AUDIT_DECISIONS", "every"), ("EPR_MAX_BODY_BYTES", "67108864")];
    let World { api, .. } = world(DatabaseKind::Sqlite, &more).await;
    let condition = json!({"go:on": {"expression": "context.text != ''", "parameters": {"text": "string"}}});
    let role = json!({"name": "Large", "permissions": ["go:on"], "conditions": condition});
    let role = api.post("/api/v1/roles", role).await.expect(201)["id"].clone();
    api.post("/api/v1/assignments", json!({"principal_id": user(1), "role_id": role})).await.expect(201);
    let entity = api.entity("large", "spv", None).await;
    let check = json!({"user_id": user(1), "action": "go:on", "resource_id": entity,
        "context": {"text": "y".repeat(60_000)}});
    assert_eq!(decisions(&api, vec![check.clone(); 100]).await, vec![json!({"authorized": true}); 100]);
    let recorded = api.get("/api/v1/audit/entries?limit=1").await.expect(200)[0]["sequence"].clone();
    let refused = api.post(BATCH, json!({"checks": vec![check; 300]})).await;
    assert_eq!(refused.field_errors(), ["body.checks: too_large"]);
    assert_eq!(api.get("/api/v1/audit/entries?limit=1").await.expect(200)[0]["sequence"], recorded);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_rests_on_the_state_that_its_caller_names(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let (one, other) = (Api::on(Arc::clone(&database)).await, Api::on(database).await);
    let entity = one.entity("one", "spv", None).await;
    let role = one.role("Reader", &[], &["read"]).await;
    let body = json!({"checks": [{"user_id": user(1), "action": "read", "resource_id": entity}]});
    let asked = async |api: &Api, revision: &str| {
        let headers = [("epr-at-least", revision)];
        api.raw(Method::POST, BATCH, &headers, body.to_string()).await
    };
    let revision = |answer: &Answer| answer.headers["epr-revision"].to_str().unwrap().to_owned();
    let mut newest = String::new();
    for _ in 0..5 {
        let held = one.post("/api/v1/assignments", json!({"principal_id": user(1), "role_id": role})).await;
        newest = revision(&held);
        let held = held.expect(201)["id"].as_str().unwrap().to_owned();
        let answer = asked(&other, &newest).await;
        assert!(revision(&answer) >= newest);
        assert_eq!(answer.expect(200)["decisions"], json!([{"authorized": true}]));
        let gone = one.delete(&format!("/api/v1/assignments/{held}")).await;
        newest = revision(&gone);
        let answer = asked(&other, &newest).await;
        assert!(revision(&answer) >= newest);
        assert_eq!(answer.expect(200)["decisions"], json!([{"authorized": false}]));
    }
    let (_, sequence) = newest.split_once('.').unwrap();
    asked(&other, &format!("{}.{sequence}", Uuid::from_u128(5))).await.expect(409);
    asked(&other, "no revision").await.expect(400);
}

/// What is recorded under the id of a batch is what it answered, item by item, whatever happens in between.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_constant_changes_what_is_answered_is_what_is_recorded(#[case] kind: DatabaseKind) {
    let World { api, entities } = world(kind, &[("EPR_AUDIT_DECISIONS", "every")]).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let changing = {
        let (api, stopped) = (api.clone(), Arc::clone(&stopped));
        let path = format!("/api/v1/principals/{}?type=user", user(4).as_str().unwrap());
        tokio::spawn(async move {
            for status in ["active", "suspended"].iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                api.patch(&path, json!({"status": status})).await.expect(200);
            }
        })
    };
    let check = |who: u128, entity: &Value| json!({"user_id": user(who), "action": "read", "resource_id": entity});
    let checks: Vec<_> = entities.iter().flat_map(|entity| [check(4, entity), check(1, entity)]).collect();
    let mut answered = HashMap::new();
    for n in 0..25 {
        let id = format!("batch-{n}");
        let headers = [("x-request-id", id.as_str())];
        let answer = api.raw(Method::POST, BATCH, &headers, json!({ "checks": checks }).to_string()).await.expect(200);
        let answer: Vec<_> =
            answer["decisions"].as_array().unwrap().iter().map(|one| one["authorized"].as_bool().unwrap()).collect();
        let of_the_other: Vec<_> = answer.iter().step_by(2).collect();
        assert!(of_the_other.windows(2).all(|pair| pair[0] == pair[1]), "one state: {answer:?}");
        answered.insert(id, answer);
    }
    stopped.store(true, Ordering::Relaxed);
    changing.await.unwrap();
    for (id, answer) in answered {
        let entries = api.get(&format!("{ENTRIES}&correlation_id={id}")).await.expect(200);
        let recorded: Vec<_> =
            entries.as_array().unwrap().iter().map(|one| one["details"]["authorized"].as_bool().unwrap()).collect();
        assert_eq!(recorded, answer, "{id}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_there_is_no_decision() {
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    let (proxy, url) = Proxy::in_front_of(&database).await;
    let url = format!("{url}?sslmode=disable");
    // What is cached is answered until the process has noticed that it no longer hears of changes.
    let environment = [("EPR_DATABASE_URL", url.as_str()), ("EPR_DECISION_CACHE", "false")];
    let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
    let entity = api.entity("one", "spv", None).await;
    let check = |n: u128| json!({"user_id": user(n), "action": "read", "resource_id": entity});
    let checks = vec![check(1), check(2)];
    for is_away in [false, true, false] {
        if is_away {
            proxy.cut().await;
            let away = json!({"detail": "The service is temporarily unavailable"});
            assert_eq!(api.post(BATCH, json!({ "checks": checks })).await.expect(503), away);
            proxy.restore().await;
        } else {
            assert_eq!(decisions(&api, checks.clone()).await, vec![json!({"authorized": false}); 2]);
        }
    }
}

/// The statements of a batch, by the echo of a service without a cache.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_statements_of_a_batch_do_not_grow_with_its_checks(#[case] kind: DatabaseKind) {
    const HELD: usize = 20;
    let database = Arc::new(Database::create(kind).await);
    let environment = [
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_LOG_LEVEL", "DEBUG"),
        ("EPR_SQL_ECHO", "true"),
        ("EPR_DECISION_CACHE", "false"),
    ];
    let (process, base) = Process::api(&environment).await;
    let http = reqwest::Client::builder().timeout(Duration::from_mins(1)).build().unwrap();
    let post = async |path: &str, body: Value| {
        let answer = http.post(format!("{base}{path}")).json(&body).send().await.unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
        answer.json::<Value>().await.unwrap()
    };
    let entity = post("/api/v1/entities", json!({"name": "one", "type": "other"})).await["id"].clone();
    let condition = json!({"read": {"expression": "resource.type == 'other'"}});
    let role = json!({"name": "Reader", "permissions": ["read"], "conditions": condition});
    let role = post("/api/v1/roles", role).await["id"].clone();
    for n in 0..HELD {
        post("/api/v1/assignments", json!({"principal_id": user(u128::try_from(n).unwrap()), "role_id": role})).await;
    }
    let check =
        |n: usize| json!({"user_id": user(u128::try_from(n).unwrap()), "action": "read", "resource_id": entity});
    let batches = [2, 400];
    for checks in batches {
        // Each question twice, so that the half of them is read.
        let body: Vec<_> = (0..checks).map(|n| check(n / 2)).collect();
        let expected: Vec<_> = (0..checks).map(|n| json!({"authorized": n / 2 < HELD})).collect();
        assert_eq!(post(BATCH, json!({ "checks": body })).await["decisions"], json!(expected));
    }
    let (_, lines) = process.terminate().await;
    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    let count = |parts: &[&str]| {
        lines.iter().filter(|line| line.contains("sqlx::query") && parts.iter().all(|part| line.contains(part))).count()
    };
    // Without the statement of checks, which also describes principal and resource.
    let facts = count(&["assigned AS MATERIALIZED"]) - count(&["assigned AS MATERIALIZED", "LEFT JOIN"]);
    let questions = batches.iter().map(|checks| checks / 2).sum();
    assert_eq!(facts, if kind == DatabaseKind::Postgres { batches.len() } else { questions }, "facts");
    assert_eq!(count(&["p.status, CAST(p.attributes AS TEXT)"]), batches.len(), "principals");
    assert_eq!(count(&["CASE WHEN $2 THEN CAST(e.attributes"]), batches.len(), "entities");
    assert_eq!(count(&["UNION ALL SELECT item.position, 2"]), 0, "names");
    let entries = database.number("SELECT COUNT(*) FROM audit_logs WHERE action = 'authorization.evaluate'").await;
    assert_eq!(usize::try_from(entries).unwrap(), batches.iter().sum::<usize>());
    let appends = count(&["UPDATE audit_chain_head"]);
    // One more at the start of the service.
    let changes = HELD + 3;
    assert!(appends <= changes + batches.len(), "{appends} appends of {changes} changes and {batches:?}");
}
