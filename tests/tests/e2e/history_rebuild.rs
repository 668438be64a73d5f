//! The tables of history are what the ledger says: recreated from it, they have the rows that the changes wrote.

use std::collections::BTreeMap;
use std::sync::Arc;

use epr_core::clock::ManualClock;
use epr_core::domain::assignment::default_principal_type;
use epr_core::domain::json::object;
use epr_core::domain::{EntityPatch, EntityType, NewEntity, NewPrincipal, PrincipalPatch, Timestamp};
use epr_core::settings::CacheSettings;
use epr_core::{Call, Epr};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::seed;
use rand::Rng as _;
use rstest::rstest;
use uuid::Uuid;

use crate::history_world::World;

const STEPS: usize = 400;

/// Every column of each table of history.
const TABLES: [(&str, &str); 5] = [
    (
        "entity_versions",
        "id valid_from valid_to name type external_id status parent_id attributes created_at updated_at",
    ),
    ("role_versions", "id valid_from valid_to name description scope_types is_system created_at updated_at"),
    ("role_permission_versions", "role_id valid_from action condition"),
    (
        "assignment_versions",
        "id valid_from valid_to principal_id principal_type role_id entity_id effective_at expires_at condition \
         created_at updated_at",
    ),
    (
        "principal_versions",
        "type id valid_from valid_to external_id display_name attributes status created_at updated_at erased_at",
    ),
];

/// The rows of each table, as text.
pub(crate) async fn versions(database: &Database) -> BTreeMap<&'static str, Vec<String>> {
    let mut tables = BTreeMap::new();
    for (table, columns) in TABLES {
        let texts: Vec<String> = columns
            .split(' ')
            .map(|column| format!("'{column}=' || COALESCE(CAST({column} AS TEXT), 'null')"))
            .collect();
        let mut rows = database.texts(&format!("SELECT {} FROM {table}", texts.join(" || ' ' || "))).await;
        rows.sort_unstable();
        tables.insert(table, rows);
    }
    tables
}

async fn service(database: &Database, clock: Arc<ManualClock>) -> Epr {
    let builder = Epr::builder().store(database.store().await).clock(clock).cache(CacheSettings::off());
    let epr = builder.build();
    epr.start(false).await.unwrap();
    epr
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::parse("2026-01-01T00:00:00Z").unwrap()))
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_recreated_from_the_ledger_has_the_rows_that_the_changes_wrote(#[case] kind: DatabaseKind) {
    use epr_core::clock::Clock as _;
    let mut rng = seed::rng("history_recreated_from_the_ledger_has_the_rows_that_the_changes_wrote");
    let (database, clock) = (Database::create(kind).await, clock());
    let epr = service(&database, clock.clone()).await;
    let mut world = World::default();
    for _ in 0..STEPS {
        world.change(&epr, &mut rng, clock.now()).await;
        // Several changes have the same time.
        if rng.random_bool(0.7) {
            clock.advance_micros(rng.random_range(1..2_000_000));
        }
    }
    let state = epr.history_state().await.unwrap();
    assert!(!state.is_behind() && state.began == 0, "{state:?}");
    let written = versions(&database).await;
    for (table, rows) in &written {
        assert!(rows.len() > 10, "{table}: {} versions", rows.len());
    }
    let report = epr.rebuild_history().await.unwrap();
    assert_eq!((report.unreplayable.as_slice(), report.baseline_count), (&[][..], 0));
    assert!(report.entries > STEPS / 4, "{report:?}");
    let recreated = versions(&database).await;
    for (table, rows) in &written {
        for (one, other) in rows.iter().zip(&recreated[table]) {
            assert_eq!(one, other, "{table}");
        }
    }
    assert_eq!(written, recreated);
    assert_eq!(epr.history_state().await.unwrap(), state);
    // Changes go on from there.
    for _ in 0..STEPS / 10 {
        world.change(&epr, &mut rng, clock.now()).await;
    }
    assert!(!epr.history_state().await.unwrap().is_behind());
    let written = versions(&database).await;
    epr.rebuild_history().await.unwrap();
    assert_eq!(written, versions(&database).await);
    epr.close().await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erased_principal_is_gone_from_every_version(#[case] kind: DatabaseKind) {
    let (database, clock) = (Database::create(kind).await, clock());
    let epr = service(&database, clock.clone()).await;
    let (call, kind, id) = (Call::default(), default_principal_type(), Uuid::from_u128(7));
    let new = NewPrincipal::new().with_id(id).known_as("secret-id".parse().unwrap());
    epr.create_principal(&call, new).await.unwrap();
    for name in ["secret name", "secret other name"] {
        let patch = PrincipalPatch {
            display_name: Some(Some(name.parse().unwrap())),
            attributes: Some(object([("secret", name.into())])),
            ..PrincipalPatch::default()
        };
        epr.update_principal(&call, &kind, id, patch).await.unwrap();
    }
    assert_eq!(database.number(NAMED).await, 2);
    epr.erase_principal(&call, &kind, id).await.unwrap();
    let rows = versions(&database).await;
    assert_eq!(rows["principal_versions"].len(), 4);
    assert!(!format!("{rows:?}").contains("secret"), "{rows:?}");
    epr.rebuild_history().await.unwrap();
    assert_eq!(rows, versions(&database).await);
    epr.close().await;
}

const NAMED: &str = "SELECT COUNT(*) FROM principal_versions WHERE display_name IS NOT NULL";

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_erasure_blanks_every_version_also_while_history_is_behind(#[case] database_kind: DatabaseKind) {
    let (database, clock) = (Database::create(database_kind).await, clock());
    let epr = service(&database, clock.clone()).await;
    let (call, kind) = (Call::default(), default_principal_type());
    let behind = "UPDATE registry_head SET registry_sequence = registry_sequence + 1";
    // By a program of an earlier version, which knows no history.
    let by_sql = "UPDATE principals SET external_id = NULL, display_name = NULL, attributes = '{}', \
                  erased_at = updated_at";
    for (n, by_this_program) in [(1, true), (2, false)] {
        let id = Uuid::from_u128(n);
        epr.create_principal(&call, NewPrincipal::new().with_id(id)).await.unwrap();
        let patch = PrincipalPatch {
            display_name: Some(Some("secret".parse().unwrap())),
            attributes: Some(object([("secret", true.into())])),
            ..PrincipalPatch::default()
        };
        epr.update_principal(&call, &kind, id, patch).await.unwrap();
        assert_eq!(database.number(NAMED).await, 1);
        database.execute(behind).await.unwrap();
        if by_this_program {
            epr.erase_principal(&call, &kind, id).await.unwrap();
        } else {
            database.execute(by_sql).await.unwrap();
        }
        let rows = versions(&database).await;
        assert!(!format!("{rows:?}").contains("secret"), "{n}: {rows:?}");
        epr.complete_history().await.unwrap();
        assert!(epr.history_state().await.unwrap().is_complete());
        let rows = versions(&database).await;
        assert!(!format!("{rows:?}").contains("secret"), "{n}: {rows:?}");
    }
    epr.close().await;
}

/// A row that was written outside EPR, and is changed by EPR afterwards: a rebuild finds that the ledger does not
/// explain it.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_gives_rows_that_the_ledger_does_not_explain_a_baseline(#[case] kind: DatabaseKind) {
    let (database, clock) = (Database::create(kind).await, clock());
    let epr = service(&database, clock.clone()).await;
    let call = Call::default();
    let spv = |name: &str| NewEntity::new(name.parse().unwrap(), EntityType::Spv);
    let known = epr.create_entity(&call, spv("known")).await.unwrap();
    let columns = "type, status, parent_id, attributes, created_at, updated_at";
    let id = Uuid::from_u128(99);
    database
        .execute(&format!(
            "INSERT INTO entities (id, name, {columns}) SELECT '{id}', 'unknown', {columns} FROM entities"
        ))
        .await
        .unwrap();
    let renamed = EntityPatch { name: Some("renamed".parse().unwrap()), ..EntityPatch::default() };
    epr.update_entity(&call, id, renamed.clone()).await.unwrap();
    assert!(epr.history_state().await.unwrap().is_complete());
    let report = epr.rebuild_history().await.unwrap();
    // The update, which the ledger cannot explain, and the row.
    assert_eq!((report.unreplayable_count, report.baseline_count), (1, 1), "{report:?}");
    let state = epr.history_state().await.unwrap();
    assert_eq!((state.is_complete(), state.began, state.registry_sequence), (true, 3, 3), "{state:?}");
    let live = epr.entity(known.id).await.unwrap();
    assert_eq!(live.name, "known");
    // A deletion that was interrupted goes on.
    let rows = versions(&database).await;
    database.execute("UPDATE history_head SET sequence = -1, filled = FALSE; DELETE FROM role_versions").await.unwrap();
    assert!(!epr.history_state().await.unwrap().is_complete());
    let report = epr.complete_history().await.unwrap();
    assert_eq!((report.entries, report.unreplayable_count, report.baseline_count), (3, 0, 0), "{report:?}");
    assert_eq!(versions(&database).await, rows);
    epr.close().await;
}

/// A program that writes entries and no history, as the previous version does: history lacks what it changed, and says
/// so, until it is completed.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_program_without_history_leave_it_behind_until_it_is_completed(#[case] kind: DatabaseKind) {
    let (database, clock) = (Database::create(kind).await, clock());
    let epr = service(&database, clock.clone()).await;
    let call = Call::default();
    let spv = |name: &str| NewEntity::new(name.parse().unwrap(), EntityType::Spv);
    let first = epr.create_entity(&call, spv("first")).await.unwrap();
    let before = versions(&database).await;
    let renamed = EntityPatch { name: Some("renamed".parse().unwrap()), ..EntityPatch::default() };
    epr.update_entity(&call, first.id, renamed).await.unwrap();
    // As if the change had written none.
    database
        .execute(
            "DELETE FROM entity_versions WHERE valid_from = 2; UPDATE entity_versions SET valid_to = NULL; \
             UPDATE history_head SET sequence = 1",
        )
        .await
        .unwrap();
    assert_eq!(versions(&database).await, before);
    epr.create_entity(&call, spv("second")).await.unwrap();
    let state = epr.history_state().await.unwrap();
    assert!(state.is_behind() && (state.complete_to, state.registry_sequence) == (1, 3), "{state:?}");
    assert_eq!(versions(&database).await, before, "a change must not be written behind a gap");
    let report = epr.complete_history().await.unwrap();
    assert_eq!((report.entries, report.baseline_count), (2, 0));
    assert!(epr.complete_history().await.unwrap().is_empty());
    let completed = versions(&database).await;
    assert_eq!(completed["entity_versions"].len(), 3);
    epr.rebuild_history().await.unwrap();
    assert_eq!(versions(&database).await, completed);
    epr.close().await;
}
