//! The takeover of an older implementation's tables, and the way back.

use std::sync::Arc;

use epr_core::store::postgres::{self, Options};
use epr_core::store::{Store, StoreError, collect_into, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use rstest::rstest;

use crate::support::{Backend, World, draft, id};

/// A store on older tables: one entity whose type is `entity_type`.
async fn older(kind: DatabaseKind, entity_type: &str) -> (Arc<dyn Store>, Database) {
    let database = Database::create(kind).await;
    if let Some(file) = database.file() {
        std::fs::write(file, "").unwrap();
    }
    let (key, time) = match kind {
        DatabaseKind::Postgres => ("uuid", "timestamp"),
        DatabaseKind::Sqlite => ("CHAR(36)", "DATETIME"),
    };
    let at = "'2024-05-06 07:08:09.500000'";
    let tables = format!(
        "CREATE TABLE entities (id {key} PRIMARY KEY, name VARCHAR(255) NOT NULL, type VARCHAR(16) NOT NULL, \
           status VARCHAR(16) NOT NULL, parent_id {key}, attributes JSON, created_at {time} NOT NULL, \
           updated_at {time} NOT NULL); \
         INSERT INTO entities VALUES ('{}', 'older', '{entity_type}', 'active', NULL, NULL, {at}, {at})",
        id(1)
    );
    database.execute(&tables).await.unwrap();
    let options = Options::default();
    let store: Arc<dyn Store> = match database.file() {
        Some(file) => Arc::new(sqlite::open_file(&file, &options).unwrap()),
        None => Arc::new(postgres::open(&database.url, &options).unwrap()),
    };
    (store, database)
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_plan_names_every_problem_and_changes_nothing(#[case] kind: DatabaseKind) {
    let (store, database) = older(kind, "castle").await;
    let report = store.plan_takeover().await.unwrap().unwrap();
    assert_eq!((report.count, report.blocking), (1, 1));
    let problem = &report.problems[0];
    assert_eq!((problem.table, &*problem.column, problem.value.as_deref()), ("entities", "type", Some("castle")));
    assert_eq!(store.schema().await.unwrap().applied, 0);
    let error = store.migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::NotAdopted(_)), "{error}");
    assert_eq!(database.number("SELECT COUNT(*) FROM entities WHERE name = 'older'").await, 1, "as it was");
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_database_that_was_never_taken_over_has_nothing_to_hand_back(#[case] backend: Backend) {
    let world = World::new(backend).await;
    assert!(world.store.plan_takeover().await.unwrap().is_none());
    assert_eq!(world.store.since_takeover().await.unwrap(), None);
    let nothing = epr_core::store::SinceTakeover { last_older_entry: 0, last_entry: 0, events: 0, rejections: 0 };
    assert!(nothing.is_empty());
    let error = world.store.hand_back(&nothing).await.unwrap_err();
    assert!(matches!(error, StoreError::NotHandedBack(_)), "{error}");
    assert_eq!(world.store.entity(id(1)).await.unwrap(), None, "the tables are still there");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn older_tables_come_back_once_what_was_written_since_has_been_seen(#[case] kind: DatabaseKind) {
    let (store, database) = older(kind, "spv").await;
    store.migrate().await.unwrap();
    assert_eq!(store.entity(id(1)).await.unwrap().unwrap().name, "older");
    let seen = store.since_takeover().await.unwrap().unwrap();
    assert!(seen.is_empty(), "{seen:?}");
    store.append(&[draft(None, 1)]).await.unwrap();
    let error = store.hand_back(&seen).await.unwrap_err();
    assert!(matches!(error, StoreError::NotHandedBack(_)), "{error}");
    let seen = store.since_takeover().await.unwrap().unwrap();
    assert_eq!((seen.entries(), seen.is_empty()), (1, false));
    let mut rows = Vec::new();
    store.scan_since_takeover(&mut collect_into(&mut rows)).await.unwrap();
    assert!(rows.iter().any(|row| row.table == "entities" && row.json.contains("older")), "{rows:?}");
    store.hand_back(&seen).await.unwrap();
    assert_eq!(database.number("SELECT COUNT(*) FROM entities WHERE type = 'spv'").await, 1);
    assert!(database.execute("SELECT * FROM audit_logs").await.is_err(), "EPR's tables are gone");
}
