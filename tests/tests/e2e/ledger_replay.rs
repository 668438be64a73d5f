//! The ledger read in its order: no decision rests on what an earlier entry has taken away, and only EPR
//! writes to it.

use std::collections::HashSet;
use std::sync::Arc;

use epr_core::clock::SystemClock;
use epr_testkit::api::{Api, id_of};
use epr_testkit::database::DatabaseKind;
use rstest::rstest;
use serde_json::{Value, json};

const ENTRIES: &str = "/api/v1/audit/entries";
const ROUNDS: usize = 25;
const CHECKERS: usize = 6;

fn user(n: usize) -> String {
    format!("aaaaaaaa-0000-4000-8000-{n:012}")
}

/// Every entry, in order.
async fn everything(api: &Api) -> Vec<Value> {
    let mut all: Vec<Value> = Vec::new();
    loop {
        let from = all.len() + 1;
        let page = api.get(&format!("{ENTRIES}?order=asc&limit=100&from_sequence={from}")).await.expect(200);
        let page = page.as_array().unwrap().clone();
        if page.is_empty() {
            return all;
        }
        all.extend(page);
    }
}

/// Replays the ledger; gives how many decisions were allowed and how many were not.
fn replay(entries: &[Value]) -> (usize, usize) {
    let mut held = HashSet::new();
    let mut revision = 0;
    let mut counts = (0, 0);
    for entry in entries {
        let details = &entry["details"];
        let assignment = details["assignment_id"].as_str().unwrap_or_default().to_owned();
        match entry["action"].as_str().unwrap() {
            "role_assignment.create" => {
                held.insert(assignment);
                revision = entry["sequence"].as_i64().unwrap();
            }
            "role_assignment.delete" => {
                assert!(held.remove(&assignment), "{entry}");
                revision = entry["sequence"].as_i64().unwrap();
            }
            "authorization.evaluate" => {
                assert_eq!(details["revision"], json!(revision), "{entry}");
                if details["authorized"] == json!(true) {
                    assert!(held.contains(&assignment), "allowed by an assignment that is not in force: {entry}");
                    counts.0 += 1;
                } else {
                    counts.1 += 1;
                }
            }
            _ => {}
        }
    }
    counts
}

/// Grants, revokes and checks at the same time, then replays what the ledger says.
async fn replay_under_load(api: &Api, name: &str) {
    let spv = api.entity(name, "spv", None).await;
    let role = api.role(name, &[], &["a:read"]).await;
    let changes = tokio::spawn({
        let (api, spv) = (api.clone(), spv.clone());
        async move {
            for round in 0..ROUNDS {
                let new = json!({"principal_id": user(round % 2), "role_id": role, "entity_id": spv});
                let held = id_of(&api.post("/api/v1/assignments", new).await.expect(201));
                api.authorized(&user(round % 2), "a:read", &spv).await;
                api.delete(&format!("/api/v1/assignments/{held}")).await.expect(200);
                // Answered: from now on it is not allowed.
                assert!(!api.authorized(&user(round % 2), "a:read", &spv).await);
            }
        }
    });
    let checkers: Vec<_> = (0..CHECKERS)
        .map(|n| {
            let (api, spv) = (api.clone(), spv.clone());
            tokio::spawn(async move {
                for _ in 0..ROUNDS * 2 {
                    api.authorized(&user(n % 2), "a:read", &spv).await;
                }
            })
        })
        .collect();
    changes.await.unwrap();
    for checker in checkers {
        checker.await.unwrap();
    }
    let (allowed, denied) = replay(&everything(api).await);
    assert!(allowed > 0 && denied > 0, "{allowed} allowed, {denied} denied");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_allow_follows_the_revocation_of_its_assignment(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    replay_under_load(&api, "evaluated").await;
    // Answers from the cache as well.
    let database = Arc::clone(&api.database);
    let every = Api::with_settings(database, Arc::new(SystemClock), &[("EPR_AUDIT_DECISIONS", "every")]).await;
    replay_under_load(&every, "every").await;
}

/// Grants, revokes and evaluates batches at the same time, then replays what the ledger says.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_allow_of_a_batch_follows_the_revocation_of_its_assignment(#[case] kind: DatabaseKind) {
    let plain = Api::start(kind).await;
    let database = Arc::clone(&plain.database);
    let every = Api::with_settings(database, Arc::new(SystemClock), &[("EPR_AUDIT_DECISIONS", "every")]).await;
    let spv = plain.entity("SPV", "spv", None).await;
    let role = plain.role("Reader", &[], &["a:read"]).await;
    for api in [&plain, &every] {
        let body = json!({"action": {"name": "a:read"}, "resource": {"type": "spv", "id": spv}, "evaluations":
            (0..6).map(|n| json!({"subject": {"type": "user", "id": user(n % 2)}})).collect::<Vec<_>>()});
        let evaluated = {
            let (api, body) = (api.clone(), body.clone());
            move || {
                let (api, body) = (api.clone(), body.clone());
                async move { api.post("/access/v1/evaluations", body).await.expect(200)["evaluations"].clone() }
            }
        };
        let evaluators: Vec<_> = (0..CHECKERS)
            .map(|_| {
                let evaluated = evaluated.clone();
                tokio::spawn(async move {
                    for _ in 0..ROUNDS * 2 {
                        evaluated().await;
                    }
                })
            })
            .collect();
        for round in 0..ROUNDS {
            let new = json!({"principal_id": user(round % 2), "role_id": role, "entity_id": spv});
            let held = id_of(&api.post("/api/v1/assignments", new).await.expect(201));
            assert_eq!(evaluated().await[round % 2]["decision"], json!(true));
            api.delete(&format!("/api/v1/assignments/{held}")).await.expect(200);
            // Answered: from now on it is not allowed.
            assert_eq!(evaluated().await[round % 2]["decision"], json!(false));
        }
        for evaluator in evaluators {
            evaluator.await.unwrap();
        }
    }
    let (allowed, denied) = replay(&everything(&plain).await);
    assert!(allowed > 0 && denied > 0, "{allowed} allowed, {denied} denied");
}

/// A name never belongs to the entity while the entity may be read. What the name was resolved to and the facts must be
/// of one moment, or an evaluation would say yes.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_and_the_facts_behind_it_are_of_one_moment(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let spv = api.entity("SPV", "spv", None).await;
    let role = api.role("Reader", &[], &["a:read"]).await;
    let ask = {
        let api = api.clone();
        move |resource: String| {
            let body = json!({"subject": {"type": "user", "id": user(0)}, "action": {"name": "a:read"},
                "resource": {"type": "spv", "id": resource}});
            let api = api.clone();
            async move { api.post("/access/v1/evaluation", body).await.expect(200)["decision"] == json!(true) }
        }
    };
    let evaluators: Vec<_> = (0..CHECKERS)
        .map(|n| {
            let (ask, spv) = (ask.clone(), spv.clone());
            tokio::spawn(async move {
                for round in 0..ROUNDS * 20 {
                    // By its UUID it may be allowed, and fills the cache.
                    if (round + n) % 3 == 0 {
                        ask(spv.clone()).await;
                    } else {
                        assert!(!ask("name".to_owned()).await, "the name never belongs to what may be read");
                    }
                }
            })
        })
        .collect();
    let path = format!("/api/v1/entities/{spv}");
    while !evaluators.iter().all(tokio::task::JoinHandle::is_finished) {
        api.patch(&path, json!({"external_id": "name"})).await.expect(200);
        api.patch(&path, json!({"external_id": null})).await.expect(200);
        let held = json!({"principal_id": user(0), "role_id": role, "entity_id": spv});
        let held = id_of(&api.post("/api/v1/assignments", held).await.expect(201));
        assert!(ask(spv.clone()).await);
        api.delete(&format!("/api/v1/assignments/{held}")).await.expect(200);
    }
    for evaluator in evaluators {
        evaluator.await.unwrap();
    }
}

/// Suspends, activates and checks at the same time, then replays what the ledger says.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_allow_follows_the_suspension_of_its_principal(#[case] kind: DatabaseKind) {
    let plain = Api::start(kind).await;
    let database = Arc::clone(&plain.database);
    let every = Api::with_settings(database, Arc::new(SystemClock), &[("EPR_AUDIT_DECISIONS", "every")]).await;
    let spv = plain.entity("SPV", "spv", None).await;
    let role = plain.role("Reader", &[], &["a:read"]).await;
    // One holds it without a condition, one with one that is always true.
    for (n, condition) in [Value::Null, json!({"expression": "true"})].into_iter().enumerate() {
        plain.post("/api/v1/principals", json!({"id": user(n)})).await.expect(201);
        let new = json!({"principal_id": user(n), "role_id": role, "entity_id": spv, "condition": condition});
        plain.post("/api/v1/assignments", new).await.expect(201);
    }
    for api in [&plain, &every] {
        let changes = tokio::spawn({
            let (api, spv) = (api.clone(), spv.clone());
            async move {
                for round in 0..ROUNDS {
                    let path = format!("/api/v1/principals/{}?type=user", user(round % 2));
                    api.patch(&path, json!({"status": "suspended"})).await.expect(200);
                    // Answered: from now on it is not allowed.
                    assert!(!api.authorized(&user(round % 2), "a:read", &spv).await);
                    api.patch(&path, json!({"status": "active"})).await.expect(200);
                    assert!(api.authorized(&user(round % 2), "a:read", &spv).await);
                }
            }
        });
        let checkers: Vec<_> = (0..CHECKERS)
            .map(|n| {
                let (api, spv) = (api.clone(), spv.clone());
                tokio::spawn(async move {
                    for _ in 0..ROUNDS * 2 {
                        api.authorized(&user(n % 2), "a:read", &spv).await;
                    }
                })
            })
            .collect();
        changes.await.unwrap();
        for checker in checkers {
            checker.await.unwrap();
        }
    }
    let (mut suspended, mut allowed, mut denied) = (HashSet::new(), 0, 0);
    for entry in everything(&plain).await {
        let details = &entry["details"];
        match entry["action"].as_str().unwrap() {
            "principal.update" => {
                let principal = details["principal_id"].as_str().unwrap_or_else(|| panic!("{entry}")).to_owned();
                match details["changes"]["status"].as_str() {
                    Some("suspended") => assert!(suspended.insert(principal), "{entry}"),
                    Some("active") => assert!(suspended.remove(&principal), "{entry}"),
                    _ => panic!("{entry}"),
                }
            }
            "authorization.evaluate" => {
                let is_suspended = suspended.contains(details["principal_id"].as_str().unwrap());
                assert_eq!(details["authorized"], json!(!is_suspended), "{entry}");
                *(if is_suspended { &mut denied } else { &mut allowed }) += 1;
            }
            _ => {}
        }
    }
    assert!(allowed > 0 && denied > 0, "{allowed} allowed, {denied} denied");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_the_head_was_not_moved_to_is_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.entity("S", "spv", None).await;
    let columns = "previous_hash, entry_hash, hash_version, NULL, source, action, actor_id, actor_type, entity_id, \
     entity_type, \
                       correlation_id, details, occurred_at";
    let foreign = format!("INSERT INTO audit_logs SELECT 2, {columns} FROM audit_logs WHERE sequence = 1");
    let error = api.database.execute(&foreign).await.unwrap_err().to_string();
    assert!(error.contains("the head of the chain was not moved"), "{error}");
    api.get("/readyz").await.expect(200);
    api.entity("T", "spv", None).await;
    // With the guard off, as in a database that had such a row before.
    let foreign = foreign.replace("SELECT 2", "SELECT 3");
    match api.database.kind {
        DatabaseKind::Postgres => {
            api.database.execute("ALTER TABLE audit_logs DISABLE TRIGGER audit_logs_appended").await.unwrap();
            api.database.execute(&foreign).await.unwrap();
            api.database.execute("ALTER TABLE audit_logs ENABLE TRIGGER audit_logs_appended").await.unwrap();
        }
        DatabaseKind::Sqlite => {
            api.database.execute("DROP TRIGGER audit_logs_behind_head").await.unwrap();
            api.database.execute(&foreign).await.unwrap();
        }
    }
    assert_eq!(api.get("/readyz").await.expect(503)["status"], "not_ready");
    api.post("/api/v1/entities", json!({"name": "U", "type": "spv"})).await.expect(503);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_service_is_ready_while_facts_can_be_read_and_an_entry_can_be_written(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    api.get("/readyz").await.expect(200);
    api.database.execute("CREATE TABLE kept AS SELECT * FROM audit_chain_head").await.unwrap();
    api.database.execute("DELETE FROM audit_chain_head").await.unwrap();
    api.get("/readyz").await.expect(503);
    api.database.execute("INSERT INTO audit_chain_head SELECT * FROM kept").await.unwrap();
    api.get("/readyz").await.expect(200);
    for table in ["role_permissions", "platform_events", "registry_head"] {
        api.database.execute(&format!("ALTER TABLE {table} RENAME TO hidden")).await.unwrap();
        assert_eq!(api.get("/readyz").await.status, 503, "without {table}");
        api.database.execute(&format!("ALTER TABLE hidden RENAME TO {table}")).await.unwrap();
        api.get("/readyz").await.expect(200);
    }
    // The next version has migrated, and this one runs until it is replaced.
    api.database
        .execute(
            "INSERT INTO _sqlx_migrations (version, description, installed_on, success, checksum, execution_time) \
            SELECT 9999, description, installed_on, success, checksum, execution_time \
            FROM _sqlx_migrations WHERE version = 1",
        )
        .await
        .unwrap();
    api.get("/readyz").await.expect(200);
    // A database of an earlier version, restored under a running process.
    api.database
        .execute(
            "DELETE FROM _sqlx_migrations WHERE version >= (SELECT MAX(version) FROM _sqlx_migrations \
            WHERE version < 9999)",
        )
        .await
        .unwrap();
    api.get("/readyz").await.expect(503);
}
