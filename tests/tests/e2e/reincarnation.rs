//! `epr ledger reincarnate`: revisions from before are refused, in every process, and nothing cached is answered.

use std::sync::Arc;

use axum::http::Method;
use epr_core::clock::SystemClock;
use epr_core::domain::Revision;
use epr_testkit::api::{Answer, Api};
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::redis::RedisServer;
use epr_testkit::wait;
use rstest::rstest;
use serde_json::{Value, json};

use crate::cache::{USER, World};

fn revision_of(answer: &Answer) -> Revision {
    answer.headers["epr-revision"].to_str().unwrap().parse().unwrap()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite, false)]
#[case::postgres(DatabaseKind::Postgres, false)]
#[case::postgres_and_redis(DatabaseKind::Postgres, true)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_process_refuses_what_names_the_former_incarnation(#[case] kind: DatabaseKind, #[case] redis: bool) {
    let server = RedisServer::start().await;
    let url = server.url();
    let settings = if redis { vec![("EPR_REDIS_URL", url.as_str())] } else { Vec::new() };
    let database = Arc::new(Database::create(kind).await);
    let api = Api::with_settings(database.clone(), Arc::new(SystemClock), &settings).await;
    let world = World::create(&api).await;
    let question = json!({"user_id": USER, "action": "document:download", "resource_id": world.spv});
    let check = async || api.post("/api/v1/authorize", question.clone()).await;
    // Cached, with the revision that it rests on.
    let before = revision_of(&check().await);
    assert_eq!(revision_of(&check().await), before);
    let head = database.number("SELECT MAX(sequence) FROM audit_logs").await;

    let cli = Cli::on(&database.url);
    let output = cli.run(&["ledger", "reincarnate", "--why", "a drill", "--json"]).await;
    assert_eq!(output.code, 0, "{}", output.err);
    let said: Value = serde_json::from_str(&output.out).unwrap();
    let first: Revision = said["revision"].as_str().unwrap().parse().unwrap();
    assert_eq!((first.sequence, said["former_head"].as_i64()), (head + 1, Some(head)));
    assert_eq!(said["former_incarnation"], before.incarnation.to_string());
    assert_ne!(first.incarnation, before.incarnation);

    // The process learns of it as of any change: nothing cached is answered any more.
    wait::until("a decision of the new incarnation", async || revision_of(&check().await) == first).await;
    for old in [before, Revision { sequence: 1, ..before }] {
        let old = old.to_string();
        let body = question.to_string();
        let answer = api.raw(Method::POST, "/api/v1/authorize", &[("EPR-At-Least", &old)], body).await;
        assert_eq!(answer.status, 409, "{}", answer.body);
        let answer = api.raw(Method::GET, "/api/v1/roles", &[("EPR-At-Least", &old)], "").await;
        assert_eq!(answer.status, 409, "{}", answer.body);
        let mut past = question.clone();
        past["revision"] = old.as_str().into();
        let answer = api.post("/api/v1/authorize", past).await;
        assert_eq!(answer.status, 409, "{}", answer.body);
        let answer = api.get(&format!("/api/v1/changes?after={old}")).await;
        assert_eq!(answer.status, 409, "{}", answer.body);
    }
    // The past is that of the ledger, under the new incarnation.
    let mut past = question.clone();
    past["revision"] = Revision { sequence: before.sequence, ..first }.to_string().into();
    assert_eq!(api.post("/api/v1/authorize", past).await.expect(200)["authorized"], true);

    let changes = api.get("/api/v1/changes").await.expect(200);
    let entry = changes.as_array().unwrap().last().unwrap();
    assert_eq!(
        (entry["action"].as_str(), entry["revision"].as_str()),
        (Some("ledger.reincarnate"), said["revision"].as_str())
    );
    let details = &entry["details"];
    assert_eq!((&details["why"], &details["former_head"]["sequence"]), (&json!("a drill"), &json!(head)));
    assert_eq!(details["former_checkpoint"], Value::Null);
    assert_eq!(details["incarnation"], first.incarnation.to_string());
    assert_eq!(cli.run(&["audit", "verify"]).await.code, 0);
    let history = cli.run(&["history", "status"]).await;
    assert_eq!(history.code, 0, "{}", history.out);
    // Without a reason.
    assert_eq!(cli.run(&["ledger", "reincarnate"]).await.code, 2);
}

/// A page of a list goes on only in the incarnation in which the list began.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_token_of_the_former_incarnation_is_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let world = World::create(&api).await;
    let other = json!({"principal_id": uuid::Uuid::from_u128(77), "role_id": world.role});
    api.post("/api/v1/assignments", other).await.expect(201);
    let mut list = json!({"action": "document:download", "resource_id": world.spv, "limit": 1});
    let page = api.post("/api/v1/access/principals", list.clone()).await.expect(200);
    list["next"] = page["next"].clone();
    assert!(list["next"].is_string(), "{page}");
    api.post("/api/v1/access/principals", list.clone()).await.expect(200);
    api.epr.reincarnate(&epr_core::Call::default(), &"a drill".parse().unwrap()).await.unwrap();
    let refused = api.post("/api/v1/access/principals", list).await;
    assert!(refused.body.to_string().contains("another incarnation"), "{}", refused.body);
    assert!(matches!(refused.status.as_u16(), 400 | 409), "{}", refused.status);
}
