//! GETs of the registry with `revision` and `at`: the answer is the one that was given then.

use axum::http::Method;
use epr_core::clock::{Clock as _, SystemClock};
use epr_testkit::api::{Answer, Api, id_of};
use epr_testkit::database::DatabaseKind;
use epr_testkit::seed;
use epr_testkit::wait::next_millisecond;
use rand::Rng as _;
use rstest::rstest;
use serde_json::{Value, json};

use crate::history_world::World;

const LISTS: [&str; 8] = [
    "/api/v1/entities?limit=1000",
    "/api/v1/entities?status=archived&limit=1000",
    "/api/v1/entities?type=spv&type=offering&limit=1000",
    "/api/v1/roles?limit=1000",
    "/api/v1/assignments?limit=1000",
    "/api/v1/assignments?principal_type=user&limit=1000",
    "/api/v1/principals?limit=1000",
    "/api/v1/principals?status=suspended&limit=1000",
];

fn at_revision(path: &str, revision: &str) -> String {
    format!("{path}{}revision={revision}", if path.contains('?') { '&' } else { '?' })
}

/// The present revision, from a change that changes nothing.
async fn revision(api: &Api, role: &str) -> String {
    let answer = api.patch(&format!("/api/v1/roles/{role}"), json!({"description": "kept"})).await;
    answer.headers["epr-revision"].to_str().unwrap().to_owned()
}

/// One item of each kind, and those below one entity.
fn items(lists: &[Value], rng: &mut rand::rngs::StdRng) -> Vec<String> {
    let mut paths = Vec::new();
    for (list, path) in [(0, "entities"), (3, "roles"), (4, "assignments"), (6, "principals")] {
        let rows = lists[list].as_array().unwrap();
        if rows.is_empty() {
            continue;
        }
        let id = rows[rng.random_range(0..rows.len())]["id"].as_str().unwrap();
        paths.push(format!("/api/v1/{path}/{id}"));
        if path == "entities" {
            paths.push(format!("/api/v1/entities?ancestor_id={id}&limit=1000"));
            paths.push(format!("/api/v1/entities?parent_id={id}&limit=1000"));
            paths.push(format!("/api/v1/assignments?entity_id={id}&limit=1000"));
        }
    }
    paths
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_answer_at_a_revision_is_the_one_that_was_given_then(#[case] kind: DatabaseKind) {
    let mut rng = seed::rng("the_answer_at_a_revision_is_the_one_that_was_given_then");
    let api = Api::start(kind).await;
    let role = api.role("Kept", &[], &["a:read"]).await;
    api.patch(&format!("/api/v1/roles/{role}"), json!({"description": "kept"})).await.expect(200);
    let mut world = World { keeps_persons: true, ..World::default() };
    let mut given: Vec<(String, String, Value)> = Vec::new();
    for step in 0..120 {
        world.change(&api.epr, &mut rng, SystemClock.now()).await;
        if step % 4 != 0 {
            continue;
        }
        let revision = revision(&api, &role).await;
        let mut lists = Vec::new();
        for path in LISTS {
            lists.push(api.get(path).await.expect(200));
        }
        for path in items(&lists, &mut rng) {
            given.push((revision.clone(), path.clone(), api.get(&path).await.expect(200)));
        }
        given.extend(LISTS.into_iter().zip(lists).map(|(path, list)| (revision.clone(), path.to_owned(), list)));
    }
    let mut changed = 0;
    for (revision, path, then) in &given {
        let answer = api.get(&at_revision(path, revision)).await;
        assert_eq!(answer.headers["epr-revision"].to_str().unwrap(), revision, "{path}");
        assert_eq!(&answer.expect(200), then, "{path} at {revision}");
        let now = api.get(path).await;
        changed += usize::from(!now.status.is_success() || now.body != *then);
    }
    assert!(changed > 50, "the registry has changed since: {changed} of {}", given.len());
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_lists_have_pages_and_every_past_answer_is_recorded(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.insert(0, api.entity(&format!("entity {n}"), "spv", None).await);
    }
    let last = api.patch(&format!("/api/v1/entities/{}", ids[0]), json!({"name": "renamed"})).await;
    let revision = last.headers["epr-revision"].to_str().unwrap().to_owned();
    next_millisecond().await;
    let at = api.epr.now();
    next_millisecond().await;
    api.post(&format!("/api/v1/entities/{}/archive", ids[2]), json!({})).await.expect(200);
    api.entity("later", "spv", None).await;
    let (mut listed, mut path) = (Vec::new(), format!("/api/v1/entities?limit=2&revision={revision}"));
    loop {
        let page: Answer = api.get(&path).await;
        let next = page.next_page(&path);
        listed.extend(page.expect(200).as_array().unwrap().iter().map(id_of));
        match next {
            Some(next) => path = next,
            None => break,
        }
    }
    assert_eq!(listed, ids);
    // Without a limit too, and by the time of the revision.
    let whole = api.get(&format!("/api/v1/entities?revision={revision}")).await.expect(200);
    assert_eq!(whole.as_array().unwrap().len(), 5);
    let then = api.get(&format!("/api/v1/entities/{}?at={at}", ids[0])).await.expect(200);
    assert_eq!(then["name"], "renamed");
    let entries = api.get("/api/v1/audit/entries?action=authorization.review").await.expect(200);
    let entries = entries.as_array().unwrap();
    assert_eq!(entries.len(), 5, "three pages, a list and a row");
    assert_eq!((&entries[0]["entity_id"], &entries[0]["details"]["kind"]), (&json!(ids[0]), &json!("entity")));
    assert_eq!(entries[1]["details"]["count"], 5);
    assert_eq!(entries[1]["details"]["revision"], revision);
    // What cannot be asked.
    let missing = "00000000-0000-4000-8000-000000000000";
    for (path, status) in [
        (format!("/api/v1/entities/{missing}?revision={revision}"), 404),
        (format!("/api/v1/entities/{}?at=2001-01-01T00:00:00Z", ids[0]), 400),
        ("/api/v1/roles?revision=x".to_owned(), 400),
        ("/api/v1/assignments?at=yesterday".to_owned(), 400),
        (format!("/api/v1/principals?revision={missing}.0000000000000000001"), 409),
    ] {
        let answer = api.raw(Method::GET, &path, &[], "").await;
        assert_eq!(answer.status.as_u16(), status, "{path}: {}", answer.body);
    }
}
