//! `epr reconcile`: whatever is changed outside EPR is found and named.

use std::collections::BTreeMap;
use std::sync::Arc;

use epr_core::Call;
use epr_core::clock::{Clock as _, SystemClock};
use epr_core::domain::{Condition, EntityType, Json, NewAssignment, NewEntity, NewPrincipal, NewRole};
use epr_core::history::reconcile::{Difference, DifferenceKind};
use epr_testkit::api::Api;
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::Process;
use epr_testkit::seed;
use rstest::rstest;
use serde_json::Value;
use uuid::Uuid;

use crate::history_world::World;

/// The tables of the registry, with a condition that selects the row that is changed, and the table under which the
/// change is reported.
const TABLES: [(&str, &str, &str); 7] = [
    ("entities", "name = 'changed below'", "entities"),
    ("roles", "name = 'Changed'", "roles"),
    ("permissions", "action = 'b:changed'", "role_permissions"),
    ("role_permissions", "permission_id = (SELECT id FROM permissions WHERE action = 'b:changed')", "role_permissions"),
    ("role_assignments", "condition IS NOT NULL", "role_assignments"),
    ("principals", "display_name = 'Ada'", "principals"),
    ("principal_keys", "id = '00000000-0000-0000-0000-000000000007'", "principals"),
];

/// What a column is changed to, as SQL; `None`: the ledger says nothing about it.
pub(crate) fn changed(table: &str, column: &str, kind: DatabaseKind) -> Option<String> {
    let postgres = kind == DatabaseKind::Postgres;
    let text = |value: &str| Some(format!("'{value}'"));
    let other = |table: &str, name: &str| Some(format!("(SELECT id FROM {table} WHERE {name})"));
    match (table, column) {
        // When an action was first used, and when a key was made.
        ("permissions" | "principal_keys", "created_at") => None,
        (_, "created_at" | "updated_at" | "effective_at" | "expires_at") => {
            if postgres {
                Some(format!("{column} + interval '1 microsecond'"))
            } else if column == "effective_at" {
                text("2000-01-01T00:00:00.000000Z")
            } else {
                text("2999-01-01T00:00:00.000000Z")
            }
        }
        ("principals", "erased_at") => text("2026-01-01T00:00:00.000000Z"),
        (_, "id" | "principal_id") => text("00000000-0000-0000-0000-0000000000ff"),
        ("entities", "parent_id") | ("role_assignments", "entity_id") => other("entities", "name = 'other'"),
        ("role_assignments" | "role_permissions", "role_id") => other("roles", "name = 'Other'"),
        ("role_permissions", "permission_id") => other("permissions", "action = 'c:other'"),
        ("entities", "type") => text("other"),
        ("entities", "status") => text("inactive"),
        ("principals", "status") => text("suspended"),
        (_, "name" | "description" | "external_id" | "display_name" | "action" | "type" | "principal_type") => {
            text("altered")
        }
        (_, "attributes") => text("{\"altered\": 1}"),
        ("roles", "scope_types") => text("[\"other\"]"),
        ("roles", "is_system") => Some("NOT is_system".into()),
        (_, "condition") => text("{\"expression\":\"true\"}"),
        ("principal_keys", "key") => Some(
            if postgres { "decode(repeat('41', 32), 'hex')" } else { "CAST(printf('%032d', 7) AS BLOB)" }.to_owned(),
        ),
        _ => panic!("{table}.{column} is new: say how this test changes it"),
    }
}

pub(crate) async fn columns(database: &Database, table: &str) -> Vec<String> {
    let sql = match database.kind {
        DatabaseKind::Postgres => {
            format!("SELECT column_name FROM information_schema.columns WHERE table_name = '{table}' ORDER BY 1")
        }
        DatabaseKind::Sqlite => format!("SELECT name FROM pragma_table_info('{table}') ORDER BY 1"),
    };
    database.texts(&sql).await
}

/// Runs SQL without the checks of references, as a restore or a shell may.
pub(crate) async fn outside(database: &Database, sql: &str) {
    let unchecked = match database.kind {
        DatabaseKind::Postgres => "SET session_replication_role = replica",
        DatabaseKind::Sqlite => "PRAGMA foreign_keys = OFF",
    };
    database.execute(&format!("{unchecked}; {sql}")).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Copies a table, and returns the SQL that puts its rows back.
pub(crate) async fn save(database: &Database, table: &str) -> String {
    outside(database, &format!("CREATE TABLE saved_{table} AS SELECT * FROM {table}")).await;
    format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM saved_{table}")
}

async fn differences(api: &Api) -> Vec<Difference> {
    let mut found = Vec::new();
    let mut take = |difference| {
        found.push(difference);
        true
    };
    let (numbers, _) = api.epr.reconcile(&mut take).await.unwrap();
    assert_eq!(numbers.differences, u64::try_from(found.len()).unwrap());
    found
}

/// A registry in which every table has a row whose every column can be changed.
pub(crate) async fn registry(api: &Api) {
    let (epr, call) = (&api.epr, Call::default());
    let entity = |name: &str| NewEntity::new(name.parse().unwrap(), EntityType::Spv);
    let other = epr.create_entity(&call, entity("other")).await.unwrap();
    let top = epr.create_entity(&call, entity("top")).await.unwrap();
    let mut below = entity("changed below").known_as("e1".parse().unwrap());
    below.parent_id = Some(top.id);
    below.attributes = [("n".to_owned(), Json::Float(1.5))].into_iter().collect();
    let below = epr.create_entity(&call, below).await.unwrap();
    let mut role = NewRole::new("Changed".parse().unwrap()).permission("b:changed".parse().unwrap());
    role.description = Some("text".parse().unwrap());
    role.scope_types = vec![EntityType::Spv];
    role.conditions.insert("b:changed".parse().unwrap(), Condition::new("resource.type == 'spv'"));
    let role = epr.create_role(&call, role).await.unwrap();
    let second = NewRole::new("Other".parse().unwrap()).permission("c:other".parse().unwrap());
    epr.create_role(&call, second).await.unwrap();
    let mut principal = NewPrincipal::new().with_id(Uuid::from_u128(7)).known_as("auth0|7".parse().unwrap());
    principal.display_name = Some("Ada".parse().unwrap());
    let principal = epr.create_principal(&call, principal).await.unwrap();
    let mut new = NewAssignment::new(principal.id, role.id);
    new.entity_id = Some(below.id);
    new.expires_at = Some(SystemClock.now().plus_seconds(3600));
    new.condition = Some(Condition::new("resource.type == 'spv'"));
    epr.assign(&call, new).await.unwrap();
    let mut plain = NewAssignment::new(Uuid::from_u128(8), role.id);
    plain.entity_id = Some(other.id);
    epr.assign(&call, plain).await.unwrap();
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_column_that_is_changed_outside_is_found(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    registry(&api).await;
    assert_eq!(differences(&api).await, []);
    let mut unsaid = Vec::new();
    for (table, row, reported) in TABLES {
        let restore = save(&api.database, table).await;
        for column in columns(&api.database, table).await {
            let Some(value) = changed(table, &column, kind) else {
                unsaid.push(format!("{table}.{column}"));
                continue;
            };
            outside(&api.database, &format!("UPDATE {table} SET {column} = {value} WHERE {row}")).await;
            let found = differences(&api).await;
            assert!(!found.is_empty(), "{table}.{column} was changed, and nothing was found");
            let named = found.iter().any(|one| {
                let is_field = one.field.as_deref() == Some(column.as_str()) && one.ledger != one.registry;
                one.table == reported && (is_field || one.kind != DifferenceKind::Changed || table != reported)
                    || one.table == "role_permissions" && table == "role_permissions"
            });
            assert!(named, "{table}.{column}: {found:#?}");
            outside(&api.database, &restore).await;
            assert_eq!(differences(&api).await, [], "{table}.{column} was put back");
        }
        // A row that is gone, and one that nobody made.
        outside(&api.database, &format!("DELETE FROM {table} WHERE {row}")).await;
        let found = differences(&api).await;
        assert!(found.iter().any(|one| one.table == reported), "deleted from {table}: {found:#?}");
        outside(&api.database, &restore).await;
        insert_another(&api.database, table, row).await;
        let found = differences(&api).await;
        let is_vocabulary = matches!(table, "permissions" | "principal_keys");
        assert!(is_vocabulary || found.iter().any(|one| one.table == reported), "inserted into {table}: {found:#?}");
        outside(&api.database, &restore).await;
        assert_eq!(differences(&api).await, [], "{table} was put back");
    }
    assert_eq!(unsaid, ["permissions.created_at", "principal_keys.created_at"]);
}

/// Inserts a copy of a row under another key.
async fn insert_another(database: &Database, table: &str, row: &str) {
    let mut values: BTreeMap<&str, &str> = BTreeMap::new();
    match table {
        "entities" => values.extend([("name", "'inserted'"), ("external_id", "NULL")]),
        "roles" => values.extend([("name", "'Inserted'")]),
        "permissions" => values.extend([("action", "'d:inserted'")]),
        "role_permissions" => values.extend([("role_id", "(SELECT id FROM roles WHERE name = 'Other')")]),
        "role_assignments" => values.extend([("principal_id", "'00000000-0000-0000-0000-0000000000ee'")]),
        "principals" => values.extend([("external_id", "NULL")]),
        _ => {}
    }
    if table != "role_permissions" {
        values.insert("id", "'00000000-0000-0000-0000-0000000000ee'");
    }
    let columns = columns(database, table).await;
    let selected: Vec<&str> =
        columns.iter().map(|column| values.get(column.as_str()).copied().unwrap_or(column)).collect();
    let (columns, selected) = (columns.join(", "), selected.join(", "));
    outside(database, &format!("INSERT INTO {table} ({columns}) SELECT {selected} FROM {table} WHERE {row}")).await;
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_only_epr_changed_is_what_its_ledger_says(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let mut rng = seed::rng("a_registry_that_only_epr_changed_is_what_its_ledger_says");
    let mut world = World::default();
    for round in 0..400 {
        world.change(&api.epr, &mut rng, api.epr.now()).await;
        if round % 100 == 99 {
            assert_eq!(differences(&api).await, []);
        }
    }
}

/// A comparison is one snapshot: changes that are made meanwhile are no differences.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_during_a_comparison_are_no_differences(#[case] kind: DatabaseKind) {
    let api = Api::start(kind).await;
    let epr = api.epr.clone();
    let writer = tokio::spawn(async move {
        let mut rng = seed::rng("changes_during_a_comparison_are_no_differences");
        let mut world = World::default();
        for _ in 0..300 {
            world.change(&epr, &mut rng, epr.now()).await;
        }
    });
    let mut compared = 0;
    while !writer.is_finished() {
        assert_eq!(differences(&api).await, []);
        compared += 1;
    }
    writer.await.unwrap();
    println!("{compared} comparisons during 300 changes");
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_command_names_differences_and_withholds_personal_values(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let api = Api::on(database.clone()).await;
    registry(&api).await;
    let cli = Cli::on(&database.url);
    let equal = cli.run(&["reconcile"]).await;
    assert_eq!((equal.code, equal.out.as_str()), (0, ""), "{}", equal.err);
    assert!(equal.err.contains("The registry is what the ledger says"), "{}", equal.err);
    outside(&database, "UPDATE entities SET status = 'inactive' WHERE name = 'top'").await;
    outside(&database, "UPDATE principals SET display_name = 'Eve'").await;
    let table = cli.run(&["reconcile"]).await;
    assert_eq!(table.code, 1);
    assert!(table.out.contains("CHANGED  entities") && table.out.contains("registry: \"inactive\""), "{}", table.out);
    assert!(table.err.contains("2 differences"), "{}", table.err);
    let all = cli.run(&["reconcile", "--json"]).await;
    assert_eq!(all.code, 1);
    let lines: Vec<Value> = all.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["field"], "status");
    assert_eq!((&lines[0]["ledger"], &lines[0]["registry"]), (&"active".into(), &"inactive".into()));
    assert_eq!((&lines[1]["ledger"], &lines[1]["registry"]), (&"(personal)".into(), &"(personal)".into()));
    assert_eq!((&lines[2]["equal"], &lines[2]["differences"]), (&false.into(), &2.into()));
    for shown in [&table.out, &all.out] {
        assert!(!shown.contains("Ada") && !shown.contains("Eve"), "{shown}");
    }
    let personal = cli.run(&["reconcile", "--format", "csv", "--personal"]).await;
    assert!(personal.out.contains("Ada") && personal.out.contains("Eve"), "{}", personal.out);
    assert!(personal.out.starts_with("kind,table,row,field,ledger,registry,sequence,why\n"), "{}", personal.out);
    let over = Cli::over("http://127.0.0.1:9").run(&["reconcile"]).await;
    assert_eq!(over.code, 2);

    // The nightly mode.
    let variables = [("EPR_DATABASE_URL", database.url.as_str())];
    let mut every = Process::start_command("epr", &["reconcile", "--every", "1m", "--json"], &variables);
    assert_eq!(every.next_line().await["field"], "status");
    every.next_line().await;
    assert_eq!(every.next_line().await["equal"], false);
    let (status, _) = every.terminate().await;
    assert_eq!(status.code(), Some(1));
}
