//! `epr history verify`: whatever is changed in the tables of history is found and named.

use epr_core::Call;
use epr_core::domain::{EntityPatch, EntityType, NewEntity};
use epr_core::history::verify::VersionDifference;
use epr_testkit::api::Api;
use epr_testkit::cli::Cli;
use epr_testkit::database::DatabaseKind;
use epr_testkit::seed;
use rstest::rstest;
use serde_json::Value;

use crate::history_world::World;
use crate::reconcile::{changed, columns, outside, registry, save};

/// The tables of history, each with a condition that selects the row that is changed, and the table of the registry
/// whose columns it has.
const TABLES: [(&str, &str, &str); 6] = [
    ("entity_versions", "name = 'renamed' AND valid_to IS NULL", "entities"),
    ("role_versions", "name = 'Changed'", "roles"),
    ("role_permission_versions", "action = 'b:changed'", "role_permissions"),
    ("assignment_versions", "condition IS NOT NULL", "role_assignments"),
    ("principal_versions", "display_name = 'Ada'", "principals"),
    ("registry_times", "sequence = (SELECT MAX(t.sequence) FROM registry_times t)", "times"),
];

/// What a column is changed to, as SQL.
fn damaged(table: &str, column: &str, kind: DatabaseKind) -> String {
    match (table, column) {
        (_, "valid_from") => "valid_from + 1000".to_owned(),
        (_, "valid_to") => "valid_from + 1".to_owned(),
        ("times", "sequence") => "sequence + 1000".to_owned(),
        ("times", "previous") => "previous - 1".to_owned(),
        ("times", "head") => "head + 1000".to_owned(),
        ("times", "recorded_at") => "'2000-01-01T00:00:00.000000Z'".to_owned(),
        ("role_permissions", "role_id") => "'00000000-0000-0000-0000-0000000000ff'".to_owned(),
        _ => changed(table, column, kind).expect("a value"),
    }
}

async fn differences(api: &Api) -> Vec<VersionDifference> {
    let mut found = Vec::new();
    let mut take = |difference| {
        found.push(difference);
        true
    };
    let (numbers, state) = api.epr.verify_history(&mut take).await.unwrap();
    assert_eq!(numbers.differences, u64::try_from(found.len()).unwrap());
    assert!(state.is_complete() && numbers.versions > 0, "{state:?} {numbers:?}");
    found
}

/// A registry whose every table has versions, of which some have ended.
async fn with_history(api: &Api) {
    registry(api).await;
    let new = NewEntity::new("first name".parse().unwrap(), EntityType::Spv);
    let entity = api.epr.create_entity(&Call::default(), new).await.unwrap();
    let renamed = EntityPatch { name: Some("renamed".parse().unwrap()), ..EntityPatch::default() };
    api.epr.update_entity(&Call::default(), entity.id, renamed).await.unwrap();
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_of_history_that_is_changed_is_found(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    with_history(&api).await;
    assert_eq!(differences(&api).await, []);
    for (table, row, of_registry) in TABLES {
        let restore = save(&api.database, table).await;
        for column in columns(&api.database, table).await {
            let value = damaged(of_registry, &column, kind);
            outside(&api.database, &format!("UPDATE {table} SET {column} = {value} WHERE {row}")).await;
            let found = differences(&api).await;
            let named = found
                .iter()
                .any(|one| one.table == table || table == "role_versions" && one.table == "role_permission_versions");
            assert!(named, "{table}.{column}: {found:#?}");
            outside(&api.database, &restore).await;
            assert_eq!(differences(&api).await, [], "{table}.{column} was put back");
        }
        outside(&api.database, &format!("DELETE FROM {table} WHERE {row}")).await;
        let found = differences(&api).await;
        assert!(found.iter().any(|one| one.table == table), "deleted from {table}: {found:#?}");
        outside(&api.database, &restore).await;
        let columns = columns(&api.database, table).await;
        let key = if table == "registry_times" { "sequence" } else { "valid_from" };
        let more = |column: &String| match column.as_str() {
            "head" => "head + 1000".to_owned(),
            _ if column == key => format!("{column} + 1000"),
            _ => column.clone(),
        };
        let (into, selected) = (columns.join(", "), columns.iter().map(more).collect::<Vec<_>>().join(", "));
        outside(&api.database, &format!("INSERT INTO {table} ({into}) SELECT {selected} FROM {table} WHERE {row}"))
            .await;
        let found = differences(&api).await;
        assert!(found.iter().any(|one| one.table == table), "inserted into {table}: {found:#?}");
        outside(&api.database, &restore).await;
        assert_eq!(differences(&api).await, [], "{table} was put back");
    }
    // An end that was removed is one difference.
    outside(&api.database, "UPDATE entity_versions SET valid_to = NULL WHERE name = 'first name'").await;
    let found = differences(&api).await;
    assert_eq!((found.len(), found[0].field.as_deref()), (1, Some("valid_to")), "{found:#?}");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_changes_wrote_is_what_the_ledger_makes(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let mut rng = seed::rng("history_that_changes_wrote_is_what_the_ledger_makes");
    let mut world = World::default();
    for round in 0..300 {
        world.change(&api.epr, &mut rng, api.epr.now()).await;
        if round % 100 == 99 {
            assert_eq!(differences(&api).await, []);
        }
    }
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_names_damage_and_a_rebuild_mends_it(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    with_history(&api).await;
    let cli = Cli::on(&api.database.url);
    let sound = cli.run(&["history", "verify"]).await;
    assert!(sound.code == 0 && sound.out.is_empty(), "{sound:?}");
    assert!(sound.err.contains("History is what the ledger makes: "), "{sound:?}");
    let damage = "UPDATE entity_versions SET name = 'other' WHERE name = 'renamed'; \
                  UPDATE principal_versions SET display_name = 'Eve'";
    api.database.execute(damage).await.unwrap();
    let damaged = cli.run(&["history", "verify"]).await;
    assert_eq!(damaged.code, 1, "{damaged:?}");
    for part in ["CHANGED  entity_versions  ", "  name\n    ledger: \"renamed\"\n    history: \"other\"\n"] {
        assert!(damaged.out.contains(part), "{part}: {}", damaged.out);
    }
    assert!(damaged.out.contains("history: \"(personal)\"") && !damaged.out.contains("Eve"), "{}", damaged.out);
    assert!(damaged.err.contains("2 differences: "), "{damaged:?}");
    let json = cli.run(&["history", "verify", "--json", "--personal"]).await;
    let lines: Vec<Value> = json.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((json.code, lines.len()), (1, 3), "{json:?}");
    assert!(lines.iter().any(|line| line["history"] == "Eve"), "{json:?}");
    assert_eq!((&lines[2]["equal"], &lines[2]["differences"]), (&false.into(), &2.into()));
    cli.ok(&["history", "rebuild"]).await;
    assert_eq!(cli.run(&["history", "verify"]).await.code, 0);
    // History that lacks entries is not complete, although what it has is right.
    api.database.execute("UPDATE registry_head SET registry_sequence = registry_sequence + 1").await.unwrap();
    let behind = cli.run(&["history", "verify"]).await;
    assert!(behind.code == 1 && behind.err.contains("History is not complete"), "{behind:?}");
    let elsewhere = Cli::on(&api.database.url.replace("epr", "no_such")).run(&["history", "verify"]).await;
    assert_eq!(elsewhere.code, 2, "{elsewhere:?}");
}
