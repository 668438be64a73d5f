//! The API is killed with -9 in mid-load, ten times: every answered mutation has its entry, no entry lacks its
//! mutation.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::audit_verify;
use epr_testkit::process::Process;
use epr_testkit::seed;
use rand::Rng as _;
use reqwest::Client;
use rstest::rstest;
use serde_json::{Value, json};
use tokio::sync::{Notify, RwLock};

const KILLS: usize = 10;
const CLIENTS: usize = 16;

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_kills_lose_no_entry(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("killed_ten_times");
    let database = Arc::new(Database::create(kind).await);
    let environment = [("EPR_DATABASE_URL", database.url.as_str()), ("EPR_LOG_LEVEL", "WARNING")];
    let mut answered = BTreeSet::new();
    let (process, base) = Process::api_at(&environment).await;
    let made =
        Client::new().post(format!("{base}/api/v1/roles")).json(&json!({"name": "Reader"})).send().await.unwrap();
    let role = made.json::<Value>().await.unwrap()["id"].as_str().unwrap().to_owned();
    process.signal("KILL").await;
    process.wait_for_exit().await;
    for round in 0..KILLS {
        let (process, base) = Process::api_at(&environment).await;
        let acknowledged = Arc::new(RwLock::new(Vec::new()));
        let (count, enough) = (Arc::new(AtomicUsize::new(0)), Arc::new(Notify::new()));
        let target = rng.random_range(40..160);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                let (base, acknowledged, count, enough) =
                    (base.clone(), acknowledged.clone(), count.clone(), enough.clone());
                let role = role.clone();
                tokio::spawn(async move {
                    let http = Client::new();
                    // Whatever the service answers is written down; when the connection breaks, the process was killed.
                    let send = async |path: String, body: Value| -> Option<String> {
                        let response = http.post(format!("{base}{path}")).json(&body).send().await.ok()?;
                        assert!(response.status().is_success(), "{path}: {}", response.status());
                        let made = response.json::<Value>().await.ok()?;
                        if count.fetch_add(1, Ordering::SeqCst) == target {
                            enough.notify_one();
                        }
                        made["id"].as_str().map(str::to_owned)
                    };
                    for n in 0.. {
                        let body = json!({"name": format!("{round}/{client}/{n}"), "type": "spv"});
                        let Some(entity) = send("/api/v1/entities".into(), body).await else { break };
                        acknowledged.write().await.push((Kept::Entity, entity.clone()));
                        let body = json!({"principal_id": entity, "role_id": role, "entity_id": entity});
                        let Some(assignment) = send("/api/v1/assignments".into(), body).await else { break };
                        acknowledged.write().await.push((Kept::Assignment, assignment));
                        let Some(entity) = send(format!("/api/v1/entities/{entity}/archive"), Value::Null).await else {
                            break;
                        };
                        acknowledged.write().await.push((Kept::Archive, entity));
                    }
                })
            })
            .collect();
        enough.notified().await;
        process.signal("KILL").await;
        for client in clients {
            client.await.unwrap();
        }
        answered.extend(acknowledged.read().await.iter().cloned());
    }
    let mut answers = [0; 3];
    for (kept, id) in &answered {
        let (place, sql) = match kept {
            Kept::Entity => (0, format!("SELECT COUNT(*) FROM entities WHERE id = '{id}'")),
            Kept::Assignment => (1, format!("SELECT COUNT(*) FROM role_assignments WHERE id = '{id}'")),
            Kept::Archive => (2, format!("SELECT COUNT(*) FROM entities WHERE id = '{id}' AND status = 'archived'")),
        };
        answers[place] += 1;
        assert_eq!(database.number(&sql).await, 1, "an answered mutation was lost: {kept:?} {id}");
    }
    // Each mutation has exactly one entry, and each entry its mutation.
    let assignment_id = match kind {
        DatabaseKind::Postgres => "CAST(l.details ->> 'assignment_id' AS uuid)",
        DatabaseKind::Sqlite => "json_extract(l.details, '$.assignment_id')",
    };
    let mut stored = [0; 3];
    for (place, (table, entry, key)) in [
        ("entities t WHERE 1 = 1", "entity.create", "l.entity_id"),
        ("role_assignments t WHERE 1 = 1", "role_assignment.create", assignment_id),
        ("entities t WHERE t.status = 'archived'", "entity.archive", "l.entity_id"),
    ]
    .into_iter()
    .enumerate()
    {
        let rows = database.number(&format!("SELECT COUNT(*) FROM {table}")).await;
        let entries = database.number(&format!("SELECT COUNT(*) FROM audit_logs WHERE action = '{entry}'")).await;
        let paired = format!(
            "SELECT COUNT(*) FROM {table} AND EXISTS (SELECT 1 FROM audit_logs l WHERE l.action = '{entry}' AND {key} \
             = t.id)"
        );
        assert_eq!(
            (entries, database.number(&paired).await),
            (rows, rows),
            "{entry}: mutation without entry, or entry without mutation"
        );
        stored[place] = rows;
    }
    println!(
        "{kind:?}: answered {answers:?}, stored {stored:?} entities, assignments, archived ones, after {KILLS} kills"
    );
    let (code, report) = audit_verify(&database.url, &[]).await;
    let entries = database.number("SELECT COUNT(*) FROM audit_logs").await;
    assert_eq!((code, report["checked"].as_i64()), (0, Some(entries)), "{report}");
}

/// The result that an answer promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kept {
    Entity,
    Assignment,
    Archive,
}
