//! The bound on the depth of the hierarchy, and hierarchies that are too deep or have a cycle already: of an older
//! database, or restored.

use std::sync::Arc;

use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind, LOCK_WAITERS};
use epr_testkit::process::epr;
use rstest::rstest;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};

const USER: &str = "aaaaaaaa-0000-4000-8000-000000000001";

/// The id of level `level` of the chain `chain`.
fn level(chain: u8, level: u32) -> String {
    format!("{chain:08x}-0000-4000-8000-{level:012x}")
}

/// Writes a chain of so many levels behind the service's back.
async fn chain(database: &Database, chain: u8, levels: u32) {
    let rows: Vec<_> = (1..=levels)
        .map(|n| {
            let parent = if n == 1 { "NULL".into() } else { format!("'{}'", level(chain, n - 1)) };
            let at = "'2026-01-01T00:00:00.000000Z'";
            format!("('{}', '{chain}/{n}', 'spv', 'active', {parent}, '{{}}', {at}, {at})", level(chain, n))
        })
        .collect();
    let columns = "id, name, type, status, parent_id, attributes, created_at, updated_at";
    database.execute(&format!("INSERT INTO entities ({columns}) VALUES {}", rows.join(", "))).await.unwrap();
}

async fn set_parent(database: &Database, id: &str, parent: &str) {
    database.execute(&format!("UPDATE entities SET parent_id = '{parent}' WHERE id = '{id}'")).await.unwrap();
}

async fn move_to(api: &Api, id: &str, parent: impl Into<Value>) -> (u16, String) {
    let answer = api.patch(&format!("/api/v1/entities/{id}"), json!({"parent_id": parent.into()})).await;
    (answer.status.as_u16(), answer.body["detail"].as_str().unwrap_or_default().to_owned())
}

async fn doctor(database: &Database) -> (String, String) {
    let (_, out, _) = epr(&database.url, &["doctor", "--json"]).await;
    let report: Value = serde_json::from_str(&out).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let found = findings.iter().find(|finding| finding["what"] == "hierarchy").unwrap_or_else(|| panic!("{report:#}"));
    (found["state"].as_str().unwrap().to_owned(), found["seen"].as_str().unwrap().to_owned())
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_257th_level_is_refused(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    chain(&api.database, 1, 255).await;
    let last = api.entity("the last level", "spv", Some(&level(1, 255))).await;
    let body = json!({"name": "one more", "type": "spv", "parent_id": last});
    let refused = api.post("/api/v1/entities", body).await.expect(400);
    let sentence =
        format!("Parent {last} would make the hierarchy deeper than 256 levels: it is on the last level already");
    assert_eq!(refused["detail"], sentence);
    // By a move: a leaf, and a subtree of two levels.
    let (top, below) = (api.entity("top", "spv", None).await, api.entity("below", "spv", None).await);
    assert_eq!(move_to(&api, &below, &*top).await.0, 200);
    assert_eq!(move_to(&api, &below, &*last).await.0, 400);
    let (status, sentence) = move_to(&api, &top, level(1, 255)).await;
    assert_eq!(status, 400);
    assert!(
        sentence.ends_with(&format!("it is on level 255, and {top} has more than 0 levels below itself")),
        "{sentence}"
    );
    assert_eq!(move_to(&api, &top, level(1, 254)).await, (200, String::new()));
    let (status, sentence) = move_to(&api, &level(1, 1), &*below).await;
    assert_eq!(status, 400);
    assert_eq!(sentence.matches(" -> ").count(), 256, "every link of the cycle is named: {sentence}");
    assert_eq!(doctor(&api.database).await, ("fine".into(), "256 levels, no cycle".into()));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hierarchy_that_is_too_deep_already_goes_on_working(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    chain(&api.database, 2, 20_000).await;
    chain(&api.database, 3, 300).await;
    let (state, seen) = doctor(&api.database).await;
    assert_eq!(state, "doubtful");
    assert!(seen.contains("19788 entities are deeper than 256 levels, the deepest on level 20000"), "{seen}");
    assert!(seen.contains(&level(2, 257)) && seen.contains(&level(3, 257)), "{seen}");
    let role = api.role("Reader", &[], &["document:download"]).await;
    let grant = json!({"principal_id": USER, "role_id": role, "entity_id": level(3, 1)});
    api.post("/api/v1/assignments", grant).await.expect(201);
    assert!(api.authorized(USER, "document:download", &level(3, 300)).await);
    api.patch(&format!("/api/v1/entities/{}", level(3, 300)), json!({"name": "renamed"})).await.expect(200);
    // Sideways and up, but not further down.
    assert_eq!(move_to(&api, &level(3, 150), level(2, 149)).await, (200, String::new()));
    assert_eq!(move_to(&api, &level(3, 150), level(2, 100)).await, (200, String::new()));
    let (status, sentence) = move_to(&api, &level(3, 150), level(2, 120)).await;
    assert!(status == 400 && sentence.len() < 300, "{sentence}");
    // A refused cycle of 20,000 links.
    let (status, sentence) = move_to(&api, &level(2, 1), level(2, 20_000)).await;
    assert!(status == 400 && sentence.contains("would close a cycle"), "{sentence}");
    assert!(sentence.len() < 12_000 && sentence.contains(&level(2, 20_000)), "{}", sentence.len());
    let body = json!({"name": "one more", "type": "spv", "parent_id": level(2, 20_000)});
    api.post("/api/v1/entities", body).await.expect(400);
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cycle_in_the_table_ends_every_walk_and_can_be_repaired(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    chain(&api.database, 4, 4).await;
    chain(&api.database, 5, 3).await;
    set_parent(&api.database, &level(4, 1), &level(4, 3)).await;
    let named = format!("`{0}` -> `{2}` -> `{1}` -> `{0}`", level(4, 1), level(4, 2), level(4, 3));
    let (state, seen) = doctor(&api.database).await;
    assert_eq!((state.as_str(), seen), ("wrong", format!("4 entities are in or below a cycle: {named}")));
    let role = api.role("Reader", &[], &["document:download"]).await;
    let grant = json!({"principal_id": USER, "role_id": role, "entity_id": level(4, 2)});
    api.post("/api/v1/assignments", grant).await.expect(201);
    assert!(api.authorized(USER, "document:download", &level(4, 4)).await);
    // Nothing is moved into it or created in it.
    for parent in [level(4, 1), level(4, 4)] {
        let (status, sentence) = move_to(&api, &level(5, 2), &*parent).await;
        assert!(status == 400 && sentence.contains("is in or below a cycle: `"), "{sentence}");
        let body = json!({"name": "in a cycle", "type": "spv", "parent_id": parent});
        api.post("/api/v1/entities", body).await.expect(400);
    }
    // Within it: still a cycle. What is below it can leave; a member that leaves opens it.
    assert_eq!(move_to(&api, &level(4, 1), level(4, 2)).await.0, 400);
    assert_eq!(move_to(&api, &level(4, 4), level(5, 3)).await, (200, String::new()));
    assert_eq!(move_to(&api, &level(4, 2), level(5, 3)).await, (200, String::new()));
    assert_eq!(doctor(&api.database).await, ("fine".into(), "6 levels, no cycle".into()));
}

/// Creations and moves that together would make the hierarchy too deep, or close a cycle, see each other.
#[tokio::test]
async fn creations_share_the_lock_that_moves_take() {
    let api = Api::start(DatabaseKind::Postgres).await;
    let (top, other) = (api.entity("top", "spv", None).await, api.entity("other", "spv", None).await);
    let mut holder = PgConnection::connect(&api.database.url).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT pg_advisory_xact_lock_shared(1162891777)").execute(&mut holder).await.unwrap();
    api.entity("beside another creation", "spv", Some(&top)).await;
    let moving = tokio::spawn({
        let (api, top, other) = (api.clone(), top.clone(), other.clone());
        async move { move_to(&api, &other, &*top).await }
    });
    api.database.until(LOCK_WAITERS, 1).await;
    sqlx::raw_sql("COMMIT; BEGIN; SELECT pg_advisory_xact_lock(1162891777)").execute(&mut holder).await.unwrap();
    assert_eq!(moving.await.unwrap().0, 200);
    let creating = tokio::spawn({
        let (api, top) = (api.clone(), top.clone());
        async move { api.entity("while another moves", "spv", Some(&top)).await }
    });
    api.database.until(LOCK_WAITERS, 1).await;
    api.entity("a root", "spv", None).await;
    sqlx::raw_sql("COMMIT").execute(&mut holder).await.unwrap();
    creating.await.unwrap();
}

/// An older database with a cycle is not taken over; the cycle is named.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_cycle_is_not_taken_over(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    if let Some(file) = database.file() {
        std::fs::write(file, "").unwrap();
    }
    let (id, time) = match kind {
        DatabaseKind::Postgres => ("uuid", "timestamptz"),
        DatabaseKind::Sqlite => ("CHAR(36)", "DATETIME"),
    };
    let table = format!(
        "CREATE TABLE entities (id {id} PRIMARY KEY, name VARCHAR(255) NOT NULL, type VARCHAR(16) NOT NULL, \
         status VARCHAR(16) NOT NULL, parent_id {id}, attributes JSON, created_at {time} NOT NULL, \
         updated_at {time} NOT NULL)"
    );
    database.execute(&table).await.unwrap();
    chain(&database, 6, 5).await;
    set_parent(&database, &level(6, 1), &level(6, 3)).await;
    let (code, _, err) = epr(&database.url, &["migrate"]).await;
    assert_eq!(code, 2, "{err}");
    let named = format!("`{0}` -> `{2}` -> `{1}` -> `{0}`", level(6, 1), level(6, 2), level(6, 3));
    assert!(err.contains(&named) && err.contains("nothing was changed"), "{err}");
    set_parent(&database, &level(6, 1), &level(6, 1)).await;
    let (code, _, err) = epr(&database.url, &["migrate"]).await;
    assert!(code == 2 && err.contains(&format!("`{0}` -> `{0}`", level(6, 1))), "{err}");
    database.execute(&format!("UPDATE entities SET parent_id = NULL WHERE id = '{}'", level(6, 1))).await.unwrap();
    assert_eq!(epr(&database.url, &["migrate"]).await.0, 0);
}
