//! The whole registry and its changes: what a copy in memory is made of.

use std::collections::BTreeMap;
use std::time::Duration;

use epr_core::domain::PrincipalStatus;
use epr_core::store::{
    GraphChanges, GraphCompared, GraphKey, GraphPosition, GraphRow, InsertedAssignment, Store, collect_into,
};
use epr_testkit::seed;
use epr_testkit::wait::until_value;
use rand::Rng as _;
use rand::rngs::StdRng;
use rstest::rstest;

use crate::support::{Backend, World, assignment, at, entity, id, principal, role};

type Rows = BTreeMap<GraphKey, GraphRow>;

/// The row in a form that can be compared: the actions of a role are in no order.
fn sorted(mut row: GraphRow) -> GraphRow {
    if let GraphRow::Role(role) = &mut row {
        role.actions.sort_unstable();
    }
    row
}

async fn whole(store: &dyn Store) -> (Rows, GraphPosition) {
    let mut rows = Rows::new();
    let position = store
        .read_graph(&mut |row| {
            assert!(rows.insert(row.key(), sorted(row)).is_none(), "a row is shown once");
            true
        })
        .await
        .unwrap();
    (rows, position)
}

fn apply(rows: &mut Rows, changes: &GraphChanges) {
    for change in &changes.changes {
        match &change.row {
            Some(row) => rows.insert(change.key.clone(), sorted(row.clone())),
            None => rows.remove(&change.key),
        };
    }
}

/// One random change, in a transaction of its own.
async fn change(world: &World, rng: &mut StdRng, n: u128, assigned: &mut Vec<u128>) {
    let mut tx = world.begin().await;
    match rng.random_range(0..8) {
        0 => {
            assert!(tx.insert_entity(&entity(n, Some(rng.random_range(1..4)))).await.unwrap());
        }
        1 => {
            let mut moved = entity(rng.random_range(1..4), None);
            moved.name = format!("entity {n}");
            moved.external_id = rng.random_bool(0.5).then(|| format!("x{n}"));
            moved.updated_at = at(i64::try_from(n).unwrap());
            tx.update_entity(&moved).await.unwrap();
        }
        2 => {
            let actions: Vec<_> = ["a:read", "a:write"].into_iter().filter(|_| rng.random_bool(0.5)).collect();
            let role = role(rng.random_range(1..3), &actions);
            tx.set_role_actions(role.id, &role.permissions, &BTreeMap::new(), at(0)).await.unwrap();
        }
        3 | 4 if !assigned.is_empty() => {
            let one = assigned.swap_remove(rng.random_range(0..assigned.len()));
            tx.delete_assignment(id(one)).await.unwrap();
        }
        5 => {
            let mut changed = principal(rng.random_range(1..3));
            changed.status = if rng.random_bool(0.5) { PrincipalStatus::Suspended } else { PrincipalStatus::Active };
            let _ = tx.insert_principal(&changed).await.unwrap();
            tx.update_principal(&changed).await.unwrap();
        }
        _ => {
            let on = rng.random_bool(0.7).then(|| rng.random_range(1..4));
            let row = assignment(n, rng.random_range(1..4), rng.random_range(1..3), on);
            if matches!(tx.insert_assignment(&row).await.unwrap(), InsertedAssignment::New) {
                assigned.push(n);
            }
        }
    }
    tx.invalidations().await.unwrap();
    tx.commit().await.unwrap();
}

#[rstest]
#[case::memory(Backend::Memory)]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn the_rows_of_a_position_with_the_changes_since_are_the_rows_of_now(#[case] backend: Backend) {
    let mut rng = seed::rng("the_rows_of_a_position_with_the_changes_since_are_the_rows_of_now");
    let world = World::with_three_entities(backend).await;
    world.with_roles(&[role(1, &["a:read"]), role(2, &[])]).await;
    let store = &*world.store;
    let (mut rows, mut position) = whole(store).await;
    assert_eq!(rows.len(), 5);
    let mut assigned = Vec::new();
    for n in 0..60 {
        for m in 0..rng.random_range(0..3) {
            change(&world, &mut rng, 100 + 3 * n + m, &mut assigned).await;
        }
        let changes = store.graph_changes(&position).await.unwrap().expect("known changes");
        apply(&mut rows, &changes);
        let (now, _) = whole(store).await;
        assert_eq!(rows, now, "after {n} rounds");
        if rng.random_bool(0.7) {
            position = changes.position;
        }
        // Those that stay at an earlier position see every change since.
    }
}

/// A read of the whole registry holds one row at a time, and a read of changes all of them.
#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn changes_that_take_much_memory_are_not_read_one_by_one(#[case] backend: Backend) {
    let world = World::with_three_entities(backend).await;
    let (_, before) = whole(&*world.store).await;
    let mut large = 0;
    let mut change = async |count: u128| {
        let entities: Vec<_> = (0..count).map(|n| entity(100 + large + n, None)).collect();
        large += count;
        world.with_entities(&entities).await;
        let attributes = format!("{{\"x\": \"{}\"}}", "a".repeat(1 << 20));
        world.database().execute(&format!("UPDATE entities SET attributes = '{attributes}'")).await.unwrap();
        world.store.graph_changes(&before).await.unwrap().map(|changes| changes.changes.len())
    };
    // The three first entities are changed too.
    assert_eq!(change(20).await, Some(23));
    assert_eq!(change(20).await, None);
    assert_eq!(whole(&*world.store).await.0.len(), 43);
}

/// A transaction that is open at a position belongs to the changes since, whatever its number is.
#[tokio::test]
async fn a_transaction_that_was_open_at_a_position_is_a_change_since() {
    let world = World::with_three_entities(Backend::Postgres).await;
    let other = world.database().store().await;
    let mut open = other.begin().await.unwrap();
    assert!(open.insert_entity(&entity(8, None)).await.unwrap());
    world.with_entities(&[entity(9, None)]).await;
    let (rows, position) = whole(&*world.store).await;
    assert!(!rows.contains_key(&GraphKey::Entity(id(8))) && rows.contains_key(&GraphKey::Entity(id(9))));
    world.with_entities(&[entity(10, None)]).await;
    let changes = world.store.graph_changes(&position).await.unwrap().unwrap();
    let keys: Vec<_> = changes.changes.iter().map(|change| change.key.clone()).collect();
    assert_eq!(keys, [GraphKey::Entity(id(10))]);
    open.invalidations().await.unwrap();
    open.commit().await.unwrap();
    for since in [position, changes.position] {
        let changes = world.store.graph_changes(&since).await.unwrap().unwrap();
        assert!(changes.changes.iter().any(|change| change.key == GraphKey::Entity(id(8)) && change.row.is_some()));
    }
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn changes_whose_notes_are_gone_cannot_be_told(#[case] backend: Backend) {
    let world = World::with_three_entities(backend).await;
    let (_, before) = whole(&*world.store).await;
    world.with_entities(&[entity(8, None)]).await;
    // Notes of the last hour stay.
    world.store.purge_changed_rows().await.unwrap();
    assert_eq!(whole(&*world.store).await.0.len(), 4);
    assert_eq!(world.store.graph_changes(&before).await.unwrap().unwrap().changes.len(), 1);
    let long_ago = match backend {
        Backend::Postgres => "UPDATE changed_rows SET written_at = now() - interval '2 hours'",
        Backend::Memory | Backend::File => "UPDATE changed_rows SET written_at = 0",
    };
    world.database().execute(long_ago).await.unwrap();
    // Notes stay while a transaction is open that is older than they are, in whichever database of the server.
    let left = || async {
        world.store.purge_changed_rows().await.unwrap();
        world.database().number("SELECT COUNT(*) FROM changed_rows").await
    };
    until_value("the notes are gone", Duration::from_millis(50), left, |left| *left == 0).await;
    assert_eq!(world.store.graph_changes(&before).await.unwrap(), None);
    let (_, after) = whole(&*world.store).await;
    assert_eq!(world.store.graph_changes(&after).await.unwrap().unwrap().changes, []);
}

#[rstest]
#[case::sqlite(
    Backend::File,
    "DROP TRIGGER role_assignments_deleted_rows",
    "CREATE TRIGGER role_assignments_deleted_rows AFTER DELETE ON role_assignments BEGIN SELECT 1; END"
)]
#[case::postgres(
    Backend::Postgres,
    "ALTER TABLE role_assignments DISABLE TRIGGER role_assignments_changed_rows",
    "ALTER TABLE role_assignments ENABLE ALWAYS TRIGGER role_assignments_changed_rows"
)]
// As `pg_restore --disable-triggers` leaves it: it does not fire while replication applies rows.
#[case::postgres_ordinary(
    Backend::Postgres,
    "ALTER TABLE role_assignments ENABLE TRIGGER role_assignments_changed_rows",
    "ALTER TABLE role_assignments ENABLE ALWAYS TRIGGER role_assignments_changed_rows"
)]
// A trigger of somebody else does not stand for one of EPR.
#[case::postgres_foreign(
    Backend::Postgres,
    "CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$; \
     CREATE TRIGGER other_changed_rows AFTER INSERT ON entities FOR EACH ROW EXECUTE FUNCTION other(); \
     ALTER TABLE entities ENABLE ALWAYS TRIGGER other_changed_rows; \
     ALTER TABLE entities DISABLE TRIGGER entities_decisions",
    "ALTER TABLE entities ENABLE ALWAYS TRIGGER entities_decisions"
)]
#[tokio::test]
async fn without_a_trigger_nothing_is_read_and_after_it_nothing_is_known(
    #[case] backend: Backend,
    #[case] disable: &str,
    #[case] enable: &str,
) {
    let world = World::with_three_entities(backend).await;
    let (_, position) = whole(&*world.store).await;
    world.database().execute(disable).await.unwrap();
    world.store.graph_changes(&position).await.unwrap_err();
    world.store.read_graph(&mut |_| true).await.unwrap_err();
    world.database().execute(enable).await.unwrap();
    assert_eq!(world.store.graph_changes(&position).await.unwrap(), None);
    assert_eq!(whole(&*world.store).await.0.len(), 3);
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn rows_are_compared_only_if_they_have_not_changed(#[case] backend: Backend) {
    let world = World::with_three_entities(backend).await;
    world.with_roles(&[role(1, &["a:read"])]).await;
    world.with_assignments(&[assignment(11, 7, 1, Some(1)), assignment(12, 7, 1, None)]).await;
    world.with_principals(&[principal(7)]).await;
    let (rows, position) = whole(&*world.store).await;
    let store = &*world.store;
    let compared = async || {
        let (mut changed, mut shown) = (Vec::new(), Rows::new());
        let all = store
            .compare_graph(&position, &mut |found| {
                match found {
                    GraphCompared::Changed(key) => changed.push(key),
                    GraphCompared::Row(row) => assert!(shown.insert(row.key(), sorted(row)).is_none()),
                }
                true
            })
            .await
            .unwrap();
        assert_eq!(all, Some(true));
        (changed, shown)
    };
    assert_eq!(compared().await, (Vec::new(), rows.clone()));
    let mut tx = world.begin().await;
    tx.delete_assignment(id(11)).await.unwrap();
    tx.invalidations().await.unwrap();
    tx.commit().await.unwrap();
    let (changed, shown) = compared().await;
    let [gone] = &changed[..] else { panic!("{changed:?}") };
    assert!(rows.contains_key(gone) && !shown.contains_key(gone) && shown.len() + 1 == rows.len());
    let unchanged = async |keys| {
        let mut all = Vec::new();
        let shown = store.show_unchanged_rows(&position, keys, &mut collect_into(&mut all)).await.unwrap();
        assert_eq!(shown, Some(true));
        all
    };
    let keys: Vec<_> = rows.keys().cloned().collect();
    let of_all = unchanged(keys.clone()).await.into_iter().map(|one| (one.key, sorted(one.row.unwrap())));
    assert_eq!(of_all.collect::<Rows>(), shown);
    assert_eq!(unchanged(vec![GraphKey::Entity(id(99))]).await[0].row, None);
    let mut first = 0;
    let mut stop = |_| {
        first += 1;
        false
    };
    assert_eq!(store.show_unchanged_rows(&position, keys, &mut stop).await.unwrap(), Some(false));
    assert_eq!(first, 1);
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn every_trigger_of_the_registry_is_counted(#[case] backend: Backend) {
    let world = World::new(backend).await;
    let (count, known) = match backend {
        Backend::Postgres => (
            // One more than those that have to fire: it removes personal data.
            "SELECT COUNT(*) FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal \
             AND t.tgname <> 'principals_erased' AND c.relname IN ('entities', 'roles', 'permissions', \
             'role_permissions', 'role_assignments', 'principals', 'changed_rows')",
            28,
        ),
        Backend::Memory | Backend::File => (
            "SELECT COUNT(*) FROM sqlite_master WHERE type = 'trigger' AND name <> 'principals_erased' \
             AND tbl_name IN ('entities', 'roles', 'permissions', 'role_permissions', 'role_assignments', \
             'principals', 'changed_rows')",
            42,
        ),
    };
    assert_eq!(world.database().number(count).await, known, "set REGISTRY_TRIGGERS of the dialect");
}

#[rstest]
#[case::sqlite(Backend::File, "DELETE FROM changed_rows")]
#[case::postgres(Backend::Postgres, "DELETE FROM changed_rows")]
#[case::postgres_emptied(Backend::Postgres, "TRUNCATE changed_rows")]
#[tokio::test]
async fn notes_that_anybody_removes_are_missed(#[case] backend: Backend, #[case] remove: &str) {
    let world = World::with_three_entities(backend).await;
    let (_, before) = whole(&*world.store).await;
    world.with_principals(&[principal(7)]).await;
    world.database().execute(remove).await.unwrap();
    assert_eq!(world.store.graph_changes(&before).await.unwrap(), None);
    // A transaction of another database may still be open that was begun before the notes were removed.
    let after = || async {
        let (_, after) = whole(&*world.store).await;
        world.store.graph_changes(&after).await.unwrap().map(|_| after)
    };
    let after = until_value("a head in the past", Duration::from_millis(50), after, Option::is_some).await.unwrap();
    world.with_principals(&[principal(8)]).await;
    assert_eq!(world.store.graph_changes(&after).await.unwrap().unwrap().changes.len(), 1);
}

/// A dump brings the numbers of the server that it was made on.
#[tokio::test]
async fn notes_with_the_numbers_of_another_server_are_removed() {
    let world = World::with_three_entities(Backend::Postgres).await;
    world
        .database()
        .execute(
            "UPDATE changed_rows SET transaction = '9000000000000'; \
             UPDATE changed_rows_head SET removed_to = '9000000000000'",
        )
        .await
        .unwrap();
    let (_, position) = whole(&*world.store).await;
    assert_eq!(world.store.graph_changes(&position).await.unwrap(), None);
    world.store.purge_changed_rows().await.unwrap();
    let changes = || async {
        let (_, position) = whole(&*world.store).await;
        world.store.graph_changes(&position).await.unwrap()
    };
    // A transaction of another database may still be open that was begun before the notes were removed.
    until_value("a head in the past", Duration::from_millis(50), changes, Option::is_some).await;
}

#[rstest]
#[case::assignment(
    "INSERT OR REPLACE INTO role_assignments (id, principal_id, role_id, entity_id, effective_at, created_at, \
     updated_at) SELECT '00000000-0000-0000-0000-0000000000aa', principal_id, role_id, entity_id, effective_at, \
     created_at, updated_at FROM role_assignments"
)]
#[case::assignment_moved(
    "INSERT INTO role_assignments (id, principal_id, role_id, effective_at, created_at, updated_at) \
     SELECT '00000000-0000-0000-0000-0000000000aa', principal_id, role_id, effective_at, created_at, updated_at \
     FROM role_assignments; \
     UPDATE OR REPLACE role_assignments SET entity_id = '00000000-0000-0000-0000-000000000001' \
     WHERE id = '00000000-0000-0000-0000-0000000000aa'"
)]
#[case::entity(
    "INSERT OR REPLACE INTO entities (id, name, type, created_at, updated_at) \
     SELECT '00000000-0000-0000-0000-0000000000aa', name, type, created_at, updated_at FROM entities \
     WHERE id = '00000000-0000-0000-0000-000000000003'"
)]
#[case::role("UPDATE OR REPLACE roles SET name = (SELECT MAX(name) FROM roles)")]
#[tokio::test]
async fn what_a_shell_replaces_is_noted(#[case] replace: &str) {
    let world = World::with_three_entities(Backend::File).await;
    world.with_roles(&[role(1, &["a:read"]), role(2, &["b:read"])]).await;
    world.with_assignments(&[assignment(11, 7, 1, Some(1))]).await;
    let (mut rows, position) = whole(&*world.store).await;
    // As the shell has it by default.
    world.database().execute(&format!("PRAGMA foreign_keys = OFF; {replace}")).await.unwrap();
    apply(&mut rows, &world.store.graph_changes(&position).await.unwrap().unwrap());
    assert_eq!(rows, whole(&*world.store).await.0);
}

#[rstest]
#[case::sqlite(Backend::File)]
#[case::postgres(Backend::Postgres)]
#[tokio::test]
async fn a_permission_that_is_renamed_concerns_every_row(#[case] backend: Backend) {
    let world = World::with_three_entities(backend).await;
    world.with_roles(&[role(1, &["a:read"])]).await;
    let (_, position) = whole(&*world.store).await;
    world.database().execute("UPDATE permissions SET action = 'a:reads' WHERE action = 'a:read'").await.unwrap();
    assert_eq!(world.store.graph_changes(&position).await.unwrap(), None);
}
