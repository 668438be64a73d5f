//! A new incarnation of the ledger names the last checkpoint of the former one, and verification holds it to that.

use std::fs;
use std::sync::Arc;

use epr_core::clock::SystemClock;
use epr_testkit::api::Api;
use epr_testkit::cli::Cli;
use epr_testkit::database::{Database, DatabaseKind};
use epr_testkit::ledger::grow;
use rstest::rstest;
use serde_json::{Value, json};

const SEED: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
const SIGNING: [(&str, &str); 2] = [("EPR_LEDGER_ORIGIN", "epr.test/ledger"), ("EPR_LEDGER_KEY", SEED)];

async fn service(database: &Arc<Database>, more: &[(&str, &str)]) -> Api {
    Api::with_settings(Arc::clone(database), Arc::new(SystemClock), &[&SIGNING[..], more].concat()).await
}

fn cli(database: &Database, more: &[(&str, &str)]) -> Cli {
    SIGNING.iter().chain(more).fold(Cli::on(&database.url), |cli, (name, value)| cli.with(name, value))
}

async fn checkpoint(api: &Api, size: i64) -> String {
    grow(api, size).await;
    api.epr.make_checkpoint().await.unwrap();
    api.epr.newest_checkpoint().await.unwrap().note
}

async fn reincarnate(cli: &Cli) -> Value {
    let output = cli.run(&["ledger", "reincarnate", "--why", "a drill", "--json"]).await;
    assert_eq!(output.code, 0, "{}", output.err);
    serde_json::from_str(&output.out).unwrap()
}

/// The exit code of `epr audit verify` and the kind of its finding.
async fn verify(cli: &Cli, arguments: &[&str]) -> (i32, Option<String>) {
    let output = cli.run(&[&["audit", "verify", "--json"], arguments].concat()).await;
    let report: Value = serde_json::from_str(&output.out).unwrap_or_else(|_| panic!("{}{}", output.out, output.err));
    (output.code, report["finding"]["kind"].as_str().map(str::to_owned))
}

/// The three lines of a checkpoint as the entry names them.
fn named(note: &str) -> Value {
    let lines: Vec<&str> = note.lines().collect();
    json!({"origin": lines[0], "size": lines[1].parse::<i64>().unwrap(), "root": lines[2]})
}

#[rstest]
#[case::sqlite(DatabaseKind::Sqlite)]
#[case::postgres(DatabaseKind::Postgres)]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_entry_names_the_last_checkpoint_of_the_former_incarnation(#[case] kind: DatabaseKind) {
    let database = Arc::new(Database::create(kind).await);
    let (api, cli) = (service(&database, &[]).await, cli(&database, &[]));
    let note = checkpoint(&api, 300).await;
    grow(&api, 310).await;
    let said = reincarnate(&cli).await;
    assert_eq!((&said["former_checkpoint"], &said["former_head"]), (&named(&note), &json!(310)));
    let entry = api.get("/api/v1/changes").await.expect(200).as_array().unwrap().last().unwrap().clone();
    assert_eq!(entry["details"]["former_checkpoint"], named(&note));
    assert_eq!(verify(&cli, &[]).await, (0, None));
    // Checkpoints of the new incarnation cover all entries. Another restore names the last one of these.
    let note = checkpoint(&api, 320).await;
    assert_eq!(reincarnate(&cli).await["former_checkpoint"], named(&note));
    // An incarnation that made no checkpoint names none.
    assert_eq!(reincarnate(&cli).await["former_checkpoint"], Value::Null);
    assert_eq!(verify(&cli, &[]).await, (0, None));
    assert_eq!(verify(&cli, &["--end-sequence", "305"]).await, (0, None));

    // The tie is cut: the incarnation is not recorded any more, or begins with another entry.
    let row = |change: &str| format!("{change} WHERE first_sequence = 311");
    let wrong = || (1, Some("wrong_incarnation".to_owned()));
    database.execute(&row("UPDATE ledger_incarnations SET first_sequence = 310")).await.unwrap();
    assert_eq!(verify(&cli, &[]).await, wrong());
    database.execute("UPDATE ledger_incarnations SET first_sequence = 311 WHERE first_sequence = 310").await.unwrap();
    assert_eq!(verify(&cli, &[]).await, (0, None));
    database.execute(&row("DELETE FROM ledger_incarnations")).await.unwrap();
    assert_eq!(verify(&cli, &[]).await, wrong());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_lost_entries_says_so_and_names_the_published_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let text = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let published = text("published");
    let place = [("EPR_LEDGER_PUBLISH_URL", published.as_str())];
    let database = Arc::new(Database::create(DatabaseKind::Sqlite).await);
    let api = service(&database, &place).await;
    checkpoint(&api, 300).await;
    database.execute(&format!("VACUUM INTO '{}'", text("backup"))).await.unwrap();
    let between = checkpoint(&api, 400).await;
    let last = checkpoint(&api, 500).await;
    fs::write(text("between"), between).unwrap();
    fs::write(text("last"), &last).unwrap();
    api.epr.close().await;
    let file = database.file().unwrap();
    for ending in ["-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{ending}", file.display()));
    }
    fs::copy(text("backup"), &file).unwrap();

    // What is published stops the signer, and is found by the verification.
    let (api, cli) = (service(&database, &place).await, cli(&database, &place));
    grow(&api, 310).await;
    let error = api.epr.make_checkpoint().await.unwrap_err().to_string();
    assert!(error.contains("a checkpoint of 500 entries is published"), "{error}");
    assert_eq!(verify(&cli, &[]).await, (1, Some("shorter_than_checkpoint".to_owned())));
    // It is not passed over when it cannot be read.
    let incarnation = fs::read_dir(&published).unwrap().next().unwrap().unwrap().path();
    let (there, away) = (incarnation.join("checkpoint"), text("away"));
    fs::rename(&there, &away).unwrap();
    fs::create_dir(&there).unwrap();
    for arguments in [&["ledger", "reincarnate", "--why", "x"][..], &["audit", "verify"]] {
        let output = cli.run(arguments).await;
        assert!(output.code == 2 && output.err.contains("The published checkpoint"), "{}", output.err);
    }
    fs::remove_dir(&there).unwrap();
    fs::rename(&away, &there).unwrap();

    let output = cli.run(&["ledger", "reincarnate", "--why", "restored"]).await;
    assert!(output.out.contains("covers 500 entries: the entries 311 to 500 are lost."), "{}", output.out);
    let entry = api.get("/api/v1/changes").await.expect(200).as_array().unwrap().last().unwrap().clone();
    assert_eq!(entry["details"]["former_checkpoint"], named(&last));
    // The ledger admits the loss of what it names, and of nothing else; the verification does not pass over it.
    let output = cli.run(&["audit", "verify"]).await;
    assert!(
        output.code == 0 && output.out.contains("entry 311 says that a restore lost the entries 311 to 500"),
        "{}",
        output.out
    );
    assert_eq!(verify(&cli, &[]).await, (0, None));
    assert_eq!(verify(&cli, &["--checkpoint", &text("last")]).await, (0, None));
    assert_eq!(verify(&cli, &["--checkpoint", &text("between")]).await.0, 1);
    // The signer continues.
    checkpoint(&api, 520).await;
    assert_eq!(api.epr.checkpoint_status().unwrap().published, Some(520));
    assert_eq!(verify(&cli, &[]).await, (0, None));
    assert_eq!(verify(&cli, &["--checkpoint", &text("last")]).await, (0, None));
}
