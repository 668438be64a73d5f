//! The commands of docs/BACKUP.md, as they are written there.

use std::path::Path;
use std::sync::Arc;

use epr_testkit::api::{Api, id_of};
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::process::program;
use rstest::rstest;
use serde_json::json;
use tokio::process::Command;

const PAGE: &str = include_str!("../../../docs/BACKUP.md");

/// The commands of the page under one heading comment.
fn commands(heading: &str) -> &'static str {
    let (_, rest) = PAGE.split_once(&format!("```sh\n# {heading}\n")).unwrap_or_else(|| panic!("{heading} is missing"));
    rest.split_once("```").expect("the end of the commands").0
}

/// Runs commands of the page in a folder; returns whether all of them succeeded, and what they printed.
async fn run(folder: &Path, source: &str, restored: &str, commands: &str) -> (bool, String) {
    let programs = program("epr").parent().unwrap().display().to_string();
    let path = format!("{programs}:{}", std::env::var("PATH").unwrap());
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder)
        .env("PATH", path)
        .env("EPR_DATABASE_URL", source)
        .env("RESTORED_URL", restored)
        .output()
        .await
        .unwrap();
    let printed = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8_lossy(&printed).into_owned())
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test]
async fn a_saved_database_is_restored(#[case] kind: DatabaseKind) {
    let name = if kind == DatabaseKind::Postgres { "postgres" } else { "sqlite" };
    let (source, restored) = (Arc::new(Database::create(kind).await), Arc::new(Database::create(kind).await));
    let folder = tempfile::tempdir().unwrap();
    let on = |part: &str| format!("{name}: {part}");
    let done = |part: String, (success, printed): (bool, String)| assert!(success, "{part}: {printed}");
    let api = Api::on(Arc::clone(&source)).await;
    let entity = id_of(&api.post("/api/v1/entities", json!({"name": "kept", "type": "spv"})).await.expect(201));
    let role = json!({"name": "Reader", "permissions": ["document:download"]});
    let role = id_of(&api.post("/api/v1/roles", role).await.expect(201));
    let user = "7b0c9f52-6a0e-4a5e-9a55-0c6a2f3f8a11";
    let held = json!({"principal_id": user, "role_id": role, "entity_id": entity});
    api.post("/api/v1/assignments", held).await.expect(201);

    let save = run(folder.path(), &source.url, &restored.url, commands(&on("save"))).await;
    done(on("save"), save);
    // Written after the backup: gone with it, and known to be gone by the export that is kept elsewhere.
    api.post("/api/v1/entities", json!({"name": "lost", "type": "spv"})).await.expect(201);
    let restore = run(folder.path(), &source.url, &restored.url, commands(&on("restore"))).await;
    done(on("restore"), restore);
    let check = run(folder.path(), &source.url, &restored.url, commands("both: check")).await;
    done("check".into(), check);
    // The beginning of the saved ledger is compared before the restored one has an entry of its own.
    let reincarnate = run(folder.path(), &source.url, &restored.url, commands("both: reincarnate")).await;
    done("reincarnate".into(), reincarnate);

    let again = Api::on(Arc::clone(&restored)).await;
    let question = json!({"user_id": user, "action": "document:download", "resource_id": entity});
    assert_eq!(again.post("/api/v1/authorize", question).await.expect(200), json!({"authorized": true}));
    again.post("/api/v1/entities", json!({"name": "new", "type": "spv"})).await.expect(201);
    // The restored ledger is guarded as the saved one was, and one that went on differs from what was kept.
    assert!(restored.execute("DELETE FROM audit_logs").await.is_err());
    let (success, printed) = run(folder.path(), &source.url, &restored.url, commands("both: check")).await;
    assert!(!success && printed.contains("EOF on -"), "{printed}");
}
