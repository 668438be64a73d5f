//! Fifty callers at once for the same thing: one gets it, the others get the contract's answer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use epr_testkit::api::{Answer, Api};
use epr_testkit::database::{Database, DatabaseKind, LOCK_WAITERS};
use epr_testkit::ledger::{audit_verify, draft};
use epr_testkit::seed;
use rand::Rng as _;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::Connection as _;

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";
const CALLERS: usize = 50;
/// Sessions of others that do something, or have a transaction open.
const BUSY: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND pid <> pg_backend_pid() \
                    AND backend_type = 'client backend' AND state <> 'idle'";

async fn at_once(api: &Api, path: &'static str, body: Value) -> Vec<Answer> {
    let tasks: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (api, body) = (api.clone(), body.clone());
            tokio::spawn(async move { api.post(path, body).await })
        })
        .collect();
    let mut answers = Vec::new();
    for task in tasks {
        answers.push(task.await.unwrap());
    }
    answers
}

fn statuses(answers: &[Answer]) -> BTreeMap<u16, usize> {
    answers.iter().fold(BTreeMap::new(), |mut counts, answer| {
        *counts.entry(answer.status.as_u16()).or_default() += 1;
        counts
    })
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_entities_at_once_are_created_once(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let answers = at_once(&api, "/api/v1/entities", json!({"name": "Acme", "type": "issuer"})).await;
    assert_eq!(statuses(&answers), BTreeMap::from([(201, 1), (409, CALLERS - 1)]));
    assert_eq!(api.get("/api/v1/entities").await.expect(200).as_array().unwrap().len(), 1);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_roles_at_once_are_created_once(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let answers =
        at_once(&api, "/api/v1/roles", json!({"name": "Reader", "permissions": ["a:new", "b:new", "c:new"]})).await;
    assert_eq!(statuses(&answers), BTreeMap::from([(201, 1), (409, CALLERS - 1)]));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn equal_assignments_at_once_are_created_once(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let entity = api.entity("S", "spv", None).await;
    let role = api.role("Reader", &[], &["a:do"]).await;
    for place in [json!(entity), Value::Null] {
        let body = json!({"principal_id": USER, "role_id": role, "entity_id": place});
        let answers = at_once(&api, "/api/v1/assignments", body).await;
        assert_eq!(statuses(&answers), BTreeMap::from([(201, CALLERS)]));
        let ids: BTreeSet<_> = answers.iter().map(|answer| answer.body["id"].to_string()).collect();
        assert_eq!(ids.len(), 1, "the same id for all");
    }
    assert_eq!(api.get("/api/v1/assignments").await.expect(200).as_array().unwrap().len(), 2);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_at_once_create_the_same_actions_without_deadlock(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let tasks: Vec<_> = (0..CALLERS)
        .map(|n| {
            let api = api.clone();
            // Every order of the same actions: unsorted inserts would wait for each other in a circle.
            let mut actions = ["x:one", "x:two", "x:three", "x:four"];
            actions.rotate_left(n % 4);
            tokio::spawn(async move { api.role(&format!("role {n}"), &[], &actions).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn names_swapped_at_once_end_in_success_or_conflict(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let one = api.entity("one", "spv", None).await;
    let two = api.entity("two", "spv", None).await;
    for _ in 0..5 {
        let swap = |id: &str, name: &'static str| {
            let (api, path) = (api.clone(), format!("/api/v1/entities/{id}"));
            tokio::spawn(async move { api.patch(&path, json!({"name": name})).await.status.as_u16() })
        };
        // Each waits for the other's name: PostgreSQL breaks the deadlock, and the loser is tried again.
        let tasks = [swap(&one, "two"), swap(&two, "one")];
        for task in tasks {
            let status = task.await.unwrap();
            assert!(matches!(status, 200 | 409), "{status}");
        }
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn assigning_and_revoking_at_once_never_fails(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let role = api.role("Reader", &[], &["a:do"]).await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let (api, role) = (api.clone(), role.clone());
            tokio::spawn(async move {
                for _ in 0..20 {
                    let made = api
                        .post("/api/v1/assignments", json!({"principal_id": USER, "role_id": role}))
                        .await
                        .expect(201);
                    let gone = api.delete(&format!("/api/v1/assignments/{}", made["id"].as_str().unwrap())).await;
                    assert!(matches!(gone.status.as_u16(), 200 | 404), "{}", gone.body);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// Callers that go away at any moment of a transaction leave nothing open behind them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_that_go_away_leave_no_transaction_open() {
    let mut rng = seed::rng("callers_that_go_away_leave_no_transaction_open");
    let api = Api::start(DatabaseKind::Postgres).await;
    for round in 0..40 {
        let calls: Vec<_> = (0..20)
            .map(|n| {
                let api = api.clone();
                tokio::spawn(async move {
                    api.post("/api/v1/entities", json!({"name": format!("{round}/{n}"), "type": "spv"})).await
                })
            })
            .collect();
        for call in calls {
            tokio::time::sleep(Duration::from_micros(rng.random_range(0..400))).await;
            call.abort();
        }
    }
    // Well before the server itself would end such a session.
    let closed = tokio::time::timeout(Duration::from_secs(10), api.database.until(BUSY, 0)).await;
    assert!(closed.is_ok(), "transactions were left open");
    let (code, report) = audit_verify(&api.database.url, &[]).await;
    let entities = api.database.number("SELECT COUNT(*) FROM entities").await;
    assert_eq!((code, report["checked"].as_i64()), (0, Some(entities)), "{report}");
}

/// A change that is abandoned in the middle of a statement is rolled back although the process does nothing more, like
/// a function that is frozen with its answer.
#[tokio::test]
async fn an_abandoned_statement_keeps_no_lock_in_a_suspended_process() {
    let database = Arc::new(Database::create(DatabaseKind::Postgres).await);
    let store = database.store().await;
    let (locked, until_locked) = tokio::sync::oneshot::channel();
    let (go, until_go) = std::sync::mpsc::channel();
    // Somebody else, with a thread and a runtime of their own.
    let somebody = std::thread::spawn({
        let database = database.clone();
        move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut conn = sqlx::PgConnection::connect(&database.url).await.unwrap();
                sqlx::raw_sql("BEGIN; SELECT * FROM audit_chain_head FOR UPDATE").execute(&mut conn).await.unwrap();
                locked.send(()).unwrap();
                until_go.recv().unwrap();
                sqlx::raw_sql("COMMIT").execute(&mut conn).await.unwrap();
                // Well before the server itself would end such a session.
                tokio::time::timeout(Duration::from_secs(10), database.until(BUSY, 0)).await.is_ok()
            })
        }
    });
    until_locked.await.unwrap();
    let mut tx = store.begin().await.unwrap();
    let drafts = [draft(&json!({"action": "a.b", "occurred_at": "2026-01-01T00:00:00Z"}))];
    tokio::select! {
        outcome = tx.append(&drafts) => panic!("{outcome:?}"),
        () = database.until(LOCK_WAITERS, 1) => {}
    }
    drop(tx);
    // The tasks that are ready now send everything for this call.
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    go.send(()).unwrap();
    // From here on this process is suspended.
    assert!(somebody.join().unwrap(), "a transaction was left open");
}
