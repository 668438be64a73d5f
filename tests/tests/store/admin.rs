//! The database itself: schema, connections, readiness.

use std::sync::Arc;
use std::time::Duration;

use epr_core::store::postgres::{self, Options};
use epr_core::store::{SchemaState, Store, StoreError, oldest_admitted_program, sqlite};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::wait;
use rstest::rstest;

use crate::support::{Backend, World, at, draft};

/// A store on a database without a schema.
async fn unmigrated(backend: Backend) -> (Arc<dyn Store>, Option<Database>) {
    let options = Options::default();
    let kind = match backend {
        Backend::Memory => return (Arc::new(sqlite::open_memory(&options)), None),
        Backend::File => DatabaseKind::Sqlite,
        Backend::Postgres => DatabaseKind::Postgres,
    };
    let database = Database::create(kind).await;
    let store: Arc<dyn Store> = match database.file() {
        Some(file) => Arc::new(sqlite::open_file(&file, &options).unwrap()),
        None => Arc::new(postgres::open(&database.url, &options).unwrap()),
    };
    (store, Some(database))
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_migration_brings_an_empty_database_up_to_date_and_a_second_one_changes_nothing(#[case] backend: Backend) {
    let (store, _database) = unmigrated(backend).await;
    let before = store.schema().await.unwrap();
    assert_eq!(before.applied, 0);
    store.ping().await.unwrap();
    assert!(store.ready().await.is_err(), "no facts can be read without a schema");
    let migrated = store.migrate().await.unwrap();
    assert_eq!((migrated.applied, migrated.known), (before.known, before.known));
    assert_eq!(store.migrate().await.unwrap(), migrated);
    assert_eq!(store.schema().await.unwrap(), migrated);
    store.ready().await.unwrap();
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_schema_that_is_newer_than_the_program_is_refused(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
                 SELECT version + 1000, 'newer', TRUE, checksum, 0 FROM _sqlx_migrations WHERE version = 1";
    world.database().execute(newer).await.unwrap();
    let error = world.store.migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::SchemaTooNew { applied: 1001, .. }), "{error}");
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn each_migration_keeps_the_oldest_program_that_it_admits_and_a_newer_one_can_admit_this_program(
    #[case] backend: Backend,
) {
    let world = World::new(backend).await;
    let database = world.database();
    let silent = "SELECT COUNT(*) FROM _sqlx_migrations WHERE version >= 39 AND oldest_program IS NULL";
    assert_eq!(database.number(silent).await, 0);
    let state = world.store.schema().await.unwrap();
    let newest = database.number("SELECT MAX(oldest_program) FROM _sqlx_migrations").await;
    assert_eq!((state.oldest_program, newest), (Some(newest), oldest_admitted_program()));
    state.check_start().unwrap();
    let newer = |version: i64, oldest: i64| {
        format!(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time, oldest_program) \
             SELECT {version}, 'newer', TRUE, checksum, 0, {oldest} FROM _sqlx_migrations WHERE version = 1"
        )
    };
    database.execute(&newer(9001, state.known)).await.unwrap();
    let admitting = SchemaState { applied: 9001, oldest_program: Some(state.known), ..state };
    assert_eq!(world.store.migrate().await.unwrap(), admitting, "nothing to migrate");
    database.execute(&newer(9002, 9001)).await.unwrap();
    assert_eq!(world.store.schema().await.unwrap(), SchemaState { applied: 9002, oldest_program: Some(9001), ..state });
    let error = world.store.migrate().await.unwrap_err();
    assert!(matches!(error, StoreError::SchemaTooNew { oldest_program: Some(9001), .. }), "{error}");
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_ledger_with_a_row_beyond_its_head_is_not_ready_and_its_row_can_be_set_aside(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.store.append(&[draft(None, 1)]).await.unwrap();
    world.store.ready().await.unwrap();
    world.database().remove_ledger_triggers().await;
    let columns = "previous_hash, entry_hash, hash_version, source, action, actor_type, details, occurred_at";
    let foreign =
        format!("INSERT INTO audit_logs (sequence, {columns}) SELECT 2, {columns} FROM audit_logs WHERE sequence = 1");
    world.database().execute(&foreign).await.unwrap();
    let error = world.store.ready().await.unwrap_err();
    assert!(matches!(error, StoreError::Ledger(_)), "{error}");
    let mut tx = world.begin().await;
    let rows = tx.set_aside_foreign_rows().await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!((rows.head, rows.count, rows.sequences), (1, 1, vec!["2".to_owned()]));
    world.store.ready().await.unwrap();
}

#[tokio::test]
async fn readiness_on_postgres_does_not_wait_for_the_ledgers_lock() {
    let world = World::new(Backend::Postgres).await;
    let mut tx = world.begin().await;
    tx.append(&[draft(None, 1)]).await.unwrap();
    world.store.ready().await.unwrap();
    tx.commit().await.unwrap();
    world.store.ready().await.unwrap();
}

#[tokio::test]
async fn a_postgres_server_says_its_time_its_connections_and_its_privileges() {
    let world = World::new(Backend::Postgres).await;
    let (before, server, after) = world.store.server_time(&|| at(7)).await.unwrap().unwrap();
    assert_eq!((before, after), (at(7), at(7)));
    assert!(server > at(0));
    let connections = world.store.connections().await.unwrap().unwrap();
    assert!((1..=connections.max).contains(&connections.used), "{connections:?}");
    assert_eq!(world.store.missing_privileges().await.unwrap(), Vec::<String>::new());
    assert_eq!(world.store.pooler(), None);
    world.store.probe_connection().await.unwrap();
}

#[tokio::test]
async fn why_no_connection_can_be_opened_is_one_word() {
    let store: Arc<dyn Store> =
        Arc::new(postgres::open("postgres://epr@127.0.0.1:1/epr?sslmode=disable", &Options::default()).unwrap());
    let failure = store.probe_connection().await.unwrap_err();
    assert_eq!((failure.reason, failure.lasting), ("refused", false));
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[tokio::test]
async fn a_file_has_no_server(#[case] backend: Backend) {
    let world = World::new(backend).await;
    assert_eq!(world.store.server_time(&|| at(7)).await.unwrap(), None);
    assert_eq!(world.store.connections().await.unwrap(), None);
    assert_eq!(world.store.missing_privileges().await.unwrap(), Vec::<String>::new());
    assert_eq!(world.store.pooler(), None);
    world.store.probe_connection().await.unwrap();
}

#[rstest]
#[case::memory(Backend::Memory, &["all"])]
#[case::sqlite(Backend::File, &["read", "write"])]
#[case::postgres(Backend::Postgres, &["all"])]
#[tokio::test]
async fn each_pool_counts_what_was_acquired_from_it(#[case] backend: Backend, #[case] names: &[&str]) {
    let world = World::new(backend).await;
    let before: u64 = world.store.pools().iter().map(|pool| pool.acquires).sum();
    world.store.ping().await.unwrap();
    world.begin().await.commit().await.unwrap();
    let pools = world.store.pools();
    assert_eq!(pools.iter().map(|pool| pool.name).collect::<Vec<_>>(), names);
    assert_eq!(pools.iter().map(|pool| pool.acquires).sum::<u64>(), before + 2);
    assert!(pools.iter().all(|pool| pool.idle <= pool.open && pool.open <= pool.max), "{pools:?}");
}

#[tokio::test]
async fn a_postgres_pool_that_is_kept_open_opens_every_connection() {
    let world = World::new(Backend::Postgres).await;
    world.store.keep_open();
    wait::until("every connection is open", async || world.store.pools().iter().all(|pool| pool.open == pool.max))
        .await;
}

/// Without rest, the transaction would begin on a connection that answered a moment ago, and fail.
#[tokio::test]
async fn a_change_after_rest_does_not_meet_a_connection_that_was_cut_meanwhile() {
    let world = World::new(Backend::Postgres).await;
    for _ in 0..3 {
        world.begin().await.commit().await.unwrap();
        world.store.rest(Duration::from_secs(1)).await;
        let others = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                      WHERE datname = current_database() AND pid <> pg_backend_pid()";
        world.database().execute(others).await.unwrap();
        world.store.begin().await.unwrap().commit().await.unwrap();
    }
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_closed_store_is_not_available(#[case] backend: Backend) {
    let world = World::new(backend).await;
    world.store.close().await;
    let error = world.store.ping().await.unwrap_err();
    assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
    assert!(world.store.begin().await.is_err());
}
