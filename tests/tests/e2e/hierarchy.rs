//! The hierarchy: depth, cycles, and two requests that race to build one.

use epr_testkit::api::Api;
use epr_testkit::database::DatabaseKind;
use epr_testkit::seed;
use rand::Rng as _;
use rstest::rstest;
use serde_json::{Value, json};

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_grant_at_the_top_reaches_200_levels_down(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let top = api.entity("level 0", "issuer", None).await;
    let mut lowest = top.clone();
    for level in 1..=200 {
        lowest = api.entity(&format!("level {level}"), "spv", Some(&lowest)).await;
    }
    let role = api.role("Reader", &[], &["document:download"]).await;
    api.post("/api/v1/assignments", json!({"principal_id": USER, "role_id": role, "entity_id": top})).await.expect(201);
    assert!(api.authorized(USER, "document:download", &lowest).await);
    let cycle = api.patch(&format!("/api/v1/entities/{top}"), json!({"parent_id": lowest})).await.expect(400);
    assert_eq!(cycle["detail"].as_str().unwrap().matches(" -> ").count(), 201, "the chain names every link");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cycles_are_refused_and_named(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let a = api.entity("a", "issuer", None).await;
    let b = api.entity("b", "spv", Some(&a)).await;
    let c = api.entity("c", "offering", Some(&b)).await;
    let refused = api.patch(&format!("/api/v1/entities/{a}"), json!({"parent_id": c})).await.expect(400);
    assert_eq!(refused["detail"], format!("Parent {c} would close a cycle: `{a}` -> `{c}` -> `{b}` -> `{a}`"));
    let itself = api.patch(&format!("/api/v1/entities/{a}"), json!({"parent_id": a})).await.expect(400);
    assert_eq!(itself["detail"], format!("Parent {a} would close a cycle: `{a}` -> `{a}`"));
    assert_eq!(api.get(&format!("/api/v1/entities/{a}")).await.expect(200)["parent_id"], Value::Null);
    let unknown = "11111111-2222-4333-8444-555555555555";
    let refused = api.patch(&format!("/api/v1/entities/{a}"), json!({"parent_id": unknown})).await.expect(400);
    assert_eq!(refused["detail"], format!("Parent entity {unknown} not found"));
    // Siblings may change places.
    api.patch(&format!("/api/v1/entities/{c}"), json!({"parent_id": a})).await.expect(200);
    api.patch(&format!("/api/v1/entities/{b}"), json!({"parent_id": c})).await.expect(200);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn racing_moves_never_close_a_cycle(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let mut rng = seed::rng("racing_moves_never_close_a_cycle");
    let mut ids = Vec::new();
    for n in 0..6 {
        ids.push(api.entity(&format!("n{n}"), "other", None).await);
    }
    for _ in 0..25 {
        let moves: Vec<_> = (0..8).map(|_| (rng.random_range(0..6usize), rng.random_range(0..6usize))).collect();
        let tasks = moves.into_iter().map(|(child, parent)| {
            let (api, child, parent) = (api.clone(), ids[child].clone(), ids[parent].clone());
            tokio::spawn(async move {
                api.patch(&format!("/api/v1/entities/{child}"), json!({"parent_id": parent})).await.status.as_u16()
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            let status = task.await.unwrap();
            assert!(matches!(status, 200 | 400), "{status}");
        }
        for id in &ids {
            let mut seen = vec![id.clone()];
            let mut next = api.get(&format!("/api/v1/entities/{id}")).await.expect(200)["parent_id"].clone();
            while let Value::String(parent) = next {
                assert!(!seen.contains(&parent), "a cycle: {seen:?} and again {parent}");
                next = api.get(&format!("/api/v1/entities/{parent}")).await.expect(200)["parent_id"].clone();
                seen.push(parent);
            }
        }
    }
}
