//! Going back to the older service: the commands of docs/TAKEOVER.md, as they are written there.

use std::path::Path;
use std::sync::Arc;

use epr_core::domain::Timestamp;
use epr_core::ledger::archive::read_hex;
use epr_core::store::{DropStep, StepDropped, StoredCheckpoint};
use epr_testkit::api::Api;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::audit_verify;
use epr_testkit::process::{epr, program};
use rstest::rstest;
use serde_json::{Value, json};
use tokio::process::Command;

use super::adoption::older_tables;

const PAGE: &str = include_str!("../../../docs/TAKEOVER.md");

/// Tables of another application that refer to the older tables.
const NEIGHBOURS: &str =
    "CREATE TABLE invoices (number INTEGER PRIMARY KEY, entity ENTITY_ID REFERENCES entities (id));
    INSERT INTO invoices VALUES (7, 'THE_ENTITY');
    CREATE VIEW active_entities AS SELECT id, name FROM entities WHERE status = 'ACTIVE';";

async fn older_database(kind: DatabaseKind) -> Arc<Database> {
    let database = Database::create(kind).await;
    let (id_type, entity) = match kind {
        DatabaseKind::Postgres => ("uuid", "11111111-0000-4000-8000-000000000001"),
        DatabaseKind::Sqlite => ("CHAR(32)", "11111111000040008000000000000001"),
    };
    if let Some(file) = database.file() {
        std::fs::write(file, "").unwrap();
    }
    database.execute(&older_tables(kind, true)).await.unwrap();
    let neighbours = NEIGHBOURS.replace("ENTITY_ID", id_type).replace("THE_ENTITY", entity);
    database.execute(&neighbours).await.unwrap();
    Arc::new(database)
}

/// Everything in the database, as the database's own tool writes it.
async fn dump(database: &Database) -> String {
    let output = match database.file() {
        Some(file) => Command::new("sqlite3").arg(file).arg(".dump").output().await.unwrap(),
        None => Command::new("pg_dump").arg(&database.url).output().await.unwrap(),
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    match database.kind {
        // Newer versions of pg_dump write a random word.
        DatabaseKind::Postgres => text.lines().filter(|line| !line.starts_with('\\')).collect::<Vec<_>>().join("\n"),
        DatabaseKind::Sqlite => {
            // A table that was renamed is written in quotes and with IF NOT EXISTS, and an index that was built again
            // last. The table of SQLite's own that counts keys stays, empty.
            let lines = text.lines().filter(|line| !line.contains("sqlite_sequence"));
            let mut lines: Vec<_> =
                lines.map(|line| line.replace('"', "").replace("TABLE IF NOT EXISTS", "TABLE")).collect();
            lines.sort_unstable();
            lines.join("\n")
        }
    }
}

/// Runs the page's command in `folder`; returns whether it succeeded, and what it printed.
async fn go_back(database: &Database, folder: &Path) -> (bool, String) {
    let (_, rest) = PAGE.split_once("```sh\n# going back\n").expect("the command");
    let (command, _) = rest.split_once("```").expect("its end");
    let path = format!("{}:{}", program("epr").parent().unwrap().display(), std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", command])
        .current_dir(folder)
        .env("PATH", path)
        .env("EPR_DATABASE_URL", &database.url)
        .output()
        .await
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}

fn lines(file: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn the_older_tables_come_back(#[case] kind: DatabaseKind) {
    let database = older_database(kind).await;
    let folder = tempfile::tempdir().unwrap();
    let before = dump(&database).await;
    assert_eq!(epr(&database.url, &["migrate"]).await.0, 0);

    // With nothing written, nothing needs to be exported.
    let (code, _, err) = epr(&database.url, &["migrate", "--back"]).await;
    assert_eq!(code, 0, "{err}");
    assert_eq!(dump(&database).await, before);
    let (code, _, err) = epr(&database.url, &["migrate", "--back"]).await;
    assert!(code == 2 && err.contains("nothing to go back to"), "{err}");

    assert_eq!(epr(&database.url, &["migrate"]).await.0, 0);
    // The baselines of the takeover are not what was written since.
    let taken_over = database.number("SELECT sequence FROM audit_chain_head").await;
    assert!(taken_over > 40, "{taken_over}");
    let api = Api::on(Arc::clone(&database)).await;
    let new = api.entity("written since", "spv", None).await;
    let event = json!({"event_type": "document.uploaded", "source": "vault"});
    let event = api.post("/api/v1/events", event).await.expect(201);
    api.epr.close().await;
    drop(api);
    if kind == DatabaseKind::Postgres {
        database.until(LISTENING, 0).await;
    }

    let (code, _, err) = epr(&database.url, &["migrate", "--back"]).await;
    assert!(code == 2 && err.contains("1 ledger entry, 1 event and 0 rejected messages"), "{err}");
    assert_eq!(database.number("SELECT sequence FROM audit_chain_head").await, taken_over + 1, "nothing was changed");

    let (success, printed) = go_back(&database, folder.path()).await;
    assert!(success, "{printed}");
    assert_eq!(dump(&database).await, before);
    let written = folder.path().join("since-takeover");
    let entries = lines(&written.join("ledger.jsonl"));
    let canonical: Value = serde_json::from_str(entries[0]["canonical"].as_str().unwrap()).unwrap();
    assert_eq!(
        (entries.len(), &canonical["sequence"], &canonical["entity_id"]),
        (1, &json!(taken_over + 1), &json!(new))
    );
    let rows = lines(&written.join("tables.jsonl"));
    let of = |table: &str| rows.iter().filter(|row| row["table"] == table).collect::<Vec<_>>();
    let (entities, events) = (of("entities"), of("platform_events"));
    assert_eq!(entities.len(), 3);
    assert!(entities.iter().any(|row| row["row"]["id"] == json!(new) && row["row"]["name"] == "written since"));
    assert_eq!((events.len(), &events[0]["row"]["event_id"]), (1, &event["event_id"]));
    assert_eq!(of("principal_keys"), Vec::<&Value>::new());

    // The folder is not written over, and the database can be taken over again.
    assert_eq!(epr(&database.url, &["migrate"]).await.0, 0);
    let (success, printed) = go_back(&database, folder.path()).await;
    assert!(!success && printed.contains("is not empty"), "{printed}");
    let (code, report) = audit_verify(&database.url, &[]).await;
    assert_eq!((code, &report["checked"]), (0, &json!(taken_over)), "{report}");
}

/// Why `epr migrate --back` refuses; the ledger is still EPR's afterwards.
async fn refusal(database: &Database, arguments: &[&str]) -> String {
    let (code, _, err) = epr(&database.url, &[&["migrate", "--back"], arguments].concat()).await;
    assert_eq!(code, 2, "{err}");
    assert_eq!(audit_verify(&database.url, &[]).await.0, 0);
    err
}

/// The older service would ignore a condition.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_condition_in_use_is_an_obstacle_that_is_named(#[case] kind: DatabaseKind) {
    let database = older_database(kind).await;
    assert_eq!(epr(&database.url, &["migrate"]).await.0, 0);
    let folder = tempfile::tempdir().unwrap();
    let export = folder.path().join("since").display().to_string();
    let arguments = ["--export", export.as_str()];
    let condition = r#"'{"expression":"true","parameters":{}}'"#;
    let (held, assigned) = ("role_permissions", "role_assignments");
    for (table, names) in [(held, "role "), (assigned, "assignment ")] {
        database.execute(&format!("UPDATE {table} SET condition = {condition}")).await.unwrap();
        let said = refusal(&database, &arguments).await;
        assert!(said.contains("conditions are in use") && said.contains(names), "{said}");
        assert!(!folder.path().join("since").exists(), "nothing is exported");
        database.execute(&format!("UPDATE {table} SET condition = NULL")).await.unwrap();
    }
    assert_eq!(epr(&database.url, &[&["migrate", "--back"], &arguments[..]].concat()).await.0, 0);
}

#[tokio::test]
async fn each_obstacle_is_named() {
    let database = older_database(DatabaseKind::Postgres).await;
    assert_eq!(epr(&database.url, &["migrate"]).await.0, 0);

    database.execute("CREATE VIEW somebody_elses AS SELECT id FROM roles").await.unwrap();
    let err = refusal(&database, &[]).await;
    assert!(err.contains("nothing was changed") && err.contains("view somebody_elses depends on table roles"), "{err}");
    database.execute("DROP VIEW somebody_elses").await.unwrap();

    database.execute("DELETE FROM epr_before.audit_logs WHERE sequence = 40").await.unwrap();
    let err = refusal(&database, &[]).await;
    // One entry that the older table lacks, and those after it.
    let newer = database.number("SELECT sequence - 39 FROM audit_chain_head").await;
    assert!(err.contains(&format!("{newer} ledger entries")), "{err}");
    database.execute("UPDATE epr_before.audit_logs SET entry_hash = previous_hash WHERE sequence = 39").await.unwrap();
    let err = refusal(&database, &[]).await;
    assert!(err.contains("are not those that EPR's tables were made from"), "{err}");
}

#[tokio::test]
async fn a_running_process_is_not_left_with_answers_in_memory() {
    let database = older_database(DatabaseKind::Postgres).await;
    assert_eq!(epr(&database.url, &["migrate"]).await.0, 0);
    let api = Api::on(Arc::clone(&database)).await;
    database.until_at_least(LISTENING, 1).await;
    let err = refusal(&database, &[]).await;
    assert!(err.contains("stop every process of EPR"), "{err}");
    drop(api);
    database.until(LISTENING, 0).await;
    assert_eq!(epr(&database.url, &["migrate", "--back"]).await.0, 0);
}

const LISTENING: &str = "SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database() AND \
                         application_name = 'omen-epr changes'";

/// The older service has no table for principals: their rows are exported, and their keys are not.
#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn registered_principals_are_exported_without_their_keys(#[case] kind: DatabaseKind) {
    let database = older_database(kind).await;
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(epr(&database.url, &["migrate"]).await.0, 0);
    let create = ["principals", "create", "--external-id", "auth0|17", "--attributes", r#"{"clearance": 3}"#];
    assert_eq!(epr(&database.url, &create).await.0, 0);
    let (success, printed) = go_back(&database, folder.path()).await;
    assert!(success, "{printed}");
    let rows = lines(&folder.path().join("since-takeover").join("tables.jsonl"));
    let principals: Vec<_> = rows.iter().filter(|row| row["table"] == "principals").map(|row| &row["row"]).collect();
    assert_eq!((principals.len(), &principals[0]["external_id"]), (1, &json!("auth0|17")));
    assert_eq!(principals[0]["attributes"], json!({"clearance": 3}));
    assert!(rows.iter().all(|row| row["table"] != "principal_keys"));
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn nothing_comes_back_after_entries_were_dropped(#[case] kind: DatabaseKind) {
    let database = older_database(kind).await;
    assert_eq!(epr(&database.url, &["migrate"]).await.0, 0);
    let store = database.store().await;
    let incarnation = store.registry_state().await.unwrap().revision.incarnation;
    let (root, signed_at) = ([1; 32], Timestamp::parse("2026-01-01T00:00:00Z").unwrap());
    let checkpoint = StoredCheckpoint { incarnation, size: 9, root, note: "note".to_owned(), signed_at };
    assert!(store.add_checkpoint(0, &checkpoint, &[]).await.unwrap());
    let hashes = store.entry_hashes(1, 9).await.unwrap();
    let archived: Vec<_> = hashes.iter().map(|entry| read_hex(&entry.entry_hash).unwrap()).collect();
    let mut tx = store.begin().await.unwrap();
    let step = DropStep { after: 0, archived: &archived, archive: "/there", incarnation, now: signed_at };
    assert!(matches!(tx.drop_entries(&step).await.unwrap(), StepDropped::Dropped(_)));
    tx.commit().await.unwrap();
    let before = dump(&database).await;
    let (code, _, err) = epr(&database.url, &["migrate", "--back"]).await;
    assert!(code == 2 && err.contains("entries up to 9 were dropped by `epr audit drop`"), "{err}");
    assert_eq!(dump(&database).await, before);
}
