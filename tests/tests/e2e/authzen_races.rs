//! AuthZEN while the registry changes and while the database is away: what is answered is what is recorded, a search
//! goes on, and there is never a decision without facts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use axum::http::Method;
use epr_core::clock::SystemClock;
use epr_testkit::api::{Answer, Api};
use epr_testkit::database::{Database, DatabaseKind, LOCK_WAITERS};
use epr_testkit::process::Process;
use epr_testkit::proxy::Proxy;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tokio::task::JoinSet;

use crate::authzen_batch::{record, world};
use crate::authzen_search;

const EVALUATION: &str = "/access/v1/evaluation";
const EVALUATIONS: &str = "/access/v1/evaluations";
const SEMANTICS: [&str; 3] = ["execute_all", "deny_on_first_deny", "permit_on_first_permit"];

/// A batch on the records 0, 2 and 4, which alice may read, under the request id `id`.
async fn batch(api: &Api, semantic: &str, id: &str) -> Answer {
    let items: Vec<_> = [0, 2, 4].iter().map(|n| json!({"resource": record(*n)})).collect();
    let body = json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"}, "evaluations": items,
        "options": {"evaluations_semantic": semantic}});
    let headers = [("content-type", "application/json"), ("x-request-id", id)];
    api.raw(Method::POST, EVALUATIONS, &headers, body.to_string()).await
}

fn decisions(answer: &Value) -> Vec<bool> {
    answer["evaluations"].as_array().unwrap().iter().map(|item| item["decision"].as_bool().unwrap()).collect()
}

/// The recorded decisions of a request, in the order of the ledger.
async fn recorded(api: &Api, id: &str) -> Vec<bool> {
    let path = format!("/api/v1/audit/entries?action=authorization.evaluate&order=asc&correlation_id={id}");
    let entries = api.get(&path).await.expect(200);
    entries.as_array().unwrap().iter().map(|entry| entry["details"]["authorized"].as_bool().unwrap()).collect()
}

async fn set_status(api: &Api, alice: &str, status: &str) {
    let path = format!("/api/v1/principals/{alice}?type=user");
    api.patch(&path, json!({"status": status})).await.expect(200);
}

async fn alice(api: &Api) -> String {
    api.get("/api/v1/principals?external_id=alice").await.expect(200)[0]["id"].as_str().unwrap().to_owned()
}

/// Lets `change` commit after `asked` has read its facts and before it appends: both wait for the ledger's lock, in
/// this order.
async fn interleaved<C, A, T>(api: &Api, change: C, asked: A) -> T
where
    C: Future<Output = ()> + Send + 'static,
    A: Future<Output = T> + Send + 'static,
    T: Send + 'static,
{
    let mut conn = PgConnection::connect(&api.database.url).await.unwrap();
    let mut lock = conn.begin().await.unwrap();
    sqlx::query("SELECT 1 FROM audit_chain_head FOR UPDATE").execute(&mut *lock).await.unwrap();
    let change = tokio::spawn(change);
    api.database.until(LOCK_WAITERS, 1).await;
    let asked = tokio::spawn(asked);
    api.database.until(LOCK_WAITERS, 2).await;
    lock.rollback().await.unwrap();
    change.await.unwrap();
    asked.await.unwrap()
}

#[rstest]
#[case::every("every")]
#[case::all("all")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_between_the_read_and_the_append_decides_every_item_again(#[case] audit: &str) {
    let api = world(DatabaseKind::Postgres, 5, &[("EPR_AUDIT_DECISIONS", audit)]).await;
    let alice = alice(&api).await;
    for semantic in SEMANTICS {
        // As it is after the change.
        for (status, allowed, number) in [
            ("suspended", false, if semantic == "deny_on_first_deny" { 1 } else { 3 }),
            ("active", true, if semantic == "permit_on_first_permit" { 1 } else { 3 }),
        ] {
            let id = format!("{semantic}-{status}");
            let change = {
                let (api, alice) = (api.clone(), alice.clone());
                async move { set_status(&api, &alice, status).await }
            };
            let asked = {
                let (api, id) = (api.clone(), id.clone());
                async move { batch(&api, semantic, &id).await.expect(200) }
            };
            let answer = interleaved(&api, change, asked).await;
            assert_eq!(decisions(&answer), vec![allowed; number], "{id}");
            assert_eq!(recorded(&api, &id).await, vec![allowed; number], "{id}");
        }
    }
}

/// What is recorded under the id of a batch is what it answered, item by item, whatever happens in between.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_constant_changes_what_is_answered_is_what_is_recorded(#[case] kind: DatabaseKind) {
    let api = world(kind, 5, &[("EPR_AUDIT_DECISIONS", "every")]).await;
    let alice = alice(&api).await;
    let stopped = Arc::new(AtomicBool::new(false));
    let changing = {
        let (api, stopped) = (api.clone(), Arc::clone(&stopped));
        tokio::spawn(async move {
            for status in ["suspended", "active"].iter().cycle() {
                if stopped.load(Ordering::Relaxed) {
                    break;
                }
                set_status(&api, &alice, status).await;
            }
        })
    };
    let mut answered = Vec::new();
    for n in 0..15 {
        for semantic in SEMANTICS {
            let id = format!("{semantic}-{n}");
            answered.push((decisions(&batch(&api, semantic, &id).await.expect(200)), id));
        }
    }
    stopped.store(true, Ordering::Relaxed);
    changing.await.unwrap();
    for (answer, id) in answered {
        assert_eq!(recorded(&api, &id).await, answer, "{id}");
        let ends = match id.split('-').next().unwrap() {
            "deny_on_first_deny" => answer.iter().position(|allowed| !allowed),
            "permit_on_first_permit" => answer.iter().position(|allowed| *allowed),
            _ => None,
        };
        assert_eq!(answer.len(), ends.map_or(3, |at| at + 1), "{id}: {answer:?}");
    }
}

/// The question about a resource without an id must not be kept under the id that stands for none.
#[rstest]
#[case::one(EVALUATION)]
#[case::several(EVALUATIONS)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_decision_on_an_unregistered_resource_answers_no_check(#[case] path: &'static str) {
    let api = world(DatabaseKind::Postgres, 1, &[]).await;
    let alice = alice(&api).await;
    let role = api.role("Everywhere", &[], &["own"]).await;
    let held = json!({"principal_id": alice, "role_id": role});
    api.post("/api/v1/assignments", held).await.expect(201);
    let question = json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "own"},
        "resource": {"type": "todo", "id": "17"}});
    let body = if path == EVALUATION { question } else { json!({"evaluations": [question, question]}) };
    let change = {
        let (api, alice) = (api.clone(), alice.clone());
        let path = format!("/api/v1/principals/{alice}?type=user");
        async move { _ = api.patch(&path, json!({"attributes": {"n": 1}})).await.expect(200) }
    };
    let asked = {
        let api = api.clone();
        async move { api.post(path, body).await.expect(200) }
    };
    let answer = interleaved(&api, change, asked).await;
    let decision = if path == EVALUATION { &answer } else { &answer["evaluations"][1] };
    assert_eq!(decision, &json!({"decision": true}));
    let nil = uuid::Uuid::nil();
    let check = json!({"user_id": alice, "action": "own", "resource_id": nil});
    api.post("/api/v1/authorize", check).await.expect(404);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_succeeds_while_others_change_the_registry_all_the_time(#[case] kind: DatabaseKind) {
    let api = authzen_search::service(kind, &[]).await;
    let unnamed = authzen_search::world(&api, 5).await;
    let (stopped, changes) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut writers = JoinSet::new();
    for n in 0..4 {
        let entity = api.entity(&format!("changed {n}"), "spv", None).await;
        let (api, stopped, changes) = (api.clone(), Arc::clone(&stopped), Arc::clone(&changes));
        writers.spawn(async move {
            let path = format!("/api/v1/entities/{entity}");
            for value in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                api.patch(&path, json!({"attributes": {"value": value}})).await.expect(200);
                changes.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    let mut users: Vec<_> = (0..5).map(|n| format!("u-{n}")).chain([unnamed]).collect();
    users.sort_unstable();
    let user = json!({"type": "user", "id": "u-1"});
    let resources = json!({"subject": user, "action": {"name": "read"}, "resource": {"type": "record"}});
    let actions = json!({"subject": user, "resource": {"type": "record", "id": "r-1"}});
    for _ in 0..5 {
        for (path, request, name, expected) in [
            ("subject", authzen_search::subjects(), "id", users.clone()),
            ("resource", resources.clone(), "id", vec!["r-0".to_owned(), "r-1".to_owned()]),
            ("action", actions.clone(), "name", vec!["list".to_owned(), "read".to_owned()]),
        ] {
            let (mut found, mut token) = (Vec::new(), json!(""));
            loop {
                let request = authzen_search::page(request.clone(), json!({"limit": 2, "token": token}));
                let answer = api.post(&format!("/access/v1/search/{path}"), request).await.expect(200);
                found.extend(answer["results"].as_array().unwrap().iter().map(|one| one[name].clone()));
                token = answer["page"]["next_token"].clone();
                if token == "" {
                    break;
                }
            }
            assert_eq!(json!(found), json!(expected), "{path}");
        }
    }
    let during = changes.load(Ordering::Relaxed);
    stopped.store(true, Ordering::Relaxed);
    while let Some(writer) = writers.join_next().await {
        writer.unwrap();
    }
    assert!(during > 10, "{during} changes beside 25 pages");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_is_away_there_is_no_decision_and_no_result() {
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    let (proxy, url) = Proxy::in_front_of(&database).await;
    let url = format!("{url}?sslmode=disable");
    let environment = [("EPR_DATABASE_URL", url.as_str()), ("EPR_ENTITY_TYPES", "record")];
    let api = Api::with_settings(database, Arc::new(SystemClock), &environment).await;
    authzen_search::world(&api, 2).await;
    let user = json!({"type": "user", "id": "u-1"});
    let one = json!({"subject": user, "action": {"name": "read"}, "resource": {"type": "record", "id": "r-1"}});
    let mut other = one.clone();
    other["resource"]["id"] = json!("r-0");
    let resources = json!({"subject": user, "action": {"name": "read"}, "resource": {"type": "record"}});
    let calls = [
        (EVALUATION, one.clone(), json!({"decision": true})),
        (
            EVALUATIONS,
            json!({"evaluations": [one, {"subject": 1}, other]}),
            json!([{"decision": true}, null, {"decision": true}]),
        ),
        ("/access/v1/search/subject", authzen_search::subjects(), json!(3)),
        ("/access/v1/search/resource", resources, json!(2)),
        ("/access/v1/search/action", one.clone(), json!(2)),
    ];
    let away = json!({"detail": "The service is temporarily unavailable"});
    for is_away in [false, true, false] {
        if is_away {
            proxy.cut().await;
        }
        for (path, body, expected) in &calls {
            let answer = api.post(path, body.clone()).await;
            if is_away {
                assert_eq!(answer.expect(503), away, "{path}");
                continue;
            }
            let mut answer = answer.expect(200);
            match path.rsplit('/').next().unwrap() {
                "evaluation" => assert_eq!(answer, *expected),
                "evaluations" => {
                    answer["evaluations"][1] = Value::Null;
                    assert_eq!(answer["evaluations"], *expected);
                }
                _ => assert_eq!(answer["page"]["count"], *expected, "{path}"),
            }
        }
        if is_away {
            proxy.restore().await;
        }
    }
}

/// The statements of a batch, by the echo of a service without a cache.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_reads_its_facts_once_and_appends_once(#[case] kind: DatabaseKind) {
    const RECORDS: usize = 100;
    const BATCHES: usize = 2;
    let database = Arc::new(Database::create(kind).await);
    let environment = [
        ("EPR_DATABASE_URL", database.url.as_str()),
        ("EPR_ENTITY_TYPES", "record"),
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
    let parent = post("/api/v1/entities", json!({"name": "parent", "type": "other"})).await;
    for n in 0..RECORDS {
        let record = json!({"name": format!("r{n}"), "type": "record", "external_id": format!("record-{n}"),
            "parent_id": parent["id"], "attributes": {"n": n}});
        post("/api/v1/entities", record).await;
    }
    let alice = post("/api/v1/principals", json!({"external_id": "alice", "attributes": {"n": 7}})).await;
    let condition = json!({"read": {"expression": "resource.attributes.n != principal.attributes.n"}});
    let role = json!({"name": "Reader", "permissions": ["read"], "conditions": condition});
    let role = post("/api/v1/roles", role).await;
    let held = json!({"principal_id": alice["id"], "role_id": role["id"], "entity_id": parent["id"]});
    post("/api/v1/assignments", held).await;
    // Every record twice, so that questions share facts.
    let items: Vec<_> = (0..2 * RECORDS).map(|n| json!({"resource": record(n % RECORDS)})).collect();
    let batch = json!({"subject": {"type": "user", "id": "alice"}, "action": {"name": "read"}, "evaluations": items});
    for _ in 0..BATCHES {
        let found = decisions(&post(EVALUATIONS, batch.clone()).await);
        assert_eq!(found, (0..2 * RECORDS).map(|n| n % RECORDS != 7).collect::<Vec<_>>());
    }
    let (_, lines) = process.terminate().await;
    let lines: Vec<_> = lines.iter().map(ToString::to_string).collect();
    let count = |parts: &[&str]| {
        lines.iter().filter(|line| line.contains("sqlx::query") && parts.iter().all(|part| line.contains(part))).count()
    };
    // Without the statement of checks, which also describes principal and resource.
    let facts = count(&["assigned AS MATERIALIZED"]) - count(&["assigned AS MATERIALIZED", "LEFT JOIN"]);
    assert_eq!(facts, BATCHES * if kind == DatabaseKind::Postgres { 1 } else { RECORDS }, "facts");
    assert_eq!(count(&["p.status, CAST(p.attributes AS TEXT)"]), BATCHES, "principals");
    // The entities of a statement are few, because their attributes may be large.
    assert_eq!(count(&["CASE WHEN $2 THEN CAST(e.attributes"]), BATCHES * RECORDS.div_ceil(64), "entities");
    assert_eq!(count(&["UNION ALL SELECT item.position, 2"]), BATCHES, "names");
    let entries = database.number("SELECT COUNT(*) FROM audit_logs WHERE action = 'authorization.evaluate'").await;
    assert_eq!(entries, i64::try_from(BATCHES * 2 * RECORDS).unwrap());
    // Each batch commits once: all its entries have consecutive sequences and one time.
    let times = "SELECT COUNT(DISTINCT occurred_at) FROM audit_logs WHERE action = 'authorization.evaluate'";
    assert_eq!(database.number(times).await, i64::try_from(BATCHES).unwrap());
    let appends = count(&["UPDATE audit_chain_head"]);
    let changes = RECORDS + 5;
    assert!(appends <= changes + BATCHES, "{appends} appends of {changes} changes and {BATCHES} batches");
}
